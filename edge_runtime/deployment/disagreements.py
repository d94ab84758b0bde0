"""The few frames on which two versions disagreed most, as small pictures or charts: what a person looks at first.

Bounded in number and bytes. Nothing is kept where the configuration forbids pictures, and a change to that forgets all.
"""

import heapq
import itertools
import random
import threading
from dataclasses import dataclass

from edge_runtime.datatypes import Sample
from edge_runtime.deployment.sample_views import SampleView
from edge_runtime.inference.answers import AnyAnswer, describe_numbers

MOST_KEPT = 8
MOST_SIDE = 160
"""Pixels of a picture's longer side."""
MOST_URI_BYTES = 48 * 1024
"""A picture of this size as JPEG is 4 to 12 KiB, a chart up to 40; one that is larger is kept without it."""
MOST_BOXES = 12

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Answered:
    """What one arm said to a frame."""

    lines: tuple[str, ...]
    """Labels with their scores, best first."""
    boxes: tuple[Box, ...]
    """x, y, width, height in pixels of the picture that the model takes."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One frame with both answers."""

    stream: str
    seq: int
    agreement: float
    """0..1."""
    active: Answered
    candidate: Answered
    picture: str | None
    """``data:`` URI; None where there is none to show."""
    size: tuple[int, int]
    """Width and height of the picture that the model takes, in whose pixels the boxes are; or of a chart."""


class Disagreements:
    """Keeps the frames with the least agreement, of equal ones a random choice. One thread adds, any may read."""

    def __init__(
        self, view: SampleView, *, seed: int = 0, most_kept: int = MOST_KEPT, most_side: int = MOST_SIDE
    ) -> None:
        """No picture is kept before ``set_pictures`` allows it; ``view`` draws a sample."""
        self._view, self._keeps_pictures = view, False
        self._most_kept, self._most_side = most_kept, most_side
        self._lock, self._random = threading.Lock(), random.Random(seed)  # noqa: S311 - a choice of pictures
        self._kept: list[tuple[float, float, int, Disagreement]] = []
        """A heap whose first is the one to go: the highest agreement, negated."""
        self._count = itertools.count()

    def add(self, sample: Sample, active: AnyAnswer, candidate: AnyAnswer, agreement: float) -> None:
        """Look at a frame that both answered."""
        if agreement >= 1:
            return
        worth, by_chance = -agreement, self._random.random()
        with self._lock:
            is_kept = len(self._kept) < self._most_kept or (worth, by_chance) > self._kept[0][:2]
        if not is_kept:
            return
        kept = self._make(sample, active, candidate, agreement)
        with self._lock:
            if not self._keeps_pictures and kept.picture is not None:
                return
            entry = (worth, by_chance, next(self._count), kept)
            if len(self._kept) < self._most_kept:
                heapq.heappush(self._kept, entry)
            else:
                heapq.heapreplace(self._kept, entry)

    def worst(self) -> tuple[Disagreement, ...]:
        """Those that are kept, the least agreement first."""
        with self._lock:
            return tuple(entry[-1] for entry in sorted(self._kept, reverse=True))

    def set_pictures(self, *, are_kept: bool) -> None:
        """Whether pictures may be kept from now on; what is kept goes when they may not."""
        with self._lock:
            self._keeps_pictures = are_kept
            if not are_kept:
                self._kept.clear()

    def _make(
        self, sample: Sample, active: AnyAnswer, candidate: AnyAnswer, agreement: float
    ) -> Disagreement:
        picture, size = None, (0, 0)
        if self._keeps_pictures and sample.values is not None:
            uri, size = self._view.show(sample.values, self._most_side)
            picture = uri if len(uri) <= MOST_URI_BYTES else None
        return Disagreement(
            sample.stream,
            sample.seq,
            agreement,
            _describe(sample, active),
            _describe(sample, candidate),
            picture,
            size,
        )


def _describe(sample: Sample, answer: AnyAnswer) -> Answered:
    if answer.top:
        return Answered(tuple(f"{one.label[:60]} {one.score:.2f}" for one in answer.top[:2]), ())
    found = answer.detections
    if found is None:
        return Answered((describe_numbers(answer) or "raw outputs",), ())
    geometry = sample.geometry
    boxes = list[Box]()
    for one in found[:MOST_BOXES] if geometry is not None else ():
        assert geometry is not None
        left, right = (edge * geometry.scale_x + geometry.offset_x for edge in one.box[0::2])
        top, bottom = (edge * geometry.scale_y + geometry.offset_y for edge in one.box[1::2])
        boxes.append((round(left, 1), round(top, 1), round(right - left, 1), round(bottom - top, 1)))
    lines = tuple(f"{one.label[:60]} {one.score:.2f}" for one in found[:4])
    more = (f"and {len(found) - 4} more",) if len(found) > 4 else ()
    return Answered((*lines, *more) or ("nothing",), tuple(boxes))
