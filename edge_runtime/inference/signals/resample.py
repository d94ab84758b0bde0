"""A window at the sensor's rate -> the same time at the model's rate."""

import numpy as np
import soxr
from numpy.typing import NDArray

Values = NDArray[np.float64]

PADDING = 64
"""Samples, at the slower of both rates, that a window is continued by on each side: a filter sees no edge then."""


def resample(values: Values, from_hz: float, to_hz: float, length: int) -> Values:
    """A window (samples, channels) at another rate: ``length`` samples of the same time, free of aliases.

    Each side is continued by its own mirror image about its end point, which keeps level and slope.
    """
    if from_hz == to_hz and len(values) == length:
        return values
    if len(values) == 1:
        return np.repeat(values, length, axis=0)
    before = min(len(values) - 1, int(np.ceil(PADDING * max(1.0, from_hz / to_hz))))
    head = 2 * values[0] - values[before:0:-1]
    tail = 2 * values[-1] - values[-2 : -2 - before : -1]
    whole = soxr.resample(np.concatenate([head, values, tail]), from_hz, to_hz, quality="HQ")
    start = round(before * to_hz / from_hz)
    part = whole[start : start + length]
    if len(part) < length:
        part = np.concatenate([part, np.repeat(part[-1:], length - len(part), axis=0)])
    return np.asarray(part, np.float64)
