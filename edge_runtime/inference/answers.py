"""The answers that two arms are compared by, whatever carries them."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Anomaly, Detection, Label, Value

NOTHING = "(nothing)"
"""The label of an answer without a detection."""
INSIDE = "inside limits"
"""The label of values that are all inside their limits."""
ANOMALOUS, NORMAL = "anomalous", "normal"
"""The labels of a score above and up to its threshold."""


class AnyAnswer(Protocol):
    """What a model answered to one frame; the postprocessor's ``Answer`` and a published ``Result`` are such."""

    @property
    def top(self) -> tuple[Label, ...] | None:
        """Classes, best first."""

    @property
    def detections(self) -> tuple[Detection, ...] | None:
        """Boxes, best first."""

    @property
    def values(self) -> tuple[Value, ...] | None:
        """Numbers in their units."""

    @property
    def anomaly(self) -> Anomaly | None:
        """A score, with its threshold."""

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]] | None:
        """Raw outputs."""


def label_of(answer: AnyAnswer) -> str | None:
    """Text of the best label, or of the strongest box (``NOTHING`` without one).

    Of values with limits, which ones are where outside (``INSIDE``: none), and of an anomaly whether it is one. None
    for raw outputs, values without limits and scores without a threshold.
    """
    if answer.top:
        return answer.top[0].label
    if answer.detections is not None:
        return max(answer.detections, key=lambda box: box.score).label if answer.detections else NOTHING
    if answer.values is not None and any(one.limits is not None for one in answer.values):
        outside = [f"{one.name} {one.limits}" for one in answer.values if one.limits not in (None, "inside")]
        return ", ".join(outside) or INSIDE
    if answer.anomaly is not None and answer.anomaly.is_anomalous is not None:
        return ANOMALOUS if answer.anomaly.is_anomalous else NORMAL
    return None


def confidence_of(answer: AnyAnswer) -> float | None:
    """Score of the best label, or mean score of the boxes; None for other answers and without a box."""
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
    scores += [one.value for one in answer.values or ()]
    if answer.anomaly is not None:
        scores.append(answer.anomaly.score)
    floats = [array for array in (answer.outputs or {}).values() if array.dtype.kind in "fc"]
    return bool(np.isfinite(scores).all()) and all(bool(np.isfinite(array).all()) for array in floats)


def describe_numbers(answer: AnyAnswer) -> str | None:
    """Values or a score in a few words; None for other answers."""
    if answer.values is not None:
        shown = ", ".join(f"{one.name[:60]} {one.value:.4g} {one.unit}".rstrip() for one in answer.values[:4])
        return shown + (f" and {len(answer.values) - 4} more" if len(answer.values) > 4 else "")
    if answer.anomaly is None:
        return None
    label = label_of(answer)
    return f"score {answer.anomaly.score:.4g}, {label or 'no threshold yet'}"
