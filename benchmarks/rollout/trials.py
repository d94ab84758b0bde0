"""A good version and broken ones, one after the other on a running daemon, and what became of each.

``python -m benchmarks run rollout``: the photo conveyor with the demo's classifier, and, where the folder has a bundle
``street-pedestrians`` and the street video, that with the pedestrian detector. Limits are short, so that one version
takes seconds.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.accuracy.datasets.street_video import VideoMissing, find_video
from benchmarks.performance.bare_runs import BUNDLE
from benchmarks.rollout.box import NoAnswer, RolloutBox
from benchmarks.rollout.faults import Fault
from benchmarks.rollout.versions import make_root, put_version

PEDESTRIANS = Path("street-pedestrians") / "1"
"""Below ``--folder``, as ``edge-runtime bundle build street-pedestrians --out FOLDER`` makes it."""
KILLS = 2
PLAN: dict[str, Any] = {
    "shadow": {"frames": 100, "cpu": 1},
    "canary": {"frames": 60, "share": 0.5},
    "watch_s": 3.0,
    "limits": {"latency_ratio": 4, "memory_mib": 192},
}
"""One window is 100 frames; a busy box may be four times as slow for a while."""
WITHOUT_SHADOW = (Fault.SLOW, Fault.NAN, Fault.SOMETIMES, Fault.LEAK)
"""These are put into a canary at once as well: their answers are published until they are found out."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one version."""

    track: str
    fault: str
    plan: str
    caught_in: str | None
    """The stage it was in when it was refused; None: it was promoted."""
    by: str
    """The metrics that failed, or the reason."""
    frames: int
    """That it had answered until then, in all stages."""
    seconds: float
    """From its installation until it was refused or active."""
    lost: int
    """Frames without a result."""
    wrong_after: int
    """Its results that were published after it was refused."""
    published: int
    """Its results in all."""
    active: int
    """The version that answers afterwards."""


@dataclass(frozen=True, slots=True)
class Track:
    """A camera and the bundle that looks at it."""

    name: str
    bundle: Path
    camera: dict[str, Any]


def tracks_in(folder: Path | None, wanted: Sequence[str]) -> Iterator[Track]:
    """Those that can be run here."""
    if "conveyor" in wanted:
        yield Track("conveyor", BUNDLE, {"path": "demo:conveyor", "fps": 12})
    if "street" not in wanted or folder is None:
        return
    if not (folder / PEDESTRIANS).is_dir():
        click.echo(f"no street: {folder / PEDESTRIANS} is not there", err=True)
        return
    try:
        video = find_video(folder)
    except VideoMissing as err:
        click.echo(f"no street: {err}", err=True)
        return
    camera = {"path": str(video), "loop": True, "pace": "fps", "fps": 8}
    yield Track("street", folder / PEDESTRIANS, camera)


def measure(track: Track, faults: Sequence[Fault], *, shadow: bool) -> Iterator[Outcome]:
    """Each fault as a further version of one daemon, which goes on all the time (but for KILLED)."""
    plan = PLAN if shadow else {**PLAN, "shadow": {"frames": 0}}
    with tempfile.TemporaryDirectory(prefix="rollout-") as name:
        folder = Path(name)
        root = make_root(folder, track.bundle)
        put_version(track.bundle, root, 1, Fault.NONE)
        box = RolloutBox(folder / "box", root, track.camera, plan)
        box.start()
        try:
            for version, fault in enumerate(faults, start=2):
                yield _outcome(track, box, root, version, fault, "" if shadow else "no shadow")
        finally:
            box.stop()


