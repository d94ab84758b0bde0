"""Counters of frames that both arms answered: what one arm says more often than the other on the same picture."""

from collections import Counter
from dataclasses import dataclass
from heapq import nlargest

from edge_runtime.deployment.rollout_policy.figures import CONFIDENT, MOST_LABELS
from edge_runtime.inference.answers import AnyAnswer, confidence_of, is_finite, label_of

SHOWN_LABELS = 3
"""Of each label there is an interval, and of many one in twenty excludes 0 by chance."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Frames by which arm hits something: gives a label, or is confident."""

    both: int = 0
    only_candidate: int = 0
    only_active: int = 0
    neither: int = 0

    @property
    def frames(self) -> int:
        """All of them."""
        return self.both + self.only_candidate + self.only_active + self.neither


@dataclass(frozen=True, slots=True)
class PairSummary:
    """What both arms did on the same frames."""

    confidences: int = 0
    """Frames where both have a confidence, each bounded to 0..1."""
    confidence_difference: float = 0.0
    """Sum of candidate minus active."""
    confidence_difference_squares: float = 0.0
    """Sum of its squares."""
    confident: PairCounts = PairCounts()
    """Of those frames, by which arm scores at least ``CONFIDENT``."""
    labels: tuple[tuple[str, PairCounts], ...] = ()
    """The most frequent labels of the active arm, by which arm gives each."""


class PairFigures:
    """Counts the frames that both arms answered. The caller holds a lock; memory is bounded."""

    def __init__(self) -> None:
        self._confidences, self._sum, self._squares = 0, 0.0, 0.0
        self._confident: Counter[tuple[bool, bool]] = Counter()
        self._labelled = 0
        self._labels: dict[str, Counter[str]] = {}
        """By label, frames where ``both`` gave it, or one arm alone: ``candidate``, ``active``."""

    def note(self, active: AnyAnswer, candidate: AnyAnswer) -> None:
        """Both answered a frame; an answer that is not finite is a failure of its arm, and no pair."""
        theirs, ours = (confidence_of(one) for one in (active, candidate))
        first, second = label_of(candidate), label_of(active)
        if None in (theirs, ours) and None in (first, second):
            return  # raw outputs: there is nothing to compare, and they may be large
        if not (is_finite(active) and is_finite(candidate)):
            return
        if theirs is not None and ours is not None:
            difference = min(max(ours, 0.0), 1.0) - min(max(theirs, 0.0), 1.0)
            self._confidences += 1
            self._sum += difference
            self._squares += difference * difference
            self._confident[ours >= CONFIDENT, theirs >= CONFIDENT] += 1
        if first is None or second is None:
            return
        self._labelled += 1
        if first == second:
            self._count(first, "both")
        else:
            self._count(first, "candidate")
            self._count(second, "active")

    def summary(self) -> PairSummary:
        """The figures until now."""
        of_active = nlargest(
            SHOWN_LABELS, self._labels.items(), key=lambda item: item[1]["both"] + item[1]["active"]
        )
        arms = self._confident
        return PairSummary(
            self._confidences,
            self._sum,
            self._squares,
            PairCounts(arms[True, True], arms[True, False], arms[False, True], arms[False, False]),
            tuple((label, self._counts_of(counts)) for label, counts in of_active),
        )

    def _counts_of(self, by: Counter[str]) -> PairCounts:
        return PairCounts(by["both"], by["candidate"], by["active"], self._labelled - by.total())

    def _count(self, label: str, by: str) -> None:
        """A label beyond the bound is not compared."""
        if label in self._labels or len(self._labels) < MOST_LABELS:
            self._labels.setdefault(label, Counter())[by] += 1
