"""Chooses which frames of many are used, and how many."""

import numpy as np
from numpy.typing import NDArray

FEWEST_SAMPLES, MOST_SAMPLES = 96, 512
"""Healthy samples that a baseline keeps, of large and of small pictures."""
SAMPLE_VALUES = FEWEST_SAMPLES * 3 * 224 * 224
"""In all of them, above the fewest: 14 MiB as 8-bit pictures. Twice the frames halve the gain that can be proven."""


def samples_to_keep(values: int) -> int:
    """How many healthy samples of so many values each: as many as take the room of 96 pictures of 224 x 224."""
    return max(FEWEST_SAMPLES, min(MOST_SAMPLES, SAMPLE_VALUES // max(values, 1)))


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
