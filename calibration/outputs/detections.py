"""Detections in one form, whatever the outputs of the model look like, and how far two sets of them agree.

Pure numpy on arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_PER_FRAME = 100
"""Detections kept per frame, best first."""

LEAST_SCORE = 0.05
"""Weaker ones are background to every user."""

IOU_RAMP = (0.4, 0.6)
"""Two boxes are the same object from an overlap of 0.5 on; a ramp around it keeps small shifts from deciding."""

SCORE_RAMP = (0.25, 0.75)
"""A detection counts from a score of 0.5 on, the usual threshold; a ramp around it keeps borderline ones from deciding
(on street video a third of the people score between 0.4 and 0.6)."""


class Boxes(NamedTuple):
    """The boxes of one frame.

    Attributes:
        corners: (K,4) x1, y1, x2, y2; the unit is the giver's.
        scores: (K,) 0..1.
        classes: (K,) class numbers of the model.
    """

    corners: NDArray[np.floating[Any]]
    scores: NDArray[np.floating[Any]]
    classes: NDArray[np.integer[Any]]

    def only(self, chosen: NDArray[np.intp] | slice) -> "Boxes":
        """The chosen ones, in that order."""
        return Boxes(self.corners[chosen], self.scores[chosen], self.classes[chosen])


@dataclass(frozen=True, slots=True, repr=False)
class Detections:
    """Detections of N frames, best first, filled up with score 0 to the same number K.

    Attributes:
        boxes: (N,K,4) two opposite corners; the unit and which axis comes first do not matter, if they are always the
            same.
        scores: (N,K) 0..1; NaN throughout a frame whose outputs were not finite.
        classes: (N,K)
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]

    def __repr__(self) -> str:
        return f"Detections({len(self)} frames, {self.objects().sum():.0f} objects)"

    def __post_init__(self) -> None:
        n, k = self.scores.shape if self.scores.ndim == 2 else (-1, -1)
        if self.boxes.shape != (n, k, 4) or self.classes.shape != (n, k):
            raise ValueError(
                f"boxes {self.boxes.shape}, scores {self.scores.shape}, classes {self.classes.shape}; "
                "expected (N,K,4), (N,K), (N,K)"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, chosen: NDArray[Any]) -> "Detections":
        return Detections(self.boxes[chosen], self.scores[chosen], self.classes[chosen])

    @property
    def is_finite(self) -> bool:
        """Whether all frames were answered with numbers."""
        return bool(np.isfinite(self.scores).all() and np.isfinite(self.boxes).all())

    def objects(self) -> NDArray[np.float64]:
        """(N,) how many objects each frame shows, borderline ones in part."""
        return np.asarray(weight(self.scores).sum(axis=1), np.float64)


def weight(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """How much a detection counts, 0..1, by its score."""
    return _ramp(scores.astype(np.float64), SCORE_RAMP)


def shared_objects(one: Detections, other: Detections) -> NDArray[np.float64]:
    """(N,) how many objects both show in each frame: 2 * shared / (objects of one + of the other) is a soft F1.

    Boxes of a class are paired best first; a pair counts as its weaker score allows, less when the boxes overlap badly.
    """
    if len(one) != len(other):
        raise ValueError(f"detections of {len(one)} and of {len(other)} frames; expected the same frames")
    return np.asarray([_shared_in_frame(one, other, i) for i in range(len(one))], np.float64)


def collect(found: Sequence[Boxes]) -> Detections:
    """Detections of several frames, each with its own number of them."""
    most = max((len(scores) for _, scores, _ in found), default=0)
    boxes = np.zeros((len(found), most, 4), np.float32)
    scores = np.zeros((len(found), most), np.float32)
    classes = np.zeros((len(found), most), np.int32)
    for i, (one_boxes, one_scores, one_classes) in enumerate(found):
        k = len(one_scores)
        boxes[i, :k], scores[i, :k], classes[i, :k] = one_boxes, one_scores, one_classes
    return Detections(boxes, scores, classes)


def join(parts: Sequence[Detections]) -> Detections:
    """The frames of all parts, one part after the other."""
    frames = (zip(part.boxes, part.scores, part.classes, strict=True) for part in parts)
    return collect([Boxes(*frame) for part in frames for frame in part])


def overlaps(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(K,L) intersection over union of boxes (K,4) and (L,4), corners."""
    a, b = one.astype(np.float64)[:, None], other.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.clip(sides, 0, None).prod(axis=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1)
    return np.asarray(both / np.maximum(areas - both, np.finfo(np.float64).tiny), np.float64)


def _shared_in_frame(one: Detections, other: Detections, frame: int) -> float:
    mine, theirs = (np.flatnonzero(part.scores[frame] > SCORE_RAMP[0]) for part in (one, other))
    if not len(mine) or not len(theirs):
        return 0.0
    likeness = _ramp(overlaps(one.boxes[frame, mine], other.boxes[frame, theirs]), IOU_RAMP)
    likeness[one.classes[frame, mine][:, None] != other.classes[frame, theirs][None]] = 0
    worth = np.minimum(weight(one.scores[frame, mine])[:, None], weight(other.scores[frame, theirs])[None])
    value = likeness * worth
    shared = 0.0
    for _ in range(min(value.shape)):
        i, j = np.unravel_index(value.argmax(), value.shape)
        if value[i, j] <= 0:
            break
        shared += float(value[i, j])
        value[i, :], value[:, j] = 0, 0
    return shared


def _ramp(values: NDArray[np.float64], ends: tuple[float, float]) -> NDArray[np.float64]:
    return np.asarray(np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1), np.float64)
