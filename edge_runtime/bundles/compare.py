"""How far answers are from the golden ones: by the outputs as they are, or by the detections read from them.

The outputs are the stricter and plainer way. Detectors that sort their boxes inside (top-k, NMS) give other rows
for the least noise, because boxes of nearly equal scores change places; there only what is read from them can be
compared. Which one holds for a bundle is in its manifest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detections import Boxes, Detections, collect, shared_objects
from edge_runtime.bundles.manifest import CompareBy
from edge_runtime.errors import BundleError
from edge_runtime.inference.postprocess.detections import read_boxes
from edge_runtime.inference.postprocess.output_flaw import OutputFlaw
from edge_runtime.inference.postprocess.postprocessor import Meaning, OneOutput
from edge_runtime.inference.specs import (
    AnomalySpec,
    ClassificationSpec,
    DetectionSpec,
    PostprocessSpec,
    RawSpec,
    RegressionSpec,
)

Outputs = Mapping[str, NDArray[Any]]
"""Of N pictures, by name; the first axis is the picture."""
_LEAST_THRESHOLD = 0.05
RECIPE_FIX = "Correct postprocess in the recipe."


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares answers to one picture, without the batch axis."""

    by: CompareBy
    meaning: Meaning
    spreads: Mapping[str, float]
    """Of outputs of one number: their spread over all golden pictures, since a single number has none."""

    def __call__(self, found: OneOutput, expected: OneOutput) -> float:
        """0 for the same answer, about 1 for an unrelated one; infinite when they cannot be compared."""
        if self.by == "outputs" or not isinstance(self.meaning.postprocess, DetectionSpec):
            if found.keys() != expected.keys():
                return float("inf")
            read = read_outputs(self.meaning.postprocess, list(expected))
            one, other = ({name: outputs[name] for name in read} for outputs in (found, expected))
            return measure_difference(one, other, self.spreads)
        return _detection_gap(self.meaning.postprocess, self.meaning.preprocess.size, found, expected)


def read_outputs(meaning: PostprocessSpec, names: Sequence[str]) -> list[str]:
    """Those of a model's outputs that the postprocessing reads: the others change no result.

    All of them when it names one that is not there.
    """
    match meaning:
        case ClassificationSpec() | RegressionSpec() | AnomalySpec():
            read = [meaning.output or next(iter(names))]
        case DetectionSpec():
            read = [
                one
                for one in (meaning.boxes, meaning.scores, meaning.classes, meaning.count)
                if one is not None
            ]
        case RawSpec():
            read = list(names if meaning.outputs is None else meaning.outputs)
    return read if set(read) <= set(names) else list(names)


def choose_comparison(by: CompareBy, meaning: Meaning, golden: Sequence[OneOutput]) -> Comparison:
    """The comparison of a bundle with these golden answers."""
    spreads = dict[str, float]()
    for name, array in golden[0].items():
        if np.size(array) == 1:
            values = np.array([np.asarray(one[name], np.float64).ravel()[0] for one in golden if name in one])
            spreads[name] = float(values.std()) if len(values) > 1 else float(np.abs(values).max())
    return Comparison(by, meaning, spreads)


def measure_difference(
    found: OneOutput, expected: OneOutput, spreads: Mapping[str, float] | None = None
) -> float:
    """RMS of the difference over the RMS spread of what is expected; infinite when they cannot be compared.

    ``spreads`` has the least spread of outputs, by name.
    """
    if found.keys() != expected.keys() or not expected:
        return float("inf")
    floors = spreads or {}
    return max(_gap(found[name], expected[name], floors.get(name, 0.0)) for name in expected)


def _gap(found: NDArray[Any], expected: NDArray[Any], floor: float) -> float:
    one, other = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if one.shape != other.shape or one.size == 0 or not np.isfinite(one).all():
        return float("inf")
    spread = float(np.sqrt(np.mean((other - other.mean()) ** 2)))
    scale = max(spread, floor, 1e-3 * float(np.abs(other).max()), 1e-12)  # a constant output has no spread
    return float(np.sqrt(np.mean((one - other) ** 2))) / scale


def _detection_gap(
    spec: DetectionSpec, size: tuple[int, int], found: OneOutput, expected: OneOutput
) -> float:
    """1 - soft F1 of the boxes; 0 when neither has any."""
    both = ({name: np.asarray(one)[np.newaxis] for name, one in it.items()} for it in (found, expected))
    try:
        one, other = (read_all_boxes(spec, outputs, size) for outputs in both)
    except BundleError:  # they cannot be read
        return float("inf")
    return 1 - compare_boxes(one, other) if one.objects().sum() + other.objects().sum() else 0.0


def read_all_boxes(meaning: DetectionSpec, outputs: Outputs, size: tuple[int, int]) -> Detections:
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
    except OutputFlaw as flaw:
        expected = "outputs that can be read as it says"
        raise BundleError("postprocess", str(flaw), expected, RECIPE_FIX) from flaw
    return collect(found)


def compare_boxes(one: Detections, other: Detections) -> float:
    """Soft F1 of one model's boxes against the other's, pooled over all pictures.

    Raises:
        BundleError: neither finds anything.
    """
    objects = float(one.objects().sum() + other.objects().sum())
    if objects == 0:
        fix = "Take pictures like the camera's, with objects in them."
        raise BundleError("calibration", "no objects found on any picture", "objects to compare", fix)
    return float(np.clip(2 * shared_objects(one, other).sum() / objects, 0, 1))
