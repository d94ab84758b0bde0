"""Detector outputs -> boxes in pixels of the frame. Pure functions of arrays."""

from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detection_layout import DetectionLayout, NotDetections, strongest, unpack
from calibration.outputs.detections import Boxes
from calibration.outputs.read import ClassScores, Layout, NoAnswers
from calibration.outputs.values import Values
from edge_runtime.datatypes import Geometry
from edge_runtime.inference.postprocess.output_flaw import OutputFlaw
from edge_runtime.inference.specs import DetectionSpec, PostprocessSpec

_LAYOUT_FIELDS = {field.name for field in fields(DetectionLayout)}
_CLASS_SCORES: dict[str, ClassScores] = {
    "logits": ClassScores.LOGITS,
    "probabilities": ClassScores.PROBABILITIES,
    "sigmoid_logits": ClassScores.INDEPENDENT,
}


@lru_cache(maxsize=16)  # of every frame the same
def detection_layout(spec: DetectionSpec) -> DetectionLayout:
    """The part of a detector's specification by which its outputs are read."""
    return DetectionLayout(**spec.model_dump(include=_LAYOUT_FIELDS))


def answer_layout(spec: PostprocessSpec) -> Layout:
    """How the calibration library reads the answers that this specification publishes; it infers nothing."""
    match spec.task:
        case "detection":
            return detection_layout(spec)
        case "classification":
            return _CLASS_SCORES[spec.scores]
        case "regression":
            return Values.PLAIN
        case "anomaly":
            return Values.PLAIN if spec.score == "output" else Values.RECONSTRUCTION
        case "raw":
            return NoAnswers.RAW


def read_boxes(
    spec: DetectionSpec,
    outputs: Mapping[str, NDArray[Any]],
    input_size: tuple[int, int],
    geometry: Geometry | None,
) -> Boxes:
    """Boxes above the threshold, suppressed, in frame pixels and inside the frame, best first.

    Args:
        spec: How to read the outputs.
        outputs: Arrays of one sample, without the batch axis.
        input_size: Width and height of the model's input in pixels.
        geometry: The way back to the frame; None (tensor input) leaves boxes in pixels of the model's input.

    Raises:
        OutputFlaw: outputs are missing, misshapen or not finite.
    """
    found = raw_boxes(spec, outputs, input_size)
    if not (np.isfinite(found.corners).all() and np.isfinite(found.scores).all()):
        raise OutputFlaw("boxes or scores are not finite numbers")
    found = strongest(detection_layout(spec), found, spec.score_threshold)
    placed = _on_frame(found.corners, input_size, geometry)
    has_area = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
    return found._replace(corners=placed).only(np.flatnonzero(has_area)[: spec.max_detections])


def raw_boxes(spec: DetectionSpec, outputs: Mapping[str, NDArray[Any]], input_size: tuple[int, int]) -> Boxes:
    """All boxes as the model gives them, in pixels of its input: nothing left out, suppressed or clipped.

    Raises:
        OutputFlaw: outputs are missing or misshapen.
    """
    try:
        found = unpack(detection_layout(spec), outputs)
    except NotDetections as err:
        raise OutputFlaw(str(err)) from err
    scale = np.array([*input_size, *input_size]) if spec.is_normalised else 1.0
    return found._replace(corners=found.corners * scale)


def _on_frame(
    corners: NDArray[np.floating[Any]], input_size: tuple[int, int], geometry: Geometry | None
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
