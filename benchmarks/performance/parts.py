"""The parts of the performance page, each measured alone: ``benchmarks run NAME [--quick]`` prints one as JSON."""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.performance.bare_runs import BUNDLE, capacity, pictures_in
from benchmarks.performance.daemon import arrival, during_recalibration, int8, quiet, quota
from benchmarks.performance.peers import comparison
from benchmarks.performance.swaps import hot_swap
from edge_runtime.cli.bench.rounds import BenchOrder, bench
from edge_runtime.inference.engines.threads import Preference


@dataclass(frozen=True, slots=True)
class Extent:
    """How much to measure; None leaves it to the part."""

    is_quick: bool = False
    rounds: int | None = None
    seconds: float | None = None
    peers_python: Path = Path(sys.executable)
    """The interpreter that the peers are installed for."""
    float_model: Path | None = None
    """The ONNX file that the int8 model was made from; None exports it again."""

    def rounds_or(self, usual: int) -> int:
        """``usual``, unless told otherwise; one in a quick run."""
        return self.rounds or (1 if self.is_quick else usual)

    def seconds_or(self, least: float = 0.0) -> float:
        """Length of one look: 4 s, or 2 s in a quick run, but at least ``least``, unless told otherwise."""
        return self.seconds or max(least, 2.0 if self.is_quick else 4.0)


def _bench(streams: int, extent: Extent) -> Any:
    """``edge-runtime bench`` round by round, each with the frames that two callers got from the box just before.

    One stream runs with one thread in a call: its pictures are decoded on the other core meanwhile.
    """
    threads: int | Preference = 1 if streams == 1 else "auto"
    order = BenchOrder(BUNDLE, streams=streams, threads=threads, rounds=1, seconds=extent.seconds_or())
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        pictures = pictures_in(Path(folder) / "pictures")
        return {
            "rounds": [
                {
                    "capacity": capacity(BUNDLE, pictures),
                    "report": bench(order, lambda part, _: print(f"  {part}", file=sys.stderr)),
                }
                for _ in range(extent.rounds_or(3))
            ]
        }


def _peers(extent: Extent) -> Any:
    python, seconds = extent.peers_python, extent.seconds_or()
    return {"rounds": [comparison.one_round(python, seconds, n) for n in range(extent.rounds_or(3))]}


PARTS: Mapping[str, Callable[[Extent], Any]] = {
    "one stream": lambda extent: _bench(1, extent),
    "two streams": lambda extent: _bench(2, extent),
    "arrival": lambda extent: arrival.measure(rounds=extent.rounds_or(3), seconds=extent.seconds_or(5.0)),
    "peers": _peers,
    "hot swap": lambda extent: hot_swap.measure(quick=extent.is_quick),
    "during recalibration": lambda extent: during_recalibration.measure(
        rounds=extent.rounds_or(2), count=32 if extent.is_quick else during_recalibration.COUNT
    ),
    "quiet": lambda extent: quiet.measure(rounds=extent.rounds_or(3), seconds=extent.seconds_or(3.0)),
    "quota": lambda extent: quota.measure(rounds=extent.rounds_or(3), seconds=extent.seconds_or()),
    "int8": lambda extent: int8.measure(
        rounds=extent.rounds or 2 * extent.rounds_or(3) + 1, float_model=extent.float_model
    ),
}
"""By the names in the stored figures; a name on the command line has ``-`` for a space."""


@click.command()
@click.argument("name", type=click.Choice([name.replace(" ", "-") for name in PARTS]))
@click.option("--quick", is_flag=True, help="One short round.")
@click.option("--rounds", type=click.IntRange(1))
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Length of one look.")
@click.option(
    "--peers-python",
    type=click.Path(path_type=Path),
    default=Path(sys.executable),
    help="The interpreter that the peers are installed for.",
)
@click.option(
    "--float-model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="For int8: the float ONNX file; default: exported again.",
)
def main(
    name: str,
    quick: bool,
    rounds: int | None,
    seconds: float | None,
    peers_python: Path,
    float_model: Path | None,
) -> None:
    """Measure one part and print its figures."""
    extent = Extent(quick, rounds, seconds, peers_python.absolute(), float_model)
    click.echo(json.dumps(PARTS[name.replace("-", " ")](extent), indent=2))
