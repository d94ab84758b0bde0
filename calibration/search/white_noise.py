"""Whether a signal is white noise alone: an open input of an amplifier, a sensor that is broken.

Healthy windows with much noise come near to it, so that a simulated sensor explains it and a patch for that one is
judged good. But no correction brings back what is not measured. Noise on top of a signal is another thing: of that the
mean spectrum still has a part with the shape of the healthy one. Pure numpy.
"""

import numpy as np
from numpy.typing import NDArray

from calibration.stats.signal_features import LEAST_LENGTH
from calibration.stats.spectrum import power
from calibration.targets.base import Batch

WINDOWS = 3
"""Axes of windows (N, C, T)."""
MOST_ERROR = 0.05
"""Standard error of the share of the power that has the shape of the healthy spectrum: with more, nothing is said. So a
signal with a tenth of the power is seen."""
NO_TRACE = 1.5
"""Standard errors: a larger share is a trace of the signal. Of four times as much noise as signal it had three."""
DOUBT = 3.0
"""Standard errors by which the spectrum of white noise may differ from a flat one."""
NEIGHBOURS = 2.0
"""Lines of a spectrum under a Hann window that vary together."""

IN_WORDS = (
    "The reference samples are white noise in all channels, without the spectrum of the healthy signal: replace the "
    "sensor or mend its wiring. No correction can bring it back."
)


def is_white_noise(live: Batch, healthy: Batch) -> bool:
    """Whether live windows (N, C, T) are sure to be white noise in all channels, where healthy ones (M, C, T) are not.

    Never of windows too short for a spectrum, and of vectors of features.
    """
    if live.ndim != WINDOWS or live.shape[2] < LEAST_LENGTH:
        return False
    now, usual = _measure_colour(live), _measure_colour(healthy)
    is_flat = np.square(now).mean() <= (1 + DOUBT * np.sqrt(2 * NEIGHBOURS / now.size)) / len(live)
    colour = max(float(np.square(usual).sum()), 1e-9)
    share, error = float((now * usual).sum()) / colour, np.sqrt(NEIGHBOURS / (len(live) * colour))
    return bool(is_flat and error < MOST_ERROR and share < NO_TRACE * error)


def _measure_colour(x: Batch) -> NDArray[np.float64]:
    """(C, L) how the mean spectrum differs from that of white noise, line by line, in shares of a channel's mean.

    Every window counts alike. Without the lowest lines, which the level takes from, and the highest.
    """
    lines = power(x)[..., 2:-1]
    level = np.maximum(lines.mean(axis=-1, keepdims=True), 1e-30)
    return np.asarray((lines / level).mean(axis=0) - 1)
