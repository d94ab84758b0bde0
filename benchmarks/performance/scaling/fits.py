"""A straight line through measured points, and how far they are from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Line:
    """``start + slope * count``."""

    start: float
    slope: float
    deviation: float
    """The largest distance of a point from the line, as a share of the line there; 0 is a perfect line."""

    def at(self, count: float) -> float:
        """The line's value."""
        return self.start + self.slope * count


def fit_line(counts: Sequence[float], values: Sequence[float]) -> Line:
    """The line with the least squared *relative* distances, so that few cameras count as much as many.

    Args:
        counts: At least two different ones.
        values: Above zero, one a count.
    """
    ones, at, found = np.ones(len(counts)), np.asarray(counts, float), np.asarray(values, float)
    (start, slope), *_ = np.linalg.lstsq(np.stack([ones, at], 1) / found[:, None], ones, rcond=None)
    line = start + slope * at
    return Line(float(start), float(slope), float(np.abs(found / line - 1).max()))
