"""Chooses which frames of many are used."""

import numpy as np
from numpy.typing import NDArray


def spread_over(count: int, most: int) -> NDArray[np.intp]:
    """At most ``most`` indices out of ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, max(most, 0))).round().astype(np.intp))


def teach_and_judge(count: int, fewest: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Two halves of ``count`` frames in the order of time, by turns of a quarter: neighbours resemble each other.

    When a half would have fewer than ``fewest``, the first is empty, and all frames judge.
    """
    if count < 2 * fewest:
        return np.empty(0, np.intp), np.arange(count)
    first, second, third, fourth = np.array_split(np.arange(count), 4)
    return np.concatenate([first, third]), np.concatenate([second, fourth])
