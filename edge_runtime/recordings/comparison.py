"""Two models, or one without and with a patch, on the same recorded frames: what each answers, how fast, how far off.

The arms answer every frame in turn, the first one alternating, so that a box that gets warm or busy slows both alike.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import calibration
from calibration.baseline.baseline import Baseline
from calibration.drift.replay import DriftReport
from calibration.errors import CalibrationError
from calibration.stats.sampling import spread_over
from edge_runtime.datatypes import Frame, Rejected
from edge_runtime.deployment.disagreements import Disagreement, Disagreements
from edge_runtime.deployment.rollout_policy import comparison
from edge_runtime.deployment.rollout_policy.agreement import agreement
from edge_runtime.deployment.rollout_policy.figures import ArmFigures, ArmSummary
from edge_runtime.deployment.rollout_policy.pairs import PairFigures
from edge_runtime.deployment.rollout_policy.plan import Stage
from edge_runtime.deployment.sample_views import make_view
from edge_runtime.errors import RecordingError
from edge_runtime.inference.answers import label_of
from edge_runtime.inference.preprocess import channels_first
from edge_runtime.recordings.arms import Answered, Arm
from edge_runtime.recordings.manifest import FrameLine
from edge_runtime.recordings.reader import Recording

MOST_SHOTS, SHOT_SIDE = 12, 320
MOST_DRIFT_FRAMES, MOST_DRIFT_BYTES = 256, 2**30
"""Frames that drift is scored on, evenly spread: each arm with a baseline holds them as tensors."""
LAYER_FRAMES = 24
"""Frames that the layers are looked at with."""
MOST_CHANGES = 12
Labels = Mapping[tuple[str, int], str]
OnProgress = Callable[[int, int], None]
"""Number of the frame, and how many there are."""


@dataclass(frozen=True, slots=True)
class ArmDrift:
    """How far the frames are from a healthy site, as this arm sees them."""

    score: DriftReport | None
    """Of the daemon's monitor, which watches the model without a patch."""
    layers: Mapping[str, float]
    """Divergence at the input and every layer that can be read, with the patch; 0 is none."""
    note: str | None
    """Why there is nothing."""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """What one arm did with the recording."""

    name: str
    bundle: str
    runs_on: str
    summary: ArmSummary
    prepare_ms: tuple[float, ...]
    infer_ms: tuple[float, ...]
    """Of every frame that both answered, in order."""
    drift: ArmDrift
    right: int
    """Frames with a label whose best label it is."""

    @property
    def total_ms(self) -> NDArray[np.float64]:
        """Preparation and inference of each frame."""
        return np.array(self.prepare_ms, np.float64) + np.array(self.infer_ms, np.float64)


@dataclass(frozen=True, slots=True)
class ComparisonResult:
    """Both arms."""

    device: str
    began_at: str
    is_whole: bool
    model: str
    frames: int
    first: ArmResult
    second: ArmResult
    agreement: float | None
    """Mean over the frames that both answered, 0..1; None where their answers are of different kinds."""
    alike: int
    """Frames with the same answer: the same best label, the same boxes."""
    compared: int
    changes: tuple[tuple[str, str, int], ...]
    """Best label of the first arm, of the second one, and how often; the most frequent differences first."""
    intervals: tuple[comparison.Comparison, ...]
    """Second minus first."""
    shots: tuple[Disagreement, ...]
    labelled: int
    """Frames that have a label from a person."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, without pictures."""
        return {
            "device": self.device,
            "began_at": self.began_at,
            "whole": self.is_whole,
            "model": self.model,
            "frames": self.frames,
            "compared": self.compared,
            "alike": self.alike,
            "agreement": self.agreement,
            "changes": [{"first": a, "second": b, "frames": count} for a, b, count in self.changes],
            "differences": [asdict(one) for one in self.intervals],
            "worst": [
                {"stream": one.stream, "seq": one.seq, "agreement": one.agreement,
                 "first": one.active.lines, "second": one.candidate.lines}
                for one in self.shots
            ],
            "labelled": self.labelled,
            "first": _arm_json(self.first, self.labelled),
            "second": _arm_json(self.second, self.labelled),
        }  # fmt: skip


def _arm_json(arm: ArmResult, labelled: int) -> dict[str, Any]:
    times = arm.total_ms
    quantiles = [50, 90, 99]
    return {
        "name": arm.name,
        "bundle": arm.bundle,
        "runs_on": arm.runs_on,
        "frames": arm.summary.frames,
        "failures": arm.summary.failures,
        "confidence": arm.summary.confidence,
        "labels": dict(arm.summary.labels),
        "latency_ms": {f"p{q}": round(float(np.percentile(times, q)), 3) for q in quantiles}
        if times.size
        else None,
        "drift": None if arm.drift.score is None else arm.drift.score.to_json(),
        "drift_note": arm.drift.note,
        "layers": {tap: round(value, 5) for tap, value in arm.drift.layers.items()},
        "accuracy": arm.right / labelled if labelled else None,
    }


@dataclass(slots=True)
class _Side:
    """Counts of one arm while frames go by."""

    arm: Arm
    baseline: Baseline | None
    kept: frozenset[int]
    """Numbers of the frames that drift is scored on."""
    figures: ArmFigures = field(default_factory=ArmFigures)
    prepare_ms: list[float] = field(default_factory=list)
    infer_ms: list[float] = field(default_factory=list)
    tensors: list[NDArray[np.float32]] = field(default_factory=list)
    right: int = 0

    def note(self, line: FrameLine, number: int, found: Answered | Rejected, label: str | None) -> None:
        if isinstance(found, Rejected):
            self.figures.note_failure(str(found.reason))
            return
        latency_ms = found.prepare_ms + found.infer_ms
        self.figures.note_answer(found.answer, latency_ms, stream=line.stream)
        if label is not None and found.answer.top:
            best = found.answer.top[0]
            self.right += label in (best.label, str(best.index))
        if number in self.kept:
            self.tensors.append(found.sample.tensor)


