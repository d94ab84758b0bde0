"""Infers the layout of a detector's outputs from names, shapes and values on healthy frames. Pure numpy, no model.

For models without a manifest. The forms, with N frames, K boxes after suppression or A before it, C classes:

* separate: boxes (N,K,4), scores (N,K), maybe classes (N,K) and a count (N,): TensorFlow's detection API and
  exports with the suppression inside.
* separate, scores per class: boxes (N,A,4), scores (N,A,C): SSD and DETR heads with their boxes decoded.
* detection_output: (N,1,K,7) image number, class, score, corners: OpenVINO's DetectionOutput.
* end2end: (N,K,6) corners, score, class: YOLO exported with its suppression.
* rows with objectness: (N,A,5+C) (YOLO v5, v7); columns without it: (N,4+C,A) (YOLO v8 and later).

Boxes are corners, x or y first, or centre and size; scores lie in 0..1. Everything else is refused with its reason:
logits, boxes that are offsets to anchors, masks, heat maps, sequences, features.

A shape alone proves nothing: any map (N,H,W) has the shape of a table of boxes. Boxes before suppression must also
behave as such: they lie all over the picture and not on a line in it, most of them show nothing, and each shows one
thing. Values that say nothing, such as boxes without an area, count against them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detection_layout import (
    SUPPRESSION_IOU,
    DetectionLayout,
    NotDetections,
    Outputs,
    unpack_frames,
    without_ones,
)
from calibration.outputs.detections import LEAST_SCORE, Boxes

Arrays = Mapping[str, NDArray[np.float64]]
Scores = NDArray[np.floating[Any]]

_SURE_SHARE = 0.99
"""Share of the likely boxes that must make sense as corners, or as centre and size."""
_SMALLEST_SIDE = 0.002
"""Sides below this share of the largest coordinate are no boxes."""
_LEAST_WITH_AREA = 0.9
"""Share of likely boxes that must have an area; the picture's edge may clip some to nothing."""
_LEAST_BOXES = 8
"""Likely boxes before suppression, in all frames together: fewer may look like boxes by chance."""
_MOST_CORRELATION = 0.5
"""Of the two coordinates of box centres, which lie on a grid (0); neighbouring rows of a map have 0.9 and more."""
_LEAST_SPREAD = 0.3
"""Of the middle 90 % of the centres, as a share of the furthest one: a grid has about 0.9."""
_INSIDE, _MOST_OUTSIDE, _BEYOND_CENTRES = 0.9, 0.1, 1.5
"""Share of the likely boxes that must lie in the picture, how far they may stick out on the near side (share of the
furthest centre), and where the picture ends on the far side: a grid of two cells has centres at a half of that."""
_COUNTED_SCORE, _MOST_OBJECTS, _MOST_CLASSES = 0.5, 2 / 3, 2.0
"""At most this share of all boxes before suppression shows an object, and each of these belongs to so few classes."""
_TOLERANCE = 1e-3
"""Rounding of scores in quantized models."""


def recognise(outputs: Outputs) -> DetectionLayout:
    """The layout of these outputs.

    Raises:
        NotDetections: no form fits, or more than one does.
    """
    arrays = {name: np.asarray(array, np.float64) for name, array in outputs.items()}
    bad = [name for name, array in sorted(arrays.items()) if not np.isfinite(array).all()]
    if bad:
        raise NotDetections(f"the answers in {', '.join(bad)} on healthy frames are not finite numbers")
    layout = _with_own_boxes(arrays) or _in_one_table(arrays)
    if layout is None:
        raise NotDetections(f"outputs {_describe(arrays)} have no known form of detections")
    raw = Boxes(*(np.concatenate(part) for part in zip(*unpack_frames(layout, arrays), strict=True)))
    _require_shares(layout, raw.scores)
    if layout.packing not in ("rows", "columns"):
        return _with_box_format(layout, raw)
    dense = _dense_scores(layout, arrays[layout.boxes])
    _require_shares(layout, dense)
    layout = _with_box_format(layout, raw)
    _require_objects(layout, raw.scores, dense)
    decoded = Boxes(*(np.concatenate(part) for part in zip(*unpack_frames(layout, arrays), strict=True)))
    _require_grid(layout, decoded)
    return layout


