"""The processor time from samples to windows of (256, 3), without reading payloads, as a table of Markdown."""

import time
from collections.abc import Iterator

import click
import numpy as np

from benchmarks.signals.window import CHANNELS, LENGTH, RATE_HZ
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.windows import Windower
from edge_runtime.inference.specs import SignalSpec

WINDOWS, ROUNDS = 2000, 3
_BEGAN_S = 1_700_000_000.0


@click.command()
def main() -> None:
    """Print the table: the best of three rounds, so that neighbours of the machine count least."""
    click.echo("| samples | windows a CPU second | messages a CPU second |\n|---|---|---|")
    for name, samples, has_times in (
        ("blocks of a window, without times", LENGTH, False),
        ("blocks of a window, with times", LENGTH, True),
        ("one by one, with times", 1, True),
    ):
        messages = list(_messages(samples, has_times=has_times))
        seconds, windows = min(_measure(messages, has_times=has_times) for _ in range(ROUNDS))
        click.echo(f"| {name} | {windows / seconds:.0f} | {len(messages) / seconds:.0f} |")


def _messages(samples: int, *, has_times: bool) -> Iterator[Readings]:
    rng = np.random.default_rng(0)
    count = WINDOWS if samples > 1 else 20 * LENGTH
    for first in range(0, count * samples, samples):
        times_s = _BEGAN_S + np.arange(first, first + samples) / RATE_HZ
        yield Readings(rng.normal(size=(samples, len(CHANNELS))), times_s if has_times else None)


def _measure(messages: list[Readings], *, has_times: bool) -> tuple[float, int]:
    """Seconds of CPU, and how many windows there were."""
    spec = SignalSpec.model_validate({
        "kind": "signal", "channels": [{"name": name} for name in CHANNELS], "rate_hz": RATE_HZ, "length": LENGTH,
        "payload": {"time": "t" if has_times else None},
    })  # fmt: skip
    windower, began_s, windows = Windower(spec), time.process_time(), 0
    for message in messages:
        windows += sum(1 for _ in windower.add(message, None, _BEGAN_S))
    return time.process_time() - began_s, windows


if __name__ == "__main__":
    main()
