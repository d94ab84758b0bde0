"""The parts of the performance page, each measured alone: ``benchmarks run NAME [--quick]`` prints one as JSON."""

import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.performance import cameras
from benchmarks.performance.bare_runs import BUNDLE, capacity, pictures_in
from benchmarks.performance.daemon import (
    arrival,
    during_recalibration,
    int8,
    picture_path,
    quiet,
    quota,
    startup,
)
from benchmarks.performance.peers import comparison
from benchmarks.performance.pipe import trial as camera_pipe
from benchmarks.performance.scaling import dead_camera, many
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
    inference_python: Path | None = None
    """The interpreter with Roboflow's ``inference``; None leaves it out."""

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
    python, seconds = extent.peers_python, extent.seconds or (1.0 if extent.is_quick else 2.0)
    rounds = [
        comparison.one_round(python, seconds, random.randrange(100)) for _ in range(extent.rounds_or(3))
    ]
    return {"versions": comparison.find_versions(python), "rounds": rounds}


PARTS: Mapping[str, Callable[[Extent], Any]] = {
    "one stream": lambda extent: _bench(1, extent),
    "two streams": lambda extent: _bench(2, extent),
    "arrival": lambda extent: arrival.measure(rounds=extent.rounds_or(3), seconds=extent.seconds_or(5.0)),
    "peers": _peers,
    "picture path": lambda extent: picture_path.measure(
        rounds=extent.rounds_or(5), seconds=extent.seconds_or()
    ),
    "start": lambda extent: {"rounds": [startup.one_round() for _ in range(extent.rounds_or(5))]},
    "many cameras": lambda extent: many.measure_cameras(
        rounds=extent.rounds_or(3),
        seconds=extent.seconds_or(8.0),
        counts=(1, 4) if extent.is_quick else many.CAMERAS,
    ),
    "many models": lambda extent: many.measure_models(
        rounds=extent.rounds_or(3),
        seconds=extent.seconds_or(8.0),
        counts=(1, 2) if extent.is_quick else many.MODELS,
    ),
    "dead camera": lambda extent: dead_camera.measure(
        rounds=extent.rounds_or(3), seconds=extent.seconds_or(12.0)
    ),
    "cameras": lambda extent: cameras.measure(rounds=extent.rounds_or(5), seconds=extent.seconds_or(8.0)),
    "camera pipe": lambda extent: camera_pipe.measure(
        rounds=extent.rounds_or(3), seconds=extent.seconds_or(8.0), inference_python=extent.inference_python
    ),
    "hot swap": lambda extent: {
        "rounds": [hot_swap.measure(quick=extent.is_quick) for _ in range(extent.rounds_or(1))]
    },
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
@click.option(
    "--inference-python", type=click.Path(path_type=Path), help="The interpreter with Roboflow's package."
)
def main(
    name: str,
    quick: bool,
    rounds: int | None,
    seconds: float | None,
    peers_python: Path,
    float_model: Path | None,
    inference_python: Path | None,
) -> None:
    """Measure one part and print its figures."""
    extent = Extent(quick, rounds, seconds, peers_python.absolute(), float_model, inference_python)
    click.echo(json.dumps(PARTS[name.replace("-", " ")](extent), indent=2))
