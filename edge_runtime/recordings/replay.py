"""Answers a recording again and says which answers are not those that were recorded, by the bundle's own tolerance."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from edge_runtime.datatypes import Label, Rejected
from edge_runtime.deployment.rollout_policy.agreement import agreement
from edge_runtime.errors import RecordingError
from edge_runtime.inference.answers import describe_numbers, label_of
from edge_runtime.inference.postprocess.postprocessor import Answer
from edge_runtime.recordings.arms import Answered, Arm
from edge_runtime.recordings.manifest import FrameLine
from edge_runtime.recordings.reader import RecordedAnswer, Recording

MOST_SHOWN = 20
OnProgress = Callable[[str, int, int], None]
"""Model, and the number of its frame of so many."""
OpenArm = Callable[[str, str | None], Arm]
"""Model, and the patch of one of its generations -> what answers."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A frame that is answered otherwise than it was."""

    stream: str
    seq: int
    gap: float | None
    """Above the tolerance; None where the answers cannot be compared."""
    recorded: str
    now: str


@dataclass(slots=True)
class ModelReplay:
    """What came out for one model."""

    model: str
    recorded_on: str
    runs_on: str
    tolerance: float
    compared_by: str
    has_same_model: bool
    """Whether the model file is the one that was recorded."""
    generations: Counter[str] = field(default_factory=Counter)
    """Frames compared, by what answered them."""
    same: int = 0
    worst: float = 0.0
    """Largest difference that can be measured."""
    labels_same: int = 0
    """Frames whose best label is the same."""
    labelled: int = 0
    not_compared: Counter[str] = field(default_factory=Counter)
    """By reason."""
    differences: list[Difference] = field(default_factory=list)
    recorded_ms: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    """Of the inference alone."""

    @property
    def compared(self) -> int:
        """Frames."""
        return self.generations.total()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model": self.model,
            "compared": self.compared,
            "same": self.same,
            "different": self.compared - self.same,
            "worst": round(self.worst, 6),
            "tolerance": self.tolerance,
            "compared_by": self.compared_by,
            "best_label_same": self.labels_same if self.labelled else None,
            "generations": dict(self.generations),
            "same_model": self.has_same_model,
            "not_compared": dict(self.not_compared),
            "recorded_on": self.recorded_on,
            "runs_on": self.runs_on,
            "infer_ms": {"recorded": _median(self.recorded_ms), "now": _median(self.ms)},
            "differences": [
                {
                    "stream": one.stream,
                    "seq": one.seq,
                    "gap": one.gap,
                    "recorded": one.recorded,
                    "now": one.now,
                }
                for one in self.differences[:MOST_SHOWN]
            ],
        }


def replay(
    recording: Recording,
    open_arm: OpenArm,
    on_progress: OnProgress = lambda *_: None,
) -> list[ModelReplay]:
    """Answer every recorded frame again, model by model.

    Raises:
        RecordingError: a frame is damaged, or there is nothing to compare.
        BundleError, EngineError: what shall answer cannot be used.
    """
    found = [
        one
        for name in recording.manifest.models
        if (one := _replay_model(recording, name, open_arm, on_progress))
    ]
    if not sum(one.compared for one in found):
        fix = "Record for longer, while the daemon answers."
        raise RecordingError(recording.folder, "no frame with an answer", "answered frames", fix)
    return found


def _replay_model(
    recording: Recording, model: str, open_arm: OpenArm, on_progress: OnProgress
) -> ModelReplay | None:
    cameras = {name for name, of in recording.manifest.cameras.items() if of == model}
    lines = [line for line in recording.frames if line.stream in cameras]
    if not lines:
        return None
    note = recording.manifest.models[model]
    with ExitStack() as opened:
        arms = dict[str | None, Arm]()

        def arm_of(patch: str | None) -> Arm:
            if patch not in arms:
                arms[patch] = open_arm(model, patch)
                opened.callback(arms[patch].close)
            return arms[patch]

        base = arm_of(None)
        found = ModelReplay(
            model,
            note.runs_on,
            base.engine.runs_on,
            base.bundle.manifest.tolerance,
            base.compare.by,
            base.bundle.manifest.files[base.bundle.manifest.model] == note.model_sha256,
        )
        for number, line in enumerate(lines):
            on_progress(model, number + 1, len(lines))
            recorded = recording.answers.get(line.key)
            if recorded is None or recorded.rejected == "engine_error":
                found.not_compared["unanswered" if recorded is None else "engine_error"] += 1
                continue
            bundle, _, patch = (recorded.generation or note.generation).partition("+")
            if bundle != note.bundle:
                found.not_compared["another version"] += 1
                continue
            arm = arm_of(patch or None)
            _note(found, line, recorded, arm, arm.answer(recording.read_frame(line)))
        return found


def _note(
    found: ModelReplay, line: FrameLine, recorded: RecordedAnswer, arm: Arm, now: Answered | Rejected
) -> None:
    found.generations[str(arm.generation)] += 1
    gap = measure_gap(arm, recorded, now)
    if gap <= found.tolerance:
        found.same += 1
    else:
        known = None if gap == float("inf") or gap != gap else round(gap, 6)
        found.differences.append(Difference(line.stream, line.seq, known, *_words(recorded, now)))
    if gap < float("inf"):
        found.worst = max(found.worst, gap)
    if isinstance(now, Answered):
        found.ms.append(now.infer_ms)
        if recorded.infer_ms is not None:
            found.recorded_ms.append(recorded.infer_ms)
        if recorded.answer is not None and (label := label_of(recorded.answer)) is not None:
            found.labelled += 1
            found.labels_same += label == label_of(now.answer)


def measure_gap(arm: Arm, recorded: RecordedAnswer, now: Answered | Rejected) -> float:
    """0 for the same answer, about 1 for an unrelated one; infinite where they cannot be compared.

    Of the raw outputs, as for golden answers. Where those were too large to be recorded, of what was published.
    """
    if isinstance(now, Rejected) or recorded.answer is None:
        is_same = isinstance(now, Rejected) and recorded.rejected == str(now.reason)
        return 0.0 if is_same else float("inf")
    if recorded.raw is not None:
        return arm.compare(now.outputs, recorded.raw)
    before, after = recorded.answer, now.answer
    if before.top is not None and after.top is not None:
        return _score_gap(before.top, after.top)
    agreed = agreement(before, after)
    return float("inf") if agreed is None else 1.0 - agreed


def _score_gap(before: tuple[Label, ...], after: tuple[Label, ...]) -> float:
    """Largest difference of the scores of one class; two nearly equal ones may change places."""
    known = {one.index: one.score for one in after}
    least = min((one.score for one in after), default=0.0)
    return max((abs(one.score - known.get(one.index, min(least, one.score))) for one in before), default=0.0)


def _words(recorded: RecordedAnswer, now: Answered | Rejected) -> Iterator[str]:
    if recorded.answer is None:
        yield f"rejected: {recorded.rejected}"
    else:
        yield describe_answer(recorded.answer)
    yield f"rejected: {now.reason}" if isinstance(now, Rejected) else describe_answer(now.answer)


def describe_answer(answer: Answer) -> str:
    """An answer in a few words."""
    if answer.top:
        return ", ".join(f"{one.label[:60]} {one.score:.3f}" for one in answer.top[:2])
    if answer.detections is not None:
        shown = ", ".join(f"{one.label[:60]} {one.score:.2f}" for one in answer.detections[:4])
        return f"{len(answer.detections)} boxes" + (f": {shown}" if shown else "")
    return describe_numbers(answer) or "raw outputs"


def _median(values: list[float]) -> float | None:
    return round(median(values), 2) if values else None
