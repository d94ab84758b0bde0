"""Which output of a detector holds what, and how to read detections by it. Pure numpy, no model, no guessing.

The layout is found once, on healthy frames (``detector_recognition``), and kept in the baseline: a drift must not
change the meaning of an output.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detections import (
    LEAST_SCORE,
    MOST_PER_FRAME,
    Detections,
    OneFrame,
    collected,
    survivors,
)

Outputs = Mapping[str, NDArray[Any]]
Form = Literal["separate", "per class", "rows of 7", "rows of 6", "rows", "columns"]
"""See ``detector_recognition``."""
BoxKind = Literal["corners", "centre and size"]

_UNSUPPRESSED: tuple[Form, ...] = ("per class", "rows", "columns")
"""Forms in which one object has many boxes."""


class NotDetections(Exception):
    """The outputs cannot be read as detections; the text says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class DetectionLayout:
    """Which output holds what."""

    form: Form
    boxes: str
    """Name of the output with the boxes; in the forms of rows and columns, with everything."""
    scores: str = ""
    classes: str = ""
    """Output with the class of each box; empty when there is none."""
    count: str = ""
    """Output with the number of valid boxes; empty when there is none."""
    box_kind: BoxKind = "corners"
    background: int | None = None
    """Class that means "nothing"."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "DetectionLayout":
        """The layout that :meth:`to_json` described.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        if plain["form"] not in get_args(Form) or plain["box_kind"] not in get_args(BoxKind):
            raise ValueError(f"unknown layout of detections {plain['form']!r}, {plain['box_kind']!r}")
        background = plain["background"]
        return cls(
            form=cast("Form", plain["form"]),
            boxes=str(plain["boxes"]),
            scores=str(plain["scores"]),
            classes=str(plain["classes"]),
            count=str(plain["count"]),
            box_kind=cast("BoxKind", plain["box_kind"]),
            background=None if background is None else int(background),
        )


@dataclass(frozen=True, slots=True)
class RawDetections:
    """Boxes as the model gives them, before threshold and suppression."""

    boxes: NDArray[np.float64]
    """(N,A,4)"""
    scores: NDArray[np.float64]
    """(N,A) of the best class; 0 where a row is not valid."""
    classes: NDArray[np.int64]
    """(N,A)"""


def read(layout: DetectionLayout, outputs: Outputs) -> Detections:
    """The detections in these outputs; frames with values that are not finite get NaN scores.

    Raises:
        NotDetections: an output is missing or has another shape.
    """
    raw = unpacked(layout, outputs)
    return collected([_in_frame(layout, raw, i) for i in range(len(raw.scores))])


def unpacked(layout: DetectionLayout, outputs: Outputs) -> RawDetections:
    """All boxes of all frames, as they come.

    Raises:
        NotDetections: an output is missing or has another shape.
    """
    table = without_ones(_named(outputs, layout.boxes))
    match layout.form:
        case "rows of 7":
            scores = np.where(
                table[:, :, 0] >= 0, table[:, :, 2], 0.0
            )  # image number -1: the end of the list
            return _raw(table[:, :, 3:7], scores, table[:, :, 1])
        case "rows of 6":
            return _raw(table[:, :, :4], table[:, :, 4], table[:, :, 5])
        case "rows":
            scores, classes = _best(layout, table[:, :, 5:])
            return _raw(table[:, :, :4], scores * table[:, :, 4], classes)
        case "columns":
            rows = table.transpose(0, 2, 1)
            return _raw(rows[:, :, :4], *_best(layout, rows[:, :, 4:]))
        case "per class":
            return _raw(table, *_best(layout, without_ones(_named(outputs, layout.scores), 3)))
        case "separate":
            return _separate(layout, outputs, table)


def without_ones(array: NDArray[Any], least_axes: int = 3) -> NDArray[np.float64]:
    """(N,K,...) without the axes of length 1 behind N, as long as ``least_axes`` remain."""
    kept = np.asarray(array, np.float64)
    for axis in range(kept.ndim - 1, 0, -1):
        if kept.ndim > least_axes and kept.shape[axis] == 1:
            kept = kept.squeeze(axis)
    return kept


def _separate(layout: DetectionLayout, outputs: Outputs, boxes: NDArray[np.float64]) -> RawDetections:
    scores = without_ones(_named(outputs, layout.scores), 2)
    classes = np.zeros_like(scores)
    if layout.classes:
        classes = without_ones(_named(outputs, layout.classes), 2)
    if layout.count:
        count = _named(outputs, layout.count).reshape(len(scores), -1)[:, :1]
        scores = np.where(np.arange(scores.shape[1]) < count, scores, 0.0)
    return _raw(boxes, scores, classes)


def _best(
    layout: DetectionLayout, scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Best class of each box (N,A,C) and its score; the background never wins."""
    if layout.background is not None:
        scores = scores.copy()
        scores[:, :, layout.background] = 0
    classes = scores.argmax(axis=2)
    return np.take_along_axis(scores, classes[:, :, None], axis=2)[:, :, 0], classes.astype(np.float64)


def _raw(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], classes: NDArray[np.float64]
) -> RawDetections:
    if boxes.shape != (*scores.shape, 4) or classes.shape != scores.shape:
        found = f"boxes {boxes.shape}, scores {scores.shape}, classes {classes.shape}"
        raise NotDetections(f"{found}; expected (N,K,4), (N,K), (N,K)")
    return RawDetections(boxes, scores, np.nan_to_num(classes).astype(np.int64))


def _in_frame(layout: DetectionLayout, raw: RawDetections, i: int) -> OneFrame:
    boxes, scores, classes = raw.boxes[i], raw.scores[i], raw.classes[i]
    if not (np.isfinite(boxes[scores != 0]).all() and np.isfinite(scores).all()):
        return np.zeros((1, 4), np.float32), np.full(1, np.nan, np.float32), np.zeros(1, np.int32)
    kept = np.flatnonzero(scores >= LEAST_SCORE)
    kept = kept[np.argsort(-scores[kept], kind="stable")][:MOST_PER_FRAME]
    corners = _corners(boxes[kept], layout.box_kind)
    if layout.form in _UNSUPPRESSED:
        stays = survivors(corners, classes[kept])
        kept, corners = kept[stays], corners[stays]
    return corners.astype(np.float32), scores[kept].astype(np.float32), classes[kept].astype(np.int32)


def _corners(boxes: NDArray[np.float64], kind: BoxKind) -> NDArray[np.float64]:
    if kind == "corners":
        return boxes
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _named(outputs: Outputs, name: str) -> NDArray[Any]:
    if name not in outputs:
        raise NotDetections(f"no output {name!r}; the model has {', '.join(sorted(outputs))}")
    return np.asarray(outputs[name])
