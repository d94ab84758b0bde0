"""Reads boxes from the outputs of many pictures, and compares two sets of boxes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detections import Boxes, Detections, collect, shared_objects
from edge_runtime.errors import BundleError
from edge_runtime.inference.postprocess.detections import BoxFlaw, read_boxes
from edge_runtime.inference.specs import DetectionSpec

Outputs = Mapping[str, NDArray[Any]]
"""Of N pictures, by name; the first axis is the picture."""


_LEAST_THRESHOLD = 0.05


RECIPE_FIX = "Correct postprocess in the recipe."


def boxes(meaning: DetectionSpec, outputs: Outputs, size: tuple[int, int]) -> Detections:
    """Detections of all pictures, scores scaled so that the model's own threshold is 0.5.

    Raises:
        BundleError: the outputs cannot be read as ``meaning`` says.
    """
    threshold = max(meaning.score_threshold, _LEAST_THRESHOLD)
    eager = meaning.model_copy(update={"score_threshold": threshold / 2})
    found: list[Boxes] = []
    try:
        for i in range(len(next(iter(outputs.values())))):
            one = read_boxes(eager, {name: array[i] for name, array in outputs.items()}, size, None)
            found.append(one._replace(scores=np.clip(one.scores / threshold / 2, 0, 1)))
    except BoxFlaw as flaw:
        raise BundleError(
            "postprocess", str(flaw), "outputs that can be read as it says", RECIPE_FIX
        ) from flaw
    return collect(found)


def box_agreement(one: Detections, other: Detections) -> float:
    """Soft F1 of one model's boxes against the other's, pooled over all pictures.

    Raises:
        BundleError: neither finds anything.
    """
    objects = float(one.objects().sum() + other.objects().sum())
    if objects == 0:
        fix = "Take pictures like the camera's, with objects in them."
        raise BundleError("calibration", "no objects found on any picture", "objects to compare", fix)
    return float(np.clip(2 * shared_objects(one, other).sum() / objects, 0, 1))
