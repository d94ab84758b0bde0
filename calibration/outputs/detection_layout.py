"""Reads the outputs of a detector by a layout that says what they hold. Nothing is guessed here.

A bundle's manifest gives the layout. Where there is none, ``layout_inference`` finds it once, on healthy frames; a
drift must not change the meaning of an output.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.outputs.activations import sigmoid, softmax
from calibration.outputs.detections import LEAST_SCORE, MOST_PER_FRAME, Boxes, Detections, collect, score_ramp

Outputs = Mapping[str, NDArray[Any]]
Packing = Literal["separate", "rows", "columns", "end2end", "detection_output"]
BoxFormat = Literal["xyxy", "yxyx", "xywh", "cxcywh"]
Activation = Literal["none", "sigmoid", "softmax"]

SUPPRESSION_IOU = 0.5
"""Overlap above which the weaker of two boxes of a class goes, where no manifest names another."""
MAX_CANDIDATES = 5_000
"""Boxes of a frame that are kept before suppression, best first; a threshold of 0 must not cost seconds."""

_DETECTION_OUTPUT = 7  # values a row
_WORDS = {"packing": Packing, "box_format": BoxFormat, "activation": Activation}
_KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("boxes", "scores", "classes", "count"), str),  # version 0.1 wrote "" for none
    **dict.fromkeys(("background_class", "max_detections"), int),
    **dict.fromkeys(("nms_iou", "score_threshold"), float),
    "has_objectness": bool,
}
_OLD_FORMS: dict[str, dict[str, Any]] = {
    "separate": {"packing": "separate"},
    "per class": {"packing": "separate", "nms_iou": SUPPRESSION_IOU},
    "rows of 7": {"packing": "detection_output"},
    "rows of 6": {"packing": "end2end"},
    "rows": {"packing": "rows", "has_objectness": True, "nms_iou": SUPPRESSION_IOU},
    "columns": {"packing": "columns", "nms_iou": SUPPRESSION_IOU},
}
"""The forms in baselines of version 0.1; their ``box_kind`` is one of the next table."""
_OLD_BOX_KINDS: dict[str, BoxFormat] = {"corners": "xyxy", "centre and size": "cxcywh"}


class NotDetections(Exception):
    """The outputs cannot be read as detections; the text says what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class DetectionLayout:
    """Which output holds what. The fields mean what they mean in the ``postprocess`` section of a manifest.

    Attributes:
        packing: ``separate``: ``boxes`` (K,4) and ``scores`` (K,) or (K,classes), maybe ``classes`` (K,) and ``count``.
            ``rows``: one output (K, 4 + objectness? + classes); ``columns`` is its transpose. ``end2end``: rows of
            box, score, class (K,6). ``detection_output``: OpenVINO's rows of picture, class, score, box (K,7), ended
            by a picture below 0.
        boxes: Name of the output with the boxes; but for ``separate``, with everything.
        scores: Name of the output with the scores.
        classes: Name of the output with the class of each box.
        count: Name of the output with the number of valid boxes.
        has_objectness: Whether the fifth value of a box multiplies its class scores.
        box_format: Order and meaning of the four values of a box.
        activation: Applied to the scores; ``sigmoid`` to the objectness too.
        background_class: Score column that means "nothing".
        nms_iou: Overlap above which the weaker of two boxes of a class goes; None where the model did that itself.
        score_threshold: Least score of a box that is published; weaker ones are read too.
        max_detections: Boxes of a frame that are published, best first.
    """

    packing: Packing
    boxes: str
    scores: str | None = None
    classes: str | None = None
    count: str | None = None
    has_objectness: bool = False
    box_format: BoxFormat = "xyxy"
    activation: Activation = "none"
    background_class: int | None = None
    nms_iou: float | None = None
    score_threshold: float = 0.5
    max_detections: int = MOST_PER_FRAME

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "DetectionLayout":
        """The layout that :meth:`to_json` described, now or in version 0.1.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: it is none.
        """
        if "form" in plain:
            old = {"box_format": _OLD_BOX_KINDS[plain["box_kind"]], "background_class": plain["background"]}
            plain = {**plain, **_OLD_FORMS[plain["form"]], **old}
        plain = {"activation": "none", **plain}
        values = {key: kind(plain[key]) for key, kind in _KINDS.items() if plain.get(key) not in (None, "")}
        for key, words in _WORDS.items():
            if plain[key] not in get_args(words):
                raise ValueError(f"unknown layout of detections {plain[key]!r}")
            values[key] = plain[key]
        layout = cls(**values)
        counts = (layout.background_class or 0, layout.max_detections - 1)
        if min(counts) < 0 or not (0 <= layout.score_threshold <= 1 and 0 < (layout.nms_iou or 1) <= 1):
            raise ValueError("a layout of detections with a threshold or a number that cannot be")
        return layout


