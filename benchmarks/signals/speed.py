"""Windows a second through broker, daemon and outbox, in turn with a plain loop: ``benchmarks run signals-speed``.

Broker, sensor, subscriber and the one that answers share the box.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.performance import process_tree
from benchmarks.performance.peers.mqtt_load import broker
from benchmarks.signals import net, plain_loop
from benchmarks.signals.load import Load, Sensor
from benchmarks.signals.window import make_window
from edge_runtime.cli.bench.daemon import find_installed_environment
from edge_runtime.inference.specs import PayloadSpec

TOPIC = "edge/bench"
START_TIMEOUT_S = 60.0
DIFFERENT = 64
"""Windows that are sent in turn."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one of the two."""

    load: Load
    cpu_ms: float
    """Of a window, all threads and children."""


def _payloads() -> list[bytes]:
    return [make_window(number).astype("<f4").tobytes() for number in range(DIFFERENT)]


def _daemon_command(folder: Path, bundle: Path, port: int, batch: int) -> list[str]:
    config = {
        "device": "bench",
        "state_dir": str(folder / "state"),
        "http": {"enabled": False},
        "mqtt": {"host": "127.0.0.1", "port": port},
        "models": {"shaking": {"bundle": str(bundle.parent), "threads": 1, "queue_frames": 256,
                               "recalibrate": False, "batch": {"max_batch_size": batch}}},
        "sensors": {"pump": {"path": "mqtt", "model": "shaking"}},
    }  # fmt: skip
    (folder / "box.yaml").write_text(json.dumps(config))
    return [sys.executable, "-m", "edge_runtime", "run", str(folder / "box.yaml")]


def _loop_command(_: Path, bundle: Path, port: int, _batch: int) -> list[str]:
    return [sys.executable, plain_loop.__file__, str(port), str(bundle / "model.onnx"), TOPIC]


COMMANDS: dict[str, Callable[[Path, Path, int, int], list[str]]] = {
    "daemon": _daemon_command, "plain loop": _loop_command,
}  # fmt: skip


@contextmanager
def _answering(command: list[str], sensor: Sensor, log: Path) -> Iterator[int]:
    """The process that answers, once it does; ended afterwards.

    Raises:
        TimeoutError: it does not.
    """
    with log.open("wb") as words:
        process = subprocess.Popen(command, stdout=words, stderr=words, env=find_installed_environment())
    try:
        end_s = time.perf_counter() + START_TIMEOUT_S
        while not sensor.first.wait(0.05):
            if time.perf_counter() > end_s or process.poll() is not None:
                raise TimeoutError(f"no result; the log ends: {log.read_text()[-500:]}")
            sensor.send(_payloads()[0])
        yield process.pid
    finally:
        process_tree.end(process.pid)
        process.wait(10)


def measure(name: str, bundle: Path, per_s: float, seconds: float, batch: int, cpu: int | None = None) -> Run:
    """One run with a broker and an empty folder of its own."""
    with tempfile.TemporaryDirectory() as temporary, broker(Path(temporary)) as port:
        folder, sensor = Path(temporary), Sensor(port, TOPIC)
        try:
            bound = [] if cpu is None else ["taskset", "-c", str(cpu)]
            command = [*bound, *COMMANDS[name](folder, bundle, port, batch)]
            with _answering(command, sensor, folder / "log.txt") as pid:
                before_s = process_tree.cpu_s(pid)
                load = sensor.play(_payloads(), per_s, seconds)
                used_s = process_tree.cpu_s(pid) - before_s
            return Run(load, 1000 * used_s / max(1, load.results))
        finally:
            sensor.close()


def _row(name: str, runs: Sequence[Run]) -> str:
    def spread(values: Sequence[float], form: str) -> str:
        return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    lost = sum(run.load.sent - run.load.results for run in runs)
    cells = [
        spread([run.load.per_s for run in runs], ".0f"),
        spread([run.load.quantile_ms(0.5) for run in runs], ".1f"),
        spread([run.load.quantile_ms(0.99) for run in runs], ".1f"),
        spread([run.cpu_ms for run in runs], ".2f"),
        f"{lost} of {sum(run.load.sent for run in runs)}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


@click.command()
@click.option("--per-s", default=1000.0, show_default=True, help="Windows a second.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each run.")
@click.option("--rounds", default=5, show_default=True, help="Runs of each, in turn.")
@click.option("--batch", default=8, show_default=True, help="models.NAME.batch.max_batch_size of the daemon.")
@click.option(
    "--cpu", type=int, help="Bind the one that answers to this core, as CPUAffinity= of a unit does."
)
def main(per_s: float, seconds: float, rounds: int, batch: int, cpu: int | None) -> None:
    """Windows of (3, 256) as raw float32 over MQTT: the daemon, and a loop of paho and ONNX Runtime."""
    found: dict[str, list[Run]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as temporary:
        bundle = net.make_bundle(Path(temporary), PayloadSpec(format="raw"))
        for number in range(rounds):
            for name in COMMANDS if number % 2 == 0 else reversed(COMMANDS):
                found[name].append(measure(name, bundle, per_s, seconds, batch, cpu))
    click.echo(
        f"{per_s:g} windows/s of (3, 256) for {seconds:g} s, {rounds} rounds: median (least to most)\n"
    )
    click.echo("| | results/s | median ms | p99 ms | CPU ms a window | windows without a result |")
    click.echo("|---|---|---|---|---|---|")
    for name, runs in found.items():
        click.echo(_row(name, runs))
    pairs = zip(found["daemon"], found["plain loop"], strict=True)
    ratios = [ours.load.per_s / theirs.load.per_s for ours, theirs in pairs]
    click.echo(f"\nresults/s over the plain loop's: {statistics.median(ratios):.3f} "
               f"({min(ratios):.3f} to {max(ratios):.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