class _Table:
    """Both arms while frames go by."""

    def __init__(self, sides: tuple[_Side, _Side]) -> None:
        self.sides = sides
        view = make_view(sides[0].arm.bundle.manifest.preprocess)
        self.shots = Disagreements(view, most_kept=MOST_SHOTS, most_side=SHOT_SIDE)
        self.shots.set_pictures(are_kept=True)
        self.pairs, self.changes = PairFigures(), Counter[tuple[str, str]]()
        self.agreements, self.compared = list[float](), 0

    def answer(self, frame: Frame, number: int) -> tuple[Answered | Rejected, Answered | Rejected]:
        """Of both; which one comes first changes from frame to frame."""
        first, second = (side.arm for side in self.sides)
        if number % 2:
            latter = second.answer(frame)
            return first.answer(frame), latter
        return first.answer(frame), second.answer(frame)

    def note(self, first: Answered, second: Answered) -> None:
        """Both answered a frame."""
        self.compared += 1
        for side, one in zip(self.sides, (first, second), strict=True):
            side.prepare_ms.append(one.prepare_ms)
            side.infer_ms.append(one.infer_ms)
        self.pairs.note(first.answer, second.answer)
        value = agreement(first.answer, second.answer)
        if value is not None:
            self.agreements.append(value)
            self.shots.add(first.sample, first.answer, second.answer, value)
        names = label_of(first.answer), label_of(second.answer)
        if names[0] is not None and names[1] is not None and names[0] != names[1]:
            self.changes[names[0], names[1]] += 1


def compare(
    recording: Recording,
    model: str,
    arms: tuple[Arm, Arm],
    find_baseline: Callable[[Arm], Baseline | None],
    labels: Labels | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> ComparisonResult:
    """Let both arms answer the frames of the cameras of one model.

    Args:
        recording: Where the frames are.
        model: Its name in the recording.
        arms: What answers.
        find_baseline: Gives the healthy site of an arm's model, None where there is none.
        labels: What is really on the frames, as far as a person has said.
        on_progress: Told after each frame.

    Raises:
        RecordingError: a frame is damaged, or there is none that both can answer.
        EngineError: an engine failed.
    """
    lines = [line for line in recording.frames if recording.manifest.cameras.get(line.stream) == model]
    known, sides = labels or {}, (_make_side(one, find_baseline(one), len(lines)) for one in arms)
    table = _Table((next(sides), next(sides)))
    for number, line in enumerate(lines):
        found = table.answer(recording.read_frame(line), number)
        for side, one in zip(table.sides, found, strict=True):
            side.note(line, number, one, known.get(line.key))
        if isinstance(found[0], Answered) and isinstance(found[1], Answered):
            table.note(found[0], found[1])
        on_progress(number + 1, len(lines))
    if not table.compared:
        fix = "Record again, or compare bundles that take these pictures."
        raise RecordingError(recording.folder, "no frame that both can answer", "pictures for both", fix)
    names = _name(arms)
    first, second = (_sum_up(side, name) for side, name in zip(table.sides, names, strict=True))
    return ComparisonResult(
        device=recording.manifest.device,
        began_at=recording.manifest.began_at,
        is_whole=recording.is_whole,
        model=model,
        frames=len(lines),
        first=first,
        second=second,
        agreement=float(np.mean(table.agreements)) if table.agreements else None,
        alike=sum(value >= 1 for value in table.agreements),
        compared=table.compared,
        changes=tuple((*pair, count) for pair, count in table.changes.most_common(MOST_CHANGES)),
        intervals=comparison.compare(Stage.SHADOW, second.summary, first.summary, table.pairs.summary()),
        shots=table.shots.worst(),
        labelled=sum(line.key in known for line in lines),
    )


def _make_side(arm: Arm, baseline: Baseline | None, frames: int) -> _Side:
    if baseline is None or not frames:
        return _Side(arm, baseline, frozenset())
    fitting = MOST_DRIFT_BYTES // (4 * math.prod(arm.preprocessor.spec.tensor_shape))
    kept = spread_over(frames, max(1, min(MOST_DRIFT_FRAMES, fitting)))
    return _Side(arm, baseline, frozenset(kept.tolist()))


def _sum_up(side: _Side, name: str) -> ArmResult:
    return ArmResult(
        name,
        side.arm.bundle.id,
        side.arm.engine.runs_on,
        side.figures.summary(),
        tuple(side.prepare_ms),
        tuple(side.infer_ms),
        _measure_drift(side),
        side.right,
    )


def _name(arms: tuple[Arm, Arm]) -> tuple[str, str]:
    first, second = str(arms[0].generation), str(arms[1].generation)
    return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")


def _measure_drift(side: _Side) -> ArmDrift:
    arm, baseline = side.arm, side.baseline
    if baseline is None:
        return ArmDrift(None, {}, f"there is no baseline of the model of {arm.bundle.id}")
    if not side.tensors:
        return ArmDrift(None, {}, "none of the frames chosen for it was answered")
    model, x = arm.bundle.model_files, channels_first(np.stack(side.tensors), arm.preprocessor.spec)
    try:
        report = calibration.watch_drift(model, baseline, x)
        few = x[spread_over(len(x), LAYER_FRAMES)]
        layers = calibration.measure_drift(model, baseline, few, patch=arm.patch)
    except CalibrationError as err:
        return ArmDrift(None, {}, str(err))
    return ArmDrift(report, layers, None if report.status is not None else report.note)
