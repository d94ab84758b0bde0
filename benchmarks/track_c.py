"""Track C: how much of what a camera drift costs a detector does a label-free recalibration bring back?

    python -m benchmarks.track_c [--video vtest.avi] [--work FOLDER] [--seeds 0,1,2,3,4] [--severities 1.0] [--possible]

SSDLite for pedestrians as an int8 OpenVINO IR on street video. Per seed: a baseline on one third, 64 drifted frames
of another as reference, and the last for the test. The boxes (score >= 0.5) that the same model finds in the undrifted
test frames are the truth; what counts is the F1 score at IoU 0.5. Only the public ``calibration`` API is used, but for
``--possible``, the best candidate by the test boxes. The score is the usual hard one, not the soft one of the gate.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import orjson
from numpy.typing import NDArray

import calibration
from benchmarks.accuracy.datasets.pedestrian_model import int8_model
from benchmarks.accuracy.datasets.street_video import (
    Pixels,
    VideoMissing,
    find_video,
    frames_of,
    load_street,
    prepare,
)
from calibration.outputs.detections import Detections, overlaps
from calibration.outputs.read import layout_of, read_answers
from calibration.patch import Patch
from calibration.search.flow import Search
from calibration.search.reference import checked
from edge_runtime.sources.demo import camera_drift

HEALTHY = "none"
DRIFTS = ("contrast", "bright", "dark", "noise", "blur", "tint", "haze", "grey")
SCORE, IOU = 0.5, 0.5
GATE = "gate"
POSSIBLE = "best candidate"
FIXED = ("input", "all taps, prior 0", "all taps, prior 0.3")
"""Candidates that a user without a gate might always take."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way of recalibrating under one drift; F1 against the boxes of the undrifted run."""

    track: str
    seed: int
    drift: str
    severity: float
    n: int
    """Reference frames."""
    stream: str
    method: str
    healthy: float
    before: float
    after: float
    chosen: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Summary:
    """All rows of a method together."""

    recovered: float
    """Pooled share of the lost F1 that came back."""
    worst: float
    """Largest loss (or smallest gain) of a drift, seed and severity."""
    worst_case: str
    harmed: int
    """Drifted cases that lost more than a point."""
    drifted: int
    healthy_change: float | None
    """Mean change without a drift; None when that was not tried."""


class Bench:
    """The detector on one split of the video."""

    def __init__(self, model: Path, seed: int, count: int, video: Path) -> None:
        street = load_street(seed, video)
        self._model, self._seed = model, seed
        self._reference, self._test = street.reference[:count], street.test
        self._options = calibration.Options(seed=seed)
        self._target = calibration.open_target(model)
        self._baseline = calibration.profile(model, prepare(street.baseline))
        healthy = self._target.runner()(prepare(self._test))
        self._layout = layout_of(healthy)
        found = read_answers(healthy, self._layout)
        assert isinstance(found, Detections), "Track C's model is a detector"
        self._truth = found

    def rows(self, drift: str, severity: float, *, with_possible: bool) -> Iterator[Row]:
        """Every method under one drift."""
        rng = np.random.default_rng([self._seed, *drift.encode()])
        live, test = (prepare(_drifted(part, drift, severity, rng)) for part in (self._reference, self._test))
        before = self._f1(None, test)

        def row(method: str, after: float, chosen: str, seconds: float) -> Row:
            facts = ("C", self._seed, drift, severity, len(live), "video")
            return Row(*facts, method, 1.0, before, after, chosen, seconds)

        verdict = calibration.recalibrate(self._model, self._baseline, live, options=self._options)
        after = before if verdict.patch is None else self._f1(verdict.patch, test)
        yield row(GATE, after, verdict.candidate, verdict.seconds)
        began_s = time.monotonic()
        patches = self._patches(live)
        tried = {name: self._f1(patches[name], test) for name in (patches if with_possible else FIXED)}
        seconds = time.monotonic() - began_s
        for name in FIXED:
            yield row(name, tried[name], name, seconds)
        if with_possible:
            best = max(tried, key=lambda name: tried[name])
            yield row(POSSIBLE, max(before, tried[best]), best, seconds)

    def _f1(self, patch: Patch | None, x: NDArray[np.float32]) -> float:
        found = read_answers(self._target.runner(patch)(x), self._layout)
        assert isinstance(found, Detections)
        return hard_f1(found, self._truth)

    def _patches(self, live: NDArray[np.float32]) -> dict[str, Patch]:
        """Of every candidate, observed on all live frames; needs the library's inside."""
        return Search(self._target, self._baseline, checked(live), self._options, 0.0)._patches(live)


def samples_for_quantization(video: Path) -> NDArray[np.float32]:
    """Healthy prepared frames, spread over the video, to calibrate the activations with, as a factory would."""
    return prepare(frames_of(video, 5, 16)[0])


