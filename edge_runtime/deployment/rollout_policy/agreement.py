"""How far the answers of two versions to the same frame agree. Pure numpy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detections import overlaps
from edge_runtime.datatypes import Detection
from edge_runtime.inference.answers import AnyAnswer, is_finite, label_of

LEAST_IOU = 0.5
"""Two boxes of a label are the same object from this overlap on."""


def agreement(active: AnyAnswer, candidate: AnyAnswer) -> float | None:
    """Agreement of two answers to one frame, 0..1; None where they are of different kinds and cannot be compared.

    Classes: 1 when the best label has the same text, whatever its number. Boxes: F1 of those with the same text that
    overlap by ``LEAST_IOU``; none on both sides is 1. Raw outputs: 1 - (RMS of the difference / RMS of the active
    one's), not below 0; None when names or shapes differ. An answer that is not finite agrees with nothing.
    """
    if active.top and candidate.top:
        return float(label_of(active) == label_of(candidate))
    if active.detections is not None and candidate.detections is not None:
        return _f1(active.detections, candidate.detections)
    if active.outputs is not None and candidate.outputs is not None:
        if not (is_finite(active) and is_finite(candidate)):
            return 0.0
        return _likeness(active.outputs, candidate.outputs)
    return None


def _f1(active: tuple[Detection, ...], candidate: tuple[Detection, ...]) -> float:
    if not active and not candidate:
        return 1.0
    if not active or not candidate:
        return 0.0
    overlap = overlaps(np.array([one.box for one in active]), np.array([one.box for one in candidate]))
    is_same = np.array([[one.label == other.label for other in candidate] for one in active])
    overlap = np.where(is_same & np.isfinite(overlap), overlap, 0.0)
    shared = 0
    for _ in range(min(overlap.shape)):  # the best pair first; a box belongs to one pair
        i, j = np.unravel_index(overlap.argmax(), overlap.shape)
        if overlap[i, j] < LEAST_IOU:
            break
        shared += 1
        overlap[i, :], overlap[:, j] = 0, 0
    return 2 * shared / (len(active) + len(candidate))


def _likeness(active: Mapping[str, NDArray[Any]], candidate: Mapping[str, NDArray[Any]]) -> float | None:
    if active.keys() != candidate.keys() or any(
        active[name].shape != candidate[name].shape for name in active
    ):
        return None
    if any(array.dtype.kind not in "biuf" for array in (*active.values(), *candidate.values())):
        return None
    if not sum(array.size for array in active.values()):
        return None
    wanted, given = _flat(active, active), _flat(candidate, active)
    scale = float(np.abs(wanted).max())
    if scale == 0:
        return float(not given.any())
    with np.errstate(over="ignore"):  # an infinite difference is an agreement of 0
        wanted, given = wanted / scale, given / scale  # the squares of 1e300 are not numbers
        relative = float(np.sqrt(np.mean((given - wanted) ** 2) / np.mean(wanted**2)))
    return max(0.0, 1.0 - relative)


def _flat(outputs: Mapping[str, NDArray[Any]], order: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([outputs[name].astype(np.float64).ravel() for name in order])