def read(layout: DetectionLayout, outputs: Outputs) -> Detections:
    """The detections of N frames; a frame with values that are not finite gets NaN scores.

    Args:
        layout: How to read the outputs.
        outputs: Arrays by name; the first axis is the frame.

    Raises:
        NotDetections: an output is missing or has another shape.
    """
    found = [_strongest_of(layout, frame) for frame in unpack_frames(layout, outputs)]
    return collect(found, layout.score_threshold)


def unpack_frames(layout: DetectionLayout, outputs: Outputs) -> list[Boxes]:
    """:func:`unpack` of each of N frames; the first axis of the outputs is the frame."""
    names = [name for name in (layout.boxes, layout.scores, layout.classes, layout.count) if name is not None]
    arrays = {name: _named(outputs, name) for name in names}
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1:
        raise NotDetections(f"outputs of {sorted(counts)} frames; expected as many in each")
    return [unpack(layout, {name: array[i] for name, array in arrays.items()}) for i in range(max(counts))]


def unpack(layout: DetectionLayout, outputs: Outputs) -> Boxes:
    """All valid boxes of one frame as the model gives them, each with its best class: no threshold, no suppression.

    Args:
        layout: How to read the outputs.
        outputs: Arrays by name, without the batch axis.

    Returns:
        Corners in the model's unit, scores after the activation; in the order of the model.

    Raises:
        NotDetections: an output is missing or has another shape.
    """
    if layout.packing == "separate":
        return _from_separate(layout, outputs)
    table = _array(outputs, layout.boxes)
    table = without_ones(table, first=0, least_axes=2)
    if table.ndim != 2:
        raise NotDetections(f"output {layout.boxes} has shape {table.shape}; expected two axes")
    if layout.packing == "end2end":
        return _from_columns(layout, table, box=0, score=4, label=5)
    if layout.packing == "detection_output":
        if table.shape[1] == _DETECTION_OUTPUT:
            table = table[np.cumsum(table[:, 0] < 0) == 0]  # rows up to the first picture below 0
        return _from_columns(layout, table, box=3, score=2, label=1)
    rows = table.T if layout.packing == "columns" else table
    first = 5 if layout.has_objectness else 4
    if rows.shape[1] <= first:
        raise NotDetections(
            f"output {layout.boxes} has {rows.shape[1]} values a box; expected more than {first}"
        )
    scores, classes = _best(layout, rows[:, first:])
    if layout.has_objectness:
        scores = scores * (sigmoid(rows[:, 4]) if layout.activation == "sigmoid" else rows[:, 4])
    return Boxes(_corners(layout, rows[:, :4]), scores, classes)


def without_ones(array: NDArray[np.float64], first: int, least_axes: int) -> NDArray[np.float64]:
    """The array without the axes of length 1 from ``first`` on, the last one first, while ``least_axes`` remain."""
    for axis in range(array.ndim - 1, first - 1, -1):
        if array.ndim > least_axes and array.shape[axis] == 1:
            array = array.squeeze(axis)
    return array


def strongest(layout: DetectionLayout, found: Boxes, least_score: float) -> Boxes:
    """The boxes of one frame from ``least_score`` on, best first, without those that a better one suppresses."""
    kept = np.flatnonzero(found.scores >= least_score)
    found = found.only(kept[np.argsort(-found.scores[kept], kind="stable")][:MAX_CANDIDATES])
    if layout.nms_iou is None or not len(found.scores):
        return found
    sides = np.concatenate([found.corners[:, :2], found.corners[:, 2:] - found.corners[:, :2]], axis=1)
    stay = cv2.dnn.NMSBoxesBatched(
        sides.tolist(), found.scores.tolist(), found.classes.tolist(), -1.0, layout.nms_iou
    )
    return found.only(np.sort(np.asarray(stay, np.int64).reshape(-1)))  # candidates came in best first


