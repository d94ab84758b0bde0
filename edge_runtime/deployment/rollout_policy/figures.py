"""Counters of one arm, and their summary: what a rollout is judged by and what people see of it.

After the on-device metrics of Nordic's edge SDK: switching rate, histograms of entropy and of the margin between the
two best scores, counts of labels.
"""

import math
from collections import Counter
from dataclasses import dataclass

from edge_runtime.datatypes import Label
from edge_runtime.inference.answers import AnyAnswer, confidence_of, is_finite, label_of
from edge_runtime.inference.metrics import Latency

BINS = 10
"""Equal parts of 0..1 in a histogram."""
CONFIDENT = 0.8
"""From this score on an answer counts as confident."""
SHOWN_LABELS = 10
MOST_LABELS, _MOST_STREAMS, _MOST_REASONS = 4096, 256, 32
"""A broken model may give a new class number with every frame. Further streams are not compared."""
_OTHERS = "(others)"


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """What one arm did. Shares and means are 0..1; None where nothing was measured, never NaN."""

    frames: int
    """Answered or failed."""
    failures: int
    """Frames without an answer."""
    failures_in_a_row: int
    """Since the last answer."""
    worst_in_a_row: int
    """The most failures in a row."""
    reasons: tuple[tuple[str, int], ...]
    """Of the failures, most frequent first."""
    latency_p50_ms: float | None
    """Of the most recent answers."""
    latency_p99_ms: float | None
    """Over the most recent answers."""
    confidence: float | None
    """Mean of the answers that have one: score of the best label, mean score of the boxes."""
    confident_share: float | None
    """Share of those that score at least ``CONFIDENT``."""
    label_entropy: float | None
    """Entropy of the counts of labels as a share of its maximum, which all labels seen equally often would have."""
    labels: tuple[tuple[str, int], ...]
    """The most frequent labels of answers with their counts."""
    labelled: int
    """Answers with a label."""
    switches: int
    """Answers with another label than the one before of their stream."""
    comparisons: int
    """Of consecutive answers of one stream; ``switches`` of them had another label."""
    margins: tuple[int, ...]
    """Histogram of the difference of the two best class scores, ``BINS`` parts of 0..1."""
    entropies: tuple[int, ...]
    """Histogram of the entropy of the class scores of an answer, as a share of its maximum."""
    agreement: float | None
    """Mean agreement with the other arm on the same frames."""
    agreements: int
    """Frames that both arms answered."""
    agreement_squares: float
    """Sum of the squares of the agreements."""
    confidences: int = 0
    """Answers that have one, each bounded to 0..1."""
    confidence_squares: float = 0.0
    """Sum of the squares of the confidences."""
    latency_p99_low_ms: float | None = None
    """What the 99th percentile surely exceeds: the worst of few answers says little about it."""

    @property
    def answers(self) -> int:
        """Frames with an answer."""
        return self.frames - self.failures

    @property
    def failure_share(self) -> float | None:
        """Share of frames without an answer."""
        return self.failures / self.frames if self.frames else None

    @property
    def most_frequent(self) -> tuple[str, int] | None:
        """The most frequent label and its count."""
        return self.labels[0] if self.labels else None

    @property
    def switching_rate(self) -> float | None:
        """Share of consecutive answers with another label."""
        return self.switches / self.comparisons if self.comparisons else None


