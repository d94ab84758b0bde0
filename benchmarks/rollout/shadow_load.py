"""Live frames with and without a version in the shadow: ``python -m benchmarks run rollout-shadow``.

With a spare core: one camera with a pace that leaves most of two CPUs free. Without one: the daemon is bound to one
CPU, and its camera gives more frames than that can answer. Runs with and without a shadow alternate, each a daemon
of its own, and the order turns from round to round.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.performance.bare_runs import BUNDLE
from benchmarks.rollout.box import RolloutBox
from benchmarks.rollout.faults import Fault
from benchmarks.rollout.versions import make_root, put_version

SHADOW: dict[str, Any] = {"frames": 1_000_000, "longest_s": 86_400}
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the box is."""

    name: str
    fps: float
    cpus: tuple[int, ...] = ()
    """Empty: all."""
    threads: int | None = None
    """Inside a call; None: as the daemon chooses."""


@dataclass(frozen=True, slots=True)
class Look:
    """Live frames of one run."""

    load: str
    has_shadow: bool
    frames_per_s: float
    p50_ms: float
    p99_ms: float
    """From capture to result."""
    shadowed_per_s: float
    """Frames that the candidate answered."""


def loads(fps: float) -> list[Load]:
    """With a spare core (by one thread, and as the daemon chooses), and without one."""
    return [
        Load("spare core", fps, threads=1),
        Load("spare core, threads on all", fps),
        Load("no spare core", 240.0, cpus=(min(os.sched_getaffinity(0)),)),
    ]


def look(load: Load, seconds: float, *, has_shadow: bool) -> Look:
    """One daemon."""
    with tempfile.TemporaryDirectory(prefix="shadow-") as name:
        folder = Path(name)
        root = make_root(folder, BUNDLE)
        put_version(BUNDLE, root, 1, Fault.NONE)
        keys = {} if load.threads is None else {"threads": load.threads}
        camera = {"path": "demo:conveyor", "fps": load.fps}
        box = RolloutBox(folder / "box", root, camera, {"shadow": SHADOW}, queue_frames=4, **keys)
        box.start(load.cpus)
        try:
            if has_shadow:
                put_version(BUNDLE, root, 2, Fault.NONE)
                box.wait(lambda: box.rollout().get("stage") == "shadow")
            time.sleep(SETTLE_S)
            began_wall_s, before = time.time(), _shadowed(box)
            time.sleep(seconds)
            ended_wall_s, after = time.time(), _shadowed(box)
            results = [one for one in box.results() if began_wall_s <= one["at_wall_s"] <= ended_wall_s]
        finally:
            box.stop()
    total_ms = [one["timings_ms"]["total"] for one in results]
    took_s = ended_wall_s - began_wall_s
    p50, p99 = np.percentile(total_ms, [50, 99])
    return Look(
        load.name, has_shadow, len(results) / took_s, float(p50), float(p99), (after - before) / took_s
    )


def _shadowed(box: RolloutBox) -> int:
    figures = box.rollout().get("figures") or {}
    return int(figures["candidate"]["frames"]) if figures else 0


def table(looks: Sequence[Look]) -> str:
    """Medians, and the least and largest value of each."""
    lines = [
        "| load | shadow | frames/s | p50 ms | p99 ms | shadowed/s |",
        "|---|---|---|---|---|---|",
    ]
    for load, has_shadow in dict.fromkeys((one.load, one.has_shadow) for one in looks):
        mine = [one for one in looks if (one.load, one.has_shadow) == (load, has_shadow)]
        columns = [
            _spread([getattr(one, key) for one in mine])
            for key in ("frames_per_s", "p50_ms", "p99_ms", "shadowed_per_s")
        ]
        lines.append(f"| {load} | {'yes' if has_shadow else 'no'} | {' | '.join(columns)} |")
    for load in dict.fromkeys(one.load for one in looks):
        frames, p99 = (_change(looks, load, key) for key in ("frames_per_s", "p99_ms"))
        lines.append(f"\n{load}: with a shadow frames {frames:+.1%}, p99 {p99:+.1%} (medians)")
    return "\n".join(lines)


def _change(looks: Sequence[Look], load: str, key: str) -> float:
    without, with_shadow = (
        statistics.median(getattr(one, key) for one in looks if one.load == load and one.has_shadow is wanted)
        for wanted in (False, True)
    )
    return float(with_shadow / without - 1)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True, help="Of each run.")
@click.option(
    "--fps", type=click.FloatRange(1, 240), default=15.0, show_default=True, help="With a spare core."
)
@click.option("--json", "as_json", is_flag=True)
def main(rounds: int, seconds: float, fps: float, as_json: bool) -> None:
    """Compare live frames with and without a version in the shadow."""
    looks = list[Look]()
    for number in range(rounds):
        for load in loads(fps):
            for has_shadow in (False, True) if number % 2 == 0 else (True, False):
                looks.append(look(load, seconds, has_shadow=has_shadow))
                click.echo(f"{looks[-1]}", err=True)
    click.echo(json.dumps([asdict(one) for one in looks]) if as_json else table(looks))