def _strongest_of(layout: DetectionLayout, found: Boxes) -> Boxes:
    if not (np.isfinite(found.corners[found.scores != 0]).all() and np.isfinite(found.scores).all()):
        return Boxes(np.zeros((1, 4)), np.full(1, np.nan), np.zeros(1, np.int64))
    least = min(LEAST_SCORE, score_ramp(layout.score_threshold)[0])
    return strongest(layout, found, least).only(slice(min(layout.max_detections, MOST_PER_FRAME)))


def _from_columns(
    layout: DetectionLayout, table: NDArray[np.float64], *, box: int, score: int, label: int
) -> Boxes:
    """Rows that name one class each; ``box``, ``score`` and ``label`` are the columns where these begin."""
    width = max(box + 4, label + 1)
    if table.shape[1] != width:
        raise NotDetections(f"output {layout.boxes} has {table.shape[1]} values a box; expected {width}")
    scores, _ = _best(layout, table[:, score : score + 1])
    return _with_classes(layout, table[:, box : box + 4], scores, table[:, label])


def _from_separate(layout: DetectionLayout, outputs: Outputs) -> Boxes:
    boxes, scores = _array(outputs, layout.boxes), _array(outputs, layout.scores or "")
    if boxes.size % 4:
        raise NotDetections(f"output {layout.boxes} does not hold four values a box")
    boxes = boxes.reshape(-1, 4)
    columns = scores.size // max(len(boxes), 1)
    if scores.size != len(boxes) * columns or (len(boxes) and not columns):
        raise NotDetections(
            f"{len(boxes)} boxes but scores of shape {scores.shape}; expected one or more a box"
        )
    valid = len(boxes)
    if layout.count is not None:
        valid = max(0, min(valid, int(np.nan_to_num(_array(outputs, layout.count).reshape(-1)[:1].sum()))))
    best, classes = _best(layout, scores.reshape(len(boxes), columns)[:valid])
    if layout.classes is not None:
        named = _array(outputs, layout.classes).reshape(-1)
        if len(named) != len(boxes):
            raise NotDetections(f"output {layout.classes} does not hold one class a box")
        return _with_classes(layout, boxes[:valid], best, named[:valid])
    return Boxes(_corners(layout, boxes[:valid]), best, classes)


def _best(
    layout: DetectionLayout, scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Best class of each row (K,C) and its score after the activation; the background class never wins."""
    if scores.shape[0] == 0 or scores.shape[1] == 0:
        return np.zeros(len(scores)), np.zeros(len(scores), np.int64)
    if layout.activation == "sigmoid":
        scores = sigmoid(scores)
    elif layout.activation == "softmax":
        scores = softmax(scores)
    if layout.background_class is not None and layout.background_class < scores.shape[1] > 1:
        scores = scores.copy()
        scores[:, layout.background_class] = -1
    classes = scores.argmax(axis=1)
    return scores[np.arange(len(scores)), classes], classes.astype(np.int64)


def _corners(layout: DetectionLayout, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,4) x1, y1, x2, y2 in the model's unit."""
    first, second = raw[:, :2], raw[:, 2:]
    match layout.box_format:
        case "xyxy":
            return raw
        case "yxyx":
            return raw[:, [1, 0, 3, 2]]
        case "xywh":
            return np.concatenate([first, first + second], axis=1)
        case "cxcywh":
            return np.concatenate([first - second / 2, first + second / 2], axis=1)


def _with_classes(
    layout: DetectionLayout,
    raw: NDArray[np.float64],
    scores: NDArray[np.float64],
    classes: NDArray[np.float64],
) -> Boxes:
    """Boxes with the classes that the model names; one that is not finite makes its score NaN."""
    scores = np.where(np.isfinite(classes), scores, np.nan)
    return Boxes(_corners(layout, raw), scores, np.nan_to_num(classes).astype(np.int64))


def _array(outputs: Outputs, name: str) -> NDArray[np.float64]:
    return np.asarray(_named(outputs, name), np.float64)


def _named(outputs: Outputs, name: str) -> NDArray[Any]:
    if name not in outputs:
        raise NotDetections(f"no output {name!r}; the model has {', '.join(sorted(outputs))}")
    return outputs[name]