def hard_f1(found: Detections, truth: Detections) -> float:
    """F1 over all frames: detections that match a true box of their class, each true box once, best score first."""
    hits = total = 0
    for i in range(len(truth)):
        mine = np.flatnonzero(found.scores[i] >= SCORE)
        real = np.flatnonzero(truth.scores[i] >= SCORE)
        total += len(mine) + len(real)
        likeness = overlaps(found.boxes[i, mine], truth.boxes[i, real])
        likeness[found.classes[i, mine][:, None] != truth.classes[i, real][None]] = 0
        for row in likeness:
            if len(real) and row.max() >= IOU:
                hits += 1
                likeness[:, row.argmax()] = 0
    return 2 * hits / total if total else 1.0


def summarise(rows: Sequence[Row], method: str) -> Summary:
    """Pool the rows of a method; those without a drift only tell what a healthy camera loses."""
    mine = [row for row in rows if row.method == method]
    drifted = [row for row in mine if row.drift != HEALTHY]
    changes = [row.after - row.before for row in mine if row.drift == HEALTHY]
    lost = sum(max(0.0, row.healthy - row.before) for row in drifted) or float("nan")
    worst = min(drifted, key=lambda row: row.after - row.before)
    return Summary(
        recovered=sum(row.after - row.before for row in drifted) / lost,
        worst=worst.after - worst.before,
        worst_case=f"seed {worst.seed}, {worst.drift} {worst.severity:g}, {worst.chosen}",
        harmed=sum(row.after - row.before < -0.01 for row in drifted),
        drifted=len(drifted),
        healthy_change=float(np.mean(changes)) if changes else None,
    )


def cases(
    model: Path,
    video: Path,
    seeds: Sequence[int],
    drifts: Sequence[str],
    severities: Sequence[float],
    count: int,
    *,
    with_possible: bool,
) -> Iterator[Row]:
    """All rows, seed by seed; a healthy camera has no severity and is tried once a seed."""
    for seed in seeds:
        bench = Bench(model, seed, count, video)
        for drift in drifts:
            for severity in (0.0,) if drift == HEALTHY else severities:
                yield from bench.rows(drift, severity, with_possible=with_possible)


def _drifted(pixels: Pixels, drift: str, severity: float, rng: np.random.Generator) -> Pixels:
    if drift == HEALTHY:
        return pixels
    return np.stack([camera_drift.apply(drift, picture, severity, rng) for picture in pixels])


@click.command()
@click.option("--video", type=click.Path(path_type=Path), help="vtest.avi; default: the package's, fetched.")
@click.option(
    "--work",
    default=Path("build/track_c"),
    type=click.Path(path_type=Path),
    show_default=True,
    help="Keeps the model.",
)
@click.option("--seeds", default="0,1,2,3,4", show_default=True)
@click.option("--drifts", default=",".join((HEALTHY, *DRIFTS)), show_default=True)
@click.option("--severities", default="1.0", show_default=True, help="0..1, of a camera drift.")
@click.option("--count", default=64, show_default=True, help="Reference frames.")
@click.option("--possible", is_flag=True, help="Also the best candidate by the test boxes (slow).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row.")
def main(
    video: Path | None,
    work: Path,
    seeds: str,
    drifts: str,
    severities: str,
    count: int,
    possible: bool,
    as_json: bool,
) -> None:
    """Measure the detector."""
    try:
        video = video or find_video(work)
        model = int8_model(work, samples_for_quantization(video))
        found = cases(
            model,
            video,
            [int(seed) for seed in seeds.split(",")],
            drifts.split(","),
            [float(severity) for severity in severities.split(",")],
            count,
            with_possible=possible,
        )
        rows = []
        for row in found:
            rows.append(row)
            click.echo(orjson.dumps(asdict(row)) if as_json else _line(row))
    except VideoMissing as err:
        raise click.ClickException(str(err)) from err
    for method in dict.fromkeys(row.method for row in rows):
        if any(row.drift != HEALTHY for row in rows):
            click.echo(f"{method}: {_sentence(summarise(rows, method))}", err=as_json)


def _line(row: Row) -> str:
    figures = f"{row.before:6.3f} -> {row.after:6.3f}"
    case = f"{row.seed:2} {row.drift:<9} {row.severity:3g} {row.method:<20}"
    return f"{case} {figures}  {row.chosen} ({row.seconds:.0f} s)"


def _sentence(summary: Summary) -> str:
    healthy = "" if summary.healthy_change is None else f"; without a drift {summary.healthy_change:+.4f}"
    return (
        f"recovered {summary.recovered:.3f}, worst {summary.worst:+.3f} ({summary.worst_case}), "
        f"harmed {summary.harmed} of {summary.drifted}{healthy}"
    )


if __name__ == "__main__":
    main()
