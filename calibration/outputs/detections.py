"""Detections in one form, whatever the outputs of the model look like, and how far two sets of them agree.

Pure numpy on arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_PER_FRAME = 100
"""Detections kept per frame, best first."""

LEAST_SCORE = 0.05
"""Weaker ones are background to every user."""

IOU_RAMP = (0.4, 0.6)
"""Two boxes are the same object from an overlap of 0.5 on; a ramp around it keeps small shifts from deciding."""

SCORE_THRESHOLD = 0.5
"""From this score on a detection counts where no manifest names another; a ramp around it (0.25 to 0.75) keeps
borderline ones from deciding (on street video a third of the people score between 0.4 and 0.6)."""
_LEAST_RAMP = 0.02
"""Width of the ramp for a threshold of 0 or 1."""


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
        score_threshold: From this score on one counts to its users, 0..1.
        has_places: Whether the boxes mean places; labels of whole pictures all have the same one.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int32]
    score_threshold: float = SCORE_THRESHOLD
    has_places: bool = True

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
        return replace(
            self, boxes=self.boxes[chosen], scores=self.scores[chosen], classes=self.classes[chosen]
        )

    @property
    def is_finite(self) -> bool:
        """Whether all frames were answered with numbers."""
        return bool(np.isfinite(self.scores).all() and np.isfinite(self.boxes).all())

    def objects(self) -> NDArray[np.float64]:
        """(N,) how many objects each frame shows, borderline ones in part."""
        return np.asarray(weight(self.scores, self.score_threshold).sum(axis=1), np.float64)


def score_ramp(threshold: float) -> tuple[float, float]:
    """Scores at which a detection begins to count and counts fully; it counts half at the ``threshold``, 0..1."""
    half = min(threshold, 1 - threshold) / 2
    low = min(max(threshold - half, 0.0), 1 - _LEAST_RAMP)
    return low, min(max(threshold + half, low + _LEAST_RAMP), 1.0)


def weight(scores: NDArray[np.floating[Any]], threshold: float = SCORE_THRESHOLD) -> NDArray[np.float64]:
    """How much a detection counts, 0..1, by its score."""
    return _ramp(scores.astype(np.float64), score_ramp(threshold))


def shared_objects(one: Detections, other: Detections) -> NDArray[np.float64]:
    """(N,) how many objects both show in each frame: 2 * shared / (objects of one + of the other) is a soft F1.

    Boxes of a class are paired best first; a pair counts as its weaker score allows, less when the boxes overlap badly.
    """
    if len(one) != len(other):
        raise ValueError(f"detections of {len(one)} and of {len(other)} frames; expected the same frames")
    return np.asarray([_shared_in_frame(one, other, i) for i in range(len(one))], np.float64)


def collect(found: Sequence[Boxes], score_threshold: float = SCORE_THRESHOLD) -> Detections:
    """Detections of several frames, each with its own number of them."""
    most = max((len(scores) for _, scores, _ in found), default=0)
    boxes = np.zeros((len(found), most, 4), np.float32)
    scores = np.zeros((len(found), most), np.float32)
    classes = np.zeros((len(found), most), np.int32)
    for i, (one_boxes, one_scores, one_classes) in enumerate(found):
        k = len(one_scores)
        boxes[i, :k], scores[i, :k], classes[i, :k] = one_boxes, one_scores, one_classes
    return Detections(boxes, scores, classes, score_threshold)


def join(parts: Sequence[Detections]) -> Detections:
    """The frames of all parts, at least one, read in the same way, one part after the other."""
    frames = (zip(part.boxes, part.scores, part.classes, strict=True) for part in parts)
    whole = collect([Boxes(*frame) for part in frames for frame in part], parts[0].score_threshold)
    return replace(whole, has_places=parts[0].has_places)


def labels_as_detections(scores: NDArray[np.floating[Any]]) -> Detections:
    """Independent labels of N pictures, with their scores (N,K) in 0..1, as detections that all have the same place.

    Sets of labels are compared as sets of objects are: by an F1.
    """
    found, place = [], np.array([0.0, 0.0, 1.0, 1.0])
    for row in scores:
        best = np.argsort(-row, kind="stable")[:MOST_PER_FRAME]
        found.append(Boxes(np.tile(place, (len(best), 1)), row[best], best))
    return replace(collect(found), has_places=False)


def overlaps(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """(K,L) intersection over union of boxes (K,4) and (L,4), corners."""
    a, b = one.astype(np.float64)[:, None], other.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = np.clip(sides, 0, None).prod(axis=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1)
    return np.asarray(both / np.maximum(areas - both, np.finfo(np.float64).tiny), np.float64)


def _shared_in_frame(one: Detections, other: Detections, frame: int) -> float:
    mine, theirs = (
        np.flatnonzero(part.scores[frame] > score_ramp(part.score_threshold)[0]) for part in (one, other)
    )
    if not len(mine) or not len(theirs):
        return 0.0
    likeness = _ramp(overlaps(one.boxes[frame, mine], other.boxes[frame, theirs]), IOU_RAMP)
    likeness[one.classes[frame, mine][:, None] != other.classes[frame, theirs][None]] = 0
    worth = np.minimum(
        weight(one.scores[frame, mine], one.score_threshold)[:, None],
        weight(other.scores[frame, theirs], other.score_threshold)[None],
    )
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
