"""What each generation of a model answers, from its first frame on: labels, how sure it is, how often it changes.

A drift, a wrong patch and a broken camera show here first, without labels and without a trial. Fed by inference
workers, read by ``/status``; memory is bounded, whatever the model answers.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from edge_runtime.datatypes import Generation, Sample
from edge_runtime.deployment.audit import Audit
from edge_runtime.deployment.rollout_policy.figures import ArmFigures
from edge_runtime.inference.answers import AnyAnswer, label_of

Arm = Literal["active", "candidate"]

MOST_KEPT = 4
"""Generations with their arms, those that answered last: patches come and go for years."""


@dataclass(frozen=True, slots=True)
class AnswerStatus:
    """One generation in one arm, since the model was opened. Shares are 0..1; None where nothing was measured."""

    bundle: str
    """Name and version."""
    patch: str | None
    """None for the bundle as it is."""
    arm: Arm
    """``candidate``: a version in its canary."""
    answers: int
    """With a label: raw outputs, values without limits and scores without a threshold are not counted."""
    labels: dict[str, int]
    """The most frequent labels with their counts; of an answer with boxes that of the strongest one, of values those
    outside their limits, of an anomaly whether it is one."""
    label_entropy: float | None
    """Of all counts of labels, as a share of the highest possible: 0 is always the same one."""
    switching_rate: float | None
    """Share of consecutive answers of one stream with another label."""
    confidence: float | None
    """Mean score of the best label, or of the boxes."""
    confident_share: float | None
    """Share of answers that score at least 0.8."""
    margins: tuple[int, ...]
    """Histogram of the difference of the two best class scores, ten parts of 0..1."""
    entropies: tuple[int, ...]
    """Histogram of the entropy of the class scores of an answer as a share of its maximum, ten parts of 0..1."""


class AnswerFigures:
    """An :class:`edge_runtime.inference.listeners.AnswerWatch`; any thread may call it."""

    def __init__(self, audit: Audit | None = None) -> None:
        self.audit = audit
        """Is offered every answer."""
        self._lock = threading.Lock()
        self._by_arm: OrderedDict[tuple[Generation, Arm], ArmFigures] = OrderedDict()

    def note_answer(self, generation: Generation, arm: Arm, sample: Sample, answer: AnyAnswer) -> None:
        """A sample was answered and published. Answers without a label say nothing here and cost nothing."""
        if label_of(answer) is None:
            return
        key = (generation, arm)
        with self._lock:
            figures = self._by_arm.get(key)
            if figures is None:
                figures = self._by_arm[key] = ArmFigures()
                while len(self._by_arm) > MOST_KEPT:
                    self._by_arm.popitem(last=False)
            self._by_arm.move_to_end(key)
            figures.note_answer(answer, 0.0, stream=sample.stream)
        if self.audit is not None:
            self.audit.offer(generation, sample, answer)

    def status(self) -> tuple[AnswerStatus, ...]:
        """Of every generation and arm that is kept; the last one answered last."""
        with self._lock:
            found = [(*key, figures.summary()) for key, figures in self._by_arm.items()]
        return tuple(
            AnswerStatus(
                bundle=generation.bundle,
                patch=generation.patch,
                arm=arm,
                answers=one.answers,
                labels=dict(one.labels),
                label_entropy=one.label_entropy,
                switching_rate=one.switching_rate,
                confidence=one.confidence,
                confident_share=one.confident_share,
                margins=one.margins,
                entropies=one.entropies,
            )
            for generation, arm, one in found
        )
