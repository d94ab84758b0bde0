"""The answers that two arms are compared by, whatever carries them."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Detection, Label

NOTHING = "(nothing)"
"""The label of an answer without a detection."""


class AnyAnswer(Protocol):
    """What a model answered to one frame; the postprocessor's ``Answer`` and a published ``Result`` are such."""

    @property
    def top(self) -> tuple[Label, ...] | None:
        """Classes, best first."""

    @property
    def detections(self) -> tuple[Detection, ...] | None:
        """Boxes, best first."""

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]] | None:
        """Raw outputs."""


def label_of(answer: AnyAnswer) -> str | None:
    """Text of the best label, or of the strongest box (``NOTHING`` without one); None for raw outputs."""
    if answer.top:
        return answer.top[0].label
    if answer.detections is not None:
        return max(answer.detections, key=lambda box: box.score).label if answer.detections else NOTHING
    return None


def confidence_of(answer: AnyAnswer) -> float | None:
    """Score of the best label, or mean score of the boxes; None for raw outputs and without a box."""
    if answer.top:
        return answer.top[0].score
    if answer.detections:
        return sum(box.score for box in answer.detections) / len(answer.detections)
    return None


def is_finite(answer: AnyAnswer) -> bool:
    """Whether every number in it is one."""
    scores = [label.score for label in answer.top or ()]
    for box in answer.detections or ():
        scores += [box.score, *box.box]
    floats = [array for array in (answer.outputs or {}).values() if array.dtype.kind in "fc"]
    return bool(np.isfinite(scores).all()) and all(bool(np.isfinite(array).all()) for array in floats)
