"""Which classes the published answers name, and how sure they are: by these metrics answers are seen to drift.

They grow as long as the daemon runs, over swaps and edits, and are bounded, whatever the model answers.
"""

import threading
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass

from edge_runtime.datatypes import Generation
from edge_runtime.inference.answers import AnyAnswer, confidence_of, label_of
from edge_runtime.inference.durations import MOST_KEPT, Arm

BOUNDS = (0.2, 0.4, 0.6, 0.8, 0.9)
"""Upper bounds of the buckets of confidence."""
MOST_CLASSES = 20
"""Of one model: each is a series for years."""
OTHER = "(other)"
"""Of the classes that came after so many others."""


@dataclass(frozen=True, slots=True)
class Confidences:
    """A histogram at one moment."""

    counts: tuple[int, ...]
    """By bucket of ``BOUNDS``, each on its own; the last one is of what lies above all bounds."""
    sum: float


class AnswerCounts:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._classes: dict[str, int] = {}
        self._counts: OrderedDict[tuple[Generation, Arm], list[int]] = OrderedDict()
        self._sums: dict[tuple[Generation, Arm], float] = {}

    def note_answer(self, generation: Generation, arm: Arm, answer: AnyAnswer) -> None:
        """A frame was answered, and that published; raw outputs have no class."""
        label = label_of(answer)
        if label is None:
            return
        confidence = confidence_of(answer)
        with self._lock:
            is_room = label in self._classes or len(self._classes) < MOST_CLASSES
            name = label if is_room else OTHER
            self._classes[name] = self._classes.get(name, 0) + 1
            if confidence is not None:
                self._note_confidence((generation, arm), min(max(confidence, 0.0), 1.0))

    def read_classes(self) -> dict[str, int]:
        """Answers by their best class, or that of their strongest box."""
        with self._lock:
            return dict(self._classes)

    def read_confidences(self) -> dict[tuple[Generation, Arm], Confidences]:
        """Of the generations and arms that answered last."""
        with self._lock:
            return {key: Confidences(tuple(one), self._sums[key]) for key, one in self._counts.items()}

    def _note_confidence(self, key: tuple[Generation, Arm], confidence: float) -> None:
        counts = self._counts.setdefault(key, [0] * (len(BOUNDS) + 1))
        self._counts.move_to_end(key)
        counts[bisect_left(BOUNDS, confidence)] += 1
        self._sums[key] = self._sums.get(key, 0.0) + confidence
        while len(self._counts) > MOST_KEPT:
            gone, _ = self._counts.popitem(last=False)
            del self._sums[gone]