def _outcome(track: Track, box: RolloutBox, root: Path, version: int, fault: Fault, plan: str) -> Outcome:
    draft = root.parent / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    put_version(track.bundle, draft, version, fault).rename(root / str(version))
    began_s = time.monotonic()
    if fault is Fault.KILLED:
        _kill_with(box, version)
    box.wait(lambda: _end(box, version) is not None)
    seconds = time.monotonic() - began_s
    if _end(box, version) == "active":
        box.wait(lambda: box.rollout().get("active") == version)
    last = _last(box, version)
    lost, results = box.lost(), box.results()
    of_it = [one for one in results if one["generation"].endswith(f"/{version}")]
    is_caught = last["stage"] == "refused"
    after = [one for one in of_it if is_caught and one["at_wall_s"] > last["at_wall_s"]]
    return Outcome(
        track=track.name,
        fault=str(fault),
        plan=plan,
        caught_in=last["before"] if is_caught else None,
        by=_reason(last),
        frames=sum(_frames(step) for step in box.steps(version)),
        seconds=round(seconds, 1),
        lost=lost,
        wrong_after=len(after),
        published=len(of_it),
        active=int(box.rollout()["active"]),
    )


def _kill_with(box: RolloutBox, version: int) -> None:
    """End the process with this version on board, twice, and start it again."""
    for _ in range(KILLS):
        box.wait(lambda: box.rollout().get("candidate") == version and box.rollout()["stage"] != "staged")
        box.kill()
        box.start()


def _last(box: RolloutBox, version: int) -> dict[str, Any]:
    return next(step for step in reversed(box.steps(version)) if step["stage"] in ("refused", "active"))


def _end(box: RolloutBox, version: int) -> str | None:
    """How it ended; None while it is on its way."""
    stages = [step["stage"] for step in box.steps(version)]
    if stages and stages[-1] not in ("refused", "active") and (why := box.rollout().get("paused")):
        raise NoAnswer(f"version {version} waits for a person: {why}")
    return stages[-1] if stages and stages[-1] in ("refused", "active") else None


def _reason(step: dict[str, Any]) -> str:
    failed = [name for name, one in step["findings"].items() if one["verdict"] == "fail"]
    return ", ".join(failed) if failed and step["stage"] == "refused" else str(step["reason"])[:60]


def _frames(step: dict[str, Any]) -> int:
    """Of the stage that this step ended."""
    figures = step["figures"]
    if figures is None or step["before"] == "staged":
        return 0
    return int(figures["candidate"]["frames"])


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown."""
    heads = ["track", "version", "caught in", "by", "frames until then", "seconds", "frames lost"]
    heads += ["its results", "of these after", "active then"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for one in outcomes:
        track = f"{one.track}, {one.plan}" if one.plan else one.track
        lines.append(
            f"| {track} | {one.fault} | {one.caught_in or 'promoted'} | {one.by} | {one.frames} | {one.seconds} |"
            f" {one.lost} | {one.published} | {one.wrong_after} | {one.active} |"
        )
    return "\n".join(lines)


@click.command()
@click.option(
    "--folder", type=click.Path(path_type=Path), help="With the bundle and the video of the street."
)
@click.option("--tracks", default="conveyor,street", show_default=True)
@click.option("--faults", help="Names of faults (parts of them), instead of all.")
@click.option("--quick", is_flag=True, help="Only with a shadow.")
@click.option("--json", "as_json", is_flag=True)
def main(folder: Path | None, tracks: str, faults: str | None, quick: bool, as_json: bool) -> None:
    """Install a good version and broken ones on a running daemon and print what became of them."""
    chosen = [fault for fault in Fault if faults is None or any(part in fault for part in faults.split(","))]
    outcomes = list[Outcome]()
    for track in tracks_in(folder, tracks.split(",")):
        rounds = [measure(track, chosen, shadow=True)]
        if not quick:
            at_once = [fault for fault in chosen if fault in WITHOUT_SHADOW]
            rounds.append(measure(track, at_once, shadow=False))
        for outcome in (one for found in rounds for one in found):
            outcomes.append(outcome)
            click.echo(f"{outcome}", err=True)
    click.echo(json.dumps([asdict(one) for one in outcomes]) if as_json else table(outcomes))
