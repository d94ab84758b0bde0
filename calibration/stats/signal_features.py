"""What is a signal, and what a sensor does to it that channel moments do not show: band, noise, values that are held.

Level and gain of each channel are the moments of the input itself. Two measurements of a prepared window (C, T) are
added, as moments of single frames:

``input/spectrum``: half the logarithm of the mean power in each octave of each channel. A band limit lowers the highest
ones, noise lifts the weakest ones, a gain moves all of a channel alike.
``input/dropout``: share of the values of each channel that equal the one before: values that a sensor or a gateway has
held because none came, and those of a channel that died.

A change in mean of one is what the drift monitor counts as the healthy contrast. Pure numpy.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.stats.moments import INPUT_TAP, MeanVar
from calibration.stats.spectrum import octave_power

SPECTRUM_TAP, DROPOUT_TAP = f"{INPUT_TAP}/spectrum", f"{INPUT_TAP}/dropout"
SPATIAL = 3
"""Axes of a picture (C, H, W)."""
LEAST_POWER = 1e-4
"""Of the window's variance: what is weaker by 40 dB is the converter's rounding, or what a steep filter leaves."""
LEAST_LENGTH = 8
"""Values; shorter windows have no spectrum, and vectors of features no time."""
DROPOUT_CONTRAST = 0.2
"""Share of held values that counts as one contrast: an eighth of it (2 %) is more than the least that the monitor sees.
"""

_TINY = 1e-30


def is_signal(shape: Sequence[int]) -> bool:
    """Whether a sample (C, ...) is a window of a signal (C, T) or a vector of features (F,); else it is a picture."""
    return len(shape) < SPATIAL


def is_vector(shape: Sequence[int]) -> bool:
    """Whether a sample (C, ...) has one value a channel, as a vector of features (F,): no time and no place."""
    return int(np.prod(shape[1:])) == 1


def has_signal_features(shape: Sequence[int]) -> bool:
    """Whether a sample (C, ...) is a window that is long enough."""
    return len(shape) == 2 and shape[1] >= LEAST_LENGTH


def signal_features(sample: NDArray[np.float32]) -> dict[str, MeanVar]:
    """The measurements of one prepared window (C, T): name -> (mean (K,), var (K,)), float64."""
    least = LEAST_POWER * sample.var(axis=1, dtype=np.float64)[:, np.newaxis]
    energy = 0.5 * np.log(octave_power(sample) + least + _TINY).ravel()
    held = held_share(sample)
    return {
        SPECTRUM_TAP: (energy, np.ones_like(energy)),
        DROPOUT_TAP: (held, np.full_like(held, DROPOUT_CONTRAST**2)),
    }


def held_share(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """(...,) share of the values of ``x`` (..., T) that equal the one before, 0..1."""
    return np.asarray((np.diff(x, axis=-1) == 0).mean(axis=-1), np.float64)
