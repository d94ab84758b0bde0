"""Chooses which frames of many are used."""

import numpy as np
from numpy.typing import NDArray


def spread_over(count: int, most: int) -> NDArray[np.intp]:
    """At most ``most`` indices out of ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, max(most, 0))).round().astype(np.intp))
