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

from edge_runtime.bundles.box_agreement import box_agreement, boxes
from edge_runtime.bundles.manifest import CompareBy
from edge_runtime.errors import BundleError
from edge_runtime.inference.postprocess.postprocessor import Meaning
from edge_runtime.inference.specs import DetectionSpec

OneOutput = Mapping[str, NDArray[Any]]


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
            return difference(found, expected, self.spreads)
        return _detection_gap(self.meaning.postprocess, self.meaning, found, expected)


def comparison(by: CompareBy, meaning: Meaning, golden: Sequence[OneOutput]) -> Comparison:
    """The comparison of a bundle with these golden answers."""
    spreads = dict[str, float]()
    for name, array in golden[0].items():
        if np.size(array) == 1:
            values = np.array([np.asarray(one[name], np.float64).ravel()[0] for one in golden if name in one])
            spreads[name] = float(values.std()) if len(values) > 1 else float(np.abs(values).max())
    return Comparison(by, meaning, spreads)


def difference(found: OneOutput, expected: OneOutput, spreads: Mapping[str, float] | None = None) -> float:
    """RMS of the difference over the RMS spread of what is expected; infinite when they cannot be compared.

    Args:
        found: Outputs by name.
        expected: What they should be.
        spreads: Least spread of outputs, by name.
    """
    if found.keys() != expected.keys() or not expected:
        return float("inf")
    floors = spreads or {}
    return max(
        _gap(np.asarray(found[name]), np.asarray(expected[name]), floors.get(name, 0.0)) for name in expected
    )


def _gap(found: NDArray[Any], expected: NDArray[Any], floor: float) -> float:
    if found.shape != expected.shape or found.size == 0:
        return float("inf")
    one, other = found.astype(np.float64), expected.astype(np.float64)
    if not np.isfinite(one).all():
        return float("inf")
    spread = float(np.sqrt(np.mean((other - other.mean()) ** 2)))
    scale = max(spread, floor, 1e-3 * float(np.abs(other).max()), 1e-12)  # a constant output has no spread
    return float(np.sqrt(np.mean((one - other) ** 2))) / scale


def _detection_gap(spec: DetectionSpec, meaning: Meaning, found: OneOutput, expected: OneOutput) -> float:
    """1 - soft F1 of the boxes; 0 when neither has any."""
    size = (meaning.preprocess.width, meaning.preprocess.height)
    try:
        one, other = (
            boxes(spec, {name: np.asarray(array)[np.newaxis] for name, array in outputs.items()}, size)
            for outputs in (found, expected)
        )
        if not one.objects().sum() + other.objects().sum():
            return 0.0
        return 1 - box_agreement(one, other)
    except BundleError:  # they cannot be read
        return float("inf")
