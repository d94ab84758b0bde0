"""How far the answers of two versions to the same frame agree. Pure numpy."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.outputs.detections import overlaps
from edge_runtime.datatypes import Anomaly, Detection, Value
from edge_runtime.inference.answers import AnyAnswer, is_finite, label_of

LEAST_IOU = 0.5
"""Two boxes of a label are the same object from this overlap on."""


def agreement(active: AnyAnswer, candidate: AnyAnswer) -> float | None:
    """Agreement of two answers to one frame, 0..1; None where they are of different kinds and cannot be compared.

    Classes: 1 when the best label has the same text, whatever its number. Boxes: F1 of those with the same text that
    overlap by ``LEAST_IOU``; none on both sides is 1. Values: the mean of 1 - (difference / spread of healthy values),
    none below 0; None for other names. Anomalies: 1 for the same verdict; without a threshold by the scores. Raw
    outputs: 1 - (RMS of the difference / RMS of the active one's), not below 0; None when names or shapes differ. An
    answer that is not finite agrees with nothing.
    """
    if active.top and candidate.top:
        return float(label_of(active) == label_of(candidate))
    if active.detections is not None and candidate.detections is not None:
        return _f1(active.detections, candidate.detections)
    if active.values is not None and candidate.values is not None:
        return _nearness(active.values, candidate.values)
    if active.anomaly is not None and candidate.anomaly is not None:
        return _same_verdict(active.anomaly, candidate.anomaly)
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


def _nearness(active: tuple[Value, ...], candidate: tuple[Value, ...]) -> float | None:
    if not active or [one.name for one in active] != [one.name for one in candidate]:
        return None
    found = [
        _near(one.value, other.value, one.spread or other.spread)
        for one, other in zip(active, candidate, strict=True)
    ]
    return sum(found) / len(found)


def _same_verdict(active: Anomaly, candidate: Anomaly) -> float:
    if active.is_anomalous is None or candidate.is_anomalous is None:
        return _near(active.score, candidate.score, None)
    return float(active.is_anomalous == candidate.is_anomalous)


def _near(one: float, other: float, spread: float | None) -> float:
    """1 for equal numbers, 0 from a difference of ``spread`` on; None takes the larger of the two numbers."""
    if not (math.isfinite(one) and math.isfinite(other)):
        return 0.0
    scale = spread or max(abs(one), abs(other))
    return max(0.0, 1.0 - abs(one - other) / scale) if scale else 1.0


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