def _with_own_boxes(arrays: Arrays) -> DetectionLayout | None:
    """Separate or per class: one output is boxes and nothing else."""
    tables = {name: without_ones(array, 1, 3) for name, array in arrays.items() if array.ndim >= 3}
    fours = {name: table for name, table in tables.items() if table.ndim == 3 and table.shape[2] == 4}
    with_scores = {
        name: found for name, table in fours.items() if (found := _flat_scores(arrays, table.shape))
    }
    if len(with_scores) == 1:
        [(boxes, scores)] = with_scores.items()
        shape = fours[boxes].shape
        classes, count = _classes(arrays, scores, shape), _count(arrays, shape)
        return DetectionLayout("separate", boxes, scores, classes or None, count or None)
    if with_scores:
        raise NotDetections(f"outputs {', '.join(sorted(with_scores))} could all be the boxes")
    pairs = [
        (boxes, scores)
        for boxes, table in fours.items()
        for scores, other in tables.items()
        if scores != boxes and other.ndim == 3 and other.shape[:2] == table.shape[:2]
    ]
    if len(pairs) > 1:
        pairs = [(boxes, scores) for boxes, scores in pairs if not _says(scores, "box", "loc", "coord")]
    if len(pairs) > 1:
        raise NotDetections(f"boxes and scores cannot be told apart in {_describe(arrays)}")
    if not pairs:
        return None
    [(boxes, scores)] = pairs
    background = _background(tables[scores])
    return DetectionLayout("separate", boxes, scores, background_class=background, nms_iou=SUPPRESSION_IOU)


def _in_one_table(arrays: Arrays) -> DetectionLayout | None:
    """One output with everything."""
    tables = {name: without_ones(array, 1, 3) for name, array in arrays.items() if array.ndim in (3, 4)}
    tables = {name: table for name, table in tables.items() if table.ndim == 3}
    if len(tables) != 1:
        return None
    [(name, table)] = tables.items()
    _, a, b = table.shape
    if not a or not b:
        return None
    if b == 7 and _are_whole(table[:, :, 0]) and _are_whole(table[:, :, 1]) and _are_shares(table[:, :, 2]):
        return DetectionLayout("detection_output", name)
    if b == 6 and _are_whole(table[:, :, 5]) and _are_shares(table[:, :, 4]):
        return DetectionLayout("end2end", name)
    if any(np.abs(table.sum(axis=axis) - 1).max() < 0.1 for axis in (1, 2)):
        raise NotDetections(f"{name} holds distributions over classes, without boxes")
    if arrays[name].ndim > 3:  # (N,C,H,W): pictures
        return None
    if a > b >= 6:
        return DetectionLayout("rows", name, has_objectness=True, nms_iou=SUPPRESSION_IOU)
    if b > a >= 5:
        return DetectionLayout("columns", name, nms_iou=SUPPRESSION_IOU)
    return None


def _flat_scores(arrays: Arrays, shape: tuple[int, ...]) -> str:
    """Name of the output with one score for each of the boxes; empty when there is none."""
    fit = [
        name for name, array in _flat(arrays, shape).items() if _are_shares(array) and not _are_whole(array)
    ]
    named = [name for name in fit if _says(name, "score", "conf", "prob")]
    if len(fit) > 1 and len(named) != 1:
        raise NotDetections(f"outputs {', '.join(sorted(fit))} could all be the scores")
    return (named if len(fit) > 1 else [*fit, ""])[0]


def _classes(arrays: Arrays, scores: str, shape: tuple[int, ...]) -> str:
    fit = [name for name, array in _flat(arrays, shape).items() if name != scores and _are_whole(array)]
    named = [name for name in fit if _says(name, "class", "label", "categor")]
    return (named or fit)[0] if len(named or fit) == 1 else ""


def _flat(arrays: Arrays, shape: tuple[int, ...]) -> dict[str, NDArray[np.float64]]:
    found = {name: without_ones(array, 1, 2) for name, array in arrays.items() if array.ndim >= 2}
    return {name: array for name, array in found.items() if array.shape == shape[:2]}


def _count(arrays: Arrays, shape: tuple[int, ...]) -> str:
    fit = [
        name
        for name, array in arrays.items()
        if array.size == shape[0] == len(array) and _are_whole(array) and array.max() <= shape[1]
    ]
    named = [name for name in fit if _says(name, "num", "count", "valid")]
    return named[0] if len(named) == 1 else ""


