"""Detector outputs -> boxes in pixels of the frame, for the layouts in which detectors are exported.

Pure functions of arrays; non-maximum suppression is OpenCV's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Geometry
from edge_runtime.inference.specs import DetectionSpec

MAX_CANDIDATES = 5_000
"""Boxes above the threshold that go into suppression, best first; a threshold of 0 must not cost seconds."""


_DETECTION_OUTPUT = 7  # values a row


class BoxFlaw(Exception):
    """Outputs that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Detections of one sample, best first."""

    corners: NDArray[np.float64]
    """(N,4) x1, y1, x2, y2."""
    scores: NDArray[np.float64]
    """(N,) 0..1."""
    classes: NDArray[np.int64]
    """(N,) class numbers of the model, without its background class."""


def read_boxes(
    spec: DetectionSpec,
    outputs: Mapping[str, NDArray[Any]],
    input_size: tuple[int, int],
    geometry: Geometry | None,
) -> Boxes:
    """Boxes above the threshold, suppressed, in frame pixels and inside the frame.

    Args:
        spec: How to read the outputs.
        outputs: Arrays of one sample, without the batch axis.
        input_size: Width and height of the model's input in pixels.
        geometry: The way back to the frame; None (tensor input) leaves boxes in pixels of the model's input.

    Raises:
        BoxFlaw: outputs are missing, misshapen or not finite.
    """
    raw, scores, classes = _unpacked(spec, outputs)
    if not (np.isfinite(raw).all() and np.isfinite(scores).all()):
        raise BoxFlaw("boxes or scores are not finite numbers")
    keep = np.flatnonzero(scores >= spec.score_threshold)
    keep = keep[np.argsort(-scores[keep], kind="stable")][:MAX_CANDIDATES]
    corners = _as_corners(raw[keep], spec, input_size)
    found = Boxes(corners, scores[keep], classes[keep])
    if spec.nms_iou is not None:
        found = _taken(found, _suppressed(found, spec.nms_iou))
    placed = _on_frame(found.corners, input_size, geometry)
    has_area = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
    inside = _taken(Boxes(placed, found.scores, found.classes), np.flatnonzero(has_area))
    return _taken(inside, np.arange(min(len(inside.scores), spec.max_detections)))


def raw_boxes(spec: DetectionSpec, outputs: Mapping[str, NDArray[Any]], input_size: tuple[int, int]) -> Boxes:
    """All boxes as the model gives them, in pixels of its input: nothing left out, suppressed or clipped.

    Raises:
        BoxFlaw: outputs are missing or misshapen.
    """
    raw, scores, classes = _unpacked(spec, outputs)
    return Boxes(_as_corners(raw, spec, input_size), scores, classes)


def _unpacked(
    spec: DetectionSpec, outputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Raw boxes (N,4), best score (N,) and its class (N,)."""
    if spec.packing == "separate":
        return _from_separate(spec, outputs)
    table = _array(outputs, spec.boxes)
    while table.ndim > 2 and len(table) == 1:
        table = table[0]
    if table.ndim != 2:
        raise BoxFlaw(f"output {spec.boxes} has shape {table.shape}; expected two axes")
    if spec.packing == "end2end":
        return _from_columns(spec, table, score=4, label=5)
    if spec.packing == "detection_output":
        is_end = np.flatnonzero(table[:, 0] < 0) if table.shape[1] == _DETECTION_OUTPUT else np.zeros(0)
        return _from_columns(spec, table[: int(is_end[0])] if is_end.size else table, score=2, label=1)
    rows = table.T if spec.packing == "columns" else table
    first = 5 if spec.has_objectness else 4
    if rows.shape[1] <= first:
        raise BoxFlaw(f"output {spec.boxes} has {rows.shape[1]} values a box; expected more than {first}")
    best, classes = _best(spec, rows[:, first:])
    if spec.has_objectness:
        best = best * (sigmoid(rows[:, 4]) if spec.activation == "sigmoid" else rows[:, 4])
    return rows[:, :4], best, classes