class ArmFigures:
    """Counts what one arm does. The caller holds a lock; memory is bounded, whatever the model answers."""

    def __init__(self) -> None:
        self._answers = self._failures = self._in_a_row = self._worst_in_a_row = 0
        self._reasons: Counter[str] = Counter()
        self._latency = Latency()
        self._confidences = self._confident = 0
        self._confidence_sum = self._confidence_squares = 0.0
        self._labels: Counter[str] = Counter()
        self._last_label: dict[str, str] = {}
        self._switches = self._comparisons = 0
        self._margins, self._entropies = [0] * BINS, [0] * BINS
        self._agreements, self._agreement_sum, self._agreement_squares = 0, 0.0, 0.0

    def note_answer(self, answer: AnyAnswer, latency_ms: float, *, stream: str = "") -> None:
        """The arm answered a frame of a stream; an answer or a latency that is not finite counts as a failure."""
        if not (math.isfinite(latency_ms) and is_finite(answer)):
            self.note_failure("non_finite")
            return
        self._answers += 1
        self._in_a_row = 0
        self._latency.add(latency_ms)
        confidence, label = confidence_of(answer), label_of(answer)
        if confidence is not None:
            bounded = min(max(confidence, 0.0), 1.0)
            self._confidences += 1
            self._confidence_sum += bounded
            self._confidence_squares += bounded * bounded
            self._confident += confidence >= CONFIDENT
        if label is not None:
            self._note_label(label, stream)
        if answer.top:
            self._note_scores(answer.top)

    def note_failure(self, reason: str) -> None:
        """The arm gave no answer to a frame."""
        self._failures += 1
        self._in_a_row += 1
        self._worst_in_a_row = max(self._worst_in_a_row, self._in_a_row)
        _count(self._reasons, reason, _MOST_REASONS)

    def note_agreement(self, value: float) -> None:
        """How far both arms agree on one frame, 0..1; what is no number is no agreement."""
        bounded = min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0
        self._agreements += 1
        self._agreement_sum += bounded
        self._agreement_squares += bounded * bounded

    def summary(self) -> ArmSummary:
        """The figures until now."""
        latency = self._latency.percentiles()
        return ArmSummary(
            frames=self._answers + self._failures,
            failures=self._failures,
            failures_in_a_row=self._in_a_row,
            worst_in_a_row=self._worst_in_a_row,
            reasons=tuple(self._reasons.most_common(SHOWN_LABELS)),
            latency_p50_ms=None if latency is None else latency.p50,
            latency_p99_ms=None if latency is None else latency.p99,
            confidence=_share(self._confidence_sum, self._confidences),
            confident_share=_share(self._confident, self._confidences),
            label_entropy=_relative_entropy(list(self._labels.values())) if self._labels else None,
            labels=tuple(self._labels.most_common(SHOWN_LABELS)),
            labelled=self._labels.total(),
            switches=self._switches,
            comparisons=self._comparisons,
            margins=tuple(self._margins),
            entropies=tuple(self._entropies),
            agreement=_share(self._agreement_sum, self._agreements),
            agreements=self._agreements,
            agreement_squares=self._agreement_squares,
            confidences=self._confidences,
            confidence_squares=self._confidence_squares,
            latency_p99_low_ms=self._latency.surely_above(0.99),
        )

    def _note_label(self, label: str, stream: str) -> None:
        _count(self._labels, label, MOST_LABELS)
        before = self._last_label.get(stream)
        if before is not None:
            self._comparisons += 1
            self._switches += before != label
        if before is not None or len(self._last_label) < _MOST_STREAMS:
            self._last_label[stream] = label

    def _note_scores(self, top: tuple[Label, ...]) -> None:
        scores = [min(max(label.score, 0.0), 1.0) for label in top]
        if len(scores) > 1:
            self._margins[_bin(scores[0] - scores[1])] += 1
        # The classes that are not among the best share the rest of the probability, as one more.
        self._entropies[_bin(_relative_entropy([*scores, max(0.0, 1.0 - sum(scores))]))] += 1


def _count(counts: Counter[str], name: str, most: int) -> None:
    counts[name if name in counts or len(counts) < most else _OTHERS] += 1


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _bin(value: float) -> int:
    return min(int(value * BINS), BINS - 1)


def _relative_entropy(weights: list[float] | list[int]) -> float:
    """Entropy of non-negative weights as a share of that of equal ones, 0..1; 0 for a single one."""
    total = sum(weights)
    if total <= 0 or len(weights) < 2:
        return 0.0
    shares = [weight / total for weight in weights if weight > 0]
    return min(max(-sum(share * math.log(share) for share in shares) / math.log(len(weights)), 0.0), 1.0)