def _background(scores: NDArray[np.float64]) -> int | None:
    """The class most boxes before suppression belong to, where the classes exclude each other."""
    are_exclusive = scores.shape[2] > 1 and np.abs(scores.sum(axis=2) - 1).max(initial=0) < 0.1
    return int(scores.mean(axis=(0, 1)).argmax()) if are_exclusive else None


def _with_box_format(layout: DetectionLayout, raw: Boxes) -> DetectionLayout:
    likely = raw.corners[raw.scores >= LEAST_SCORE]
    if not len(likely):
        raise NotDetections("no frame shows anything, so the form of the boxes cannot be told")
    least = _SMALLEST_SIDE * np.abs(likely).max()
    sides = likely[:, 2:] - likely[:, :2]
    have_area = (sides > least).all(axis=1).mean() >= _LEAST_WITH_AREA
    if have_area and (sides >= 0).all(axis=1).mean() >= _SURE_SHARE:
        return replace(layout, box_format="xyxy")
    if (likely[:, 2:] > least).all(axis=1).mean() >= _SURE_SHARE:
        return replace(layout, box_format="cxcywh")
    found = f"the boxes in {layout.boxes} are neither corners nor centre and size"
    raise NotDetections(f"{found} (offsets to anchors?): export the model with its boxes decoded")


def _dense_scores(layout: DetectionLayout, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N*A, 1+C or C) all scores of the boxes before suppression, an objectness among them."""
    rows = table if layout.packing == "rows" else table.transpose(0, 2, 1)
    return rows.reshape(-1, rows.shape[2])[:, 4:]


def _require_shares(layout: DetectionLayout, scores: Scores) -> None:
    low, high = scores.min(initial=0), scores.max(initial=0)
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        found = f"scores in {layout.scores or layout.boxes} run from {low:.3g} to {high:.3g}"
        raise NotDetections(f"{found}; expected 0..1: export the model with its sigmoid or softmax")


def _require_objects(layout: DetectionLayout, scores: Scores, dense: Scores) -> None:
    """Boxes before suppression: few show an object, and each of these shows one thing."""
    likely = int((scores >= LEAST_SCORE).sum())
    if likely < _LEAST_BOXES:
        found = f"{layout.boxes} shows {likely} likely boxes in all frames"
        raise NotDetections(
            f"{found}; at least {_LEAST_BOXES} are needed to tell boxes from a map by their values"
        )
    classes = dense[scores >= _COUNTED_SCORE, int(layout.has_objectness) :] >= _COUNTED_SCORE
    are_too_many = len(classes) > _MOST_OBJECTS * len(scores)
    if are_too_many or (len(classes) and classes.sum(axis=1).mean() > _MOST_CLASSES):
        raise NotDetections(
            f"nearly everything in {layout.boxes} would be an object: a map or features, no boxes"
        )


def _require_grid(layout: DetectionLayout, found: Boxes) -> None:
    """Boxes before suppression lie all over the picture, and in it."""
    centres = (found.corners[:, :2] + found.corners[:, 2:]) / 2
    furthest = np.abs(centres).max(axis=0)
    low, high = np.quantile(centres, (0.05, 0.95), axis=0)
    is_spread = (high - low > _LEAST_SPREAD * furthest).all()
    if not is_spread or abs(float(np.asarray(np.corrcoef(centres.T))[0, 1])) > _MOST_CORRELATION:
        raise NotDetections(
            f"what could be boxes in {layout.boxes} does not lie all over the picture: a map?"
        )
    likely = found.corners[found.scores >= LEAST_SCORE]
    near, far = likely[:, :2] >= -_MOST_OUTSIDE * furthest, likely[:, 2:] <= _BEYOND_CENTRES * furthest
    if (near & far).all(axis=1).mean() < _INSIDE:
        raise NotDetections(
            f"what could be boxes in {layout.boxes} lies outside of any picture: a map or features?"
        )


def _are_shares(values: NDArray[np.float64]) -> bool:
    return bool(values.min(initial=0) >= -_TOLERANCE and values.max(initial=0) <= 1 + _TOLERANCE)


def _are_whole(values: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(values).all() and np.abs(values - np.rint(values)).max(initial=0) < _TOLERANCE)


def _says(name: str, *words: str) -> bool:
    return any(word in name.lower() for word in words)


def _describe(arrays: Mapping[str, NDArray[Any]]) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in sorted(arrays.items()))