def _from_columns(
    spec: DetectionSpec, table: NDArray[np.float64], score: int, label: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Rows that name one class each."""
    width, first = (6, 0) if spec.packing == "end2end" else (_DETECTION_OUTPUT, 3)
    if table.shape[1] != width:
        raise BoxFlaw(f"output {spec.boxes} has {table.shape[1]} values a box; expected {width}")
    if not np.isfinite(table[:, label]).all():
        raise BoxFlaw(f"output {spec.boxes} does not hold one class a box")
    best, _ = _best(spec, table[:, score : score + 1])
    return table[:, first : first + 4], best, table[:, label].astype(np.int64)


def _from_separate(
    spec: DetectionSpec, outputs: Mapping[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    boxes = _array(outputs, spec.boxes).reshape(-1, 4) if _array(outputs, spec.boxes).size % 4 == 0 else None
    if boxes is None:
        raise BoxFlaw(f"output {spec.boxes} does not hold four values a box")
    scores = _array(outputs, spec.scores or "")
    count = len(boxes)
    if spec.count is not None:
        count = max(0, min(count, int(np.nan_to_num(_array(outputs, spec.count).reshape(-1)[:1].sum()))))
    scores = scores.reshape(len(boxes), -1) if len(boxes) and scores.size % len(boxes) == 0 else scores
    if scores.ndim != 2 or len(scores) != len(boxes):
        raise BoxFlaw(f"{len(boxes)} boxes but scores of shape {scores.shape}")
    best, classes = _best(spec, scores[:count])
    if spec.classes is not None:
        named = _array(outputs, spec.classes).reshape(-1)
        if len(named) != len(boxes) or not np.isfinite(named[:count]).all():
            raise BoxFlaw(f"output {spec.classes} does not hold one class a box")
        classes = named[:count].astype(np.int64)
    return boxes[:count], best, classes


def _best(spec: DetectionSpec, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Best class of each row and its score after the activation; the background class never wins."""
    if scores.shape[0] == 0 or scores.shape[1] == 0:
        return np.zeros(len(scores)), np.zeros(len(scores), np.int64)
    if spec.activation == "sigmoid":
        scores = sigmoid(scores)
    elif spec.activation == "softmax":
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = raised / raised.sum(axis=1, keepdims=True)
    if spec.background_class is not None and spec.background_class < scores.shape[1] > 1:
        scores = scores.copy()
        scores[:, spec.background_class] = -1
    classes = scores.argmax(axis=1)
    return scores[np.arange(len(scores)), classes], classes.astype(np.int64)


def _as_corners(
    raw: NDArray[np.float64], spec: DetectionSpec, input_size: tuple[int, int]
) -> NDArray[np.float64]:
    """(N,4) x1, y1, x2, y2 in pixels of the model's input."""
    a, b, c, d = raw.T if len(raw) else np.zeros((4, 0))
    match spec.box_format:
        case "xyxy":
            corners = np.stack([a, b, c, d], axis=1)
        case "yxyx":
            corners = np.stack([b, a, d, c], axis=1)
        case "xywh":
            corners = np.stack([a, b, a + c, b + d], axis=1)
        case "cxcywh":
            corners = np.stack([a - c / 2, b - d / 2, a + c / 2, b + d / 2], axis=1)
    return corners * np.array([*input_size, *input_size]) if spec.is_normalised else corners


def _suppressed(found: Boxes, iou: float) -> NDArray[np.int64]:
    """Indices that survive, best first."""
    if len(found.scores) == 0:
        return np.zeros(0, np.int64)
    x1, y1, x2, y2 = found.corners.T
    sides = np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(sides.tolist(), found.scores.tolist(), found.classes.tolist(), -1.0, iou)
    return np.sort(np.asarray(kept, np.int64).reshape(-1))  # candidates came in best first


def _on_frame(
    corners: NDArray[np.float64], input_size: tuple[int, int], geometry: Geometry | None
) -> NDArray[np.float64]:
    """Boxes in pixels of the frame, clipped to it."""
    if geometry is None:
        width, height = input_size
        return np.clip(corners, 0, [width, height, width, height])
    scale = np.array([geometry.scale_x, geometry.scale_y] * 2)
    offset = np.array([geometry.offset_x, geometry.offset_y] * 2)
    limit = np.array([geometry.frame_width, geometry.frame_height] * 2)
    placed: NDArray[np.float64] = np.clip((corners - offset) / scale, 0, limit)
    return placed


def _taken(boxes: Boxes, index: NDArray[Any]) -> Boxes:
    return Boxes(boxes.corners[index], boxes.scores[index], boxes.classes[index])


def _array(outputs: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    if name not in outputs:
        raise BoxFlaw(f"no output {name}; the model has {', '.join(sorted(outputs))}")
    return np.asarray(outputs[name], np.float64)


def sigmoid(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each score by itself; safe for logits of any size."""
    share: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(value, -500, 500)))
    return share
