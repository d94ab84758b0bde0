"""Fits what a sensor does to the spectra of windows: gain, band limit and white noise of one channel. Pure numpy.

A drift changes loud and quiet windows in the same way, and content does not. So quantiles over the windows are
compared, band by band: power' = gain^2 * H^2 * power + noise^2, for all quantiles of all bands at once. Loud windows
tell the gain, quiet ones the noise, and outliers (a few more loud windows today) count less.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from calibration.stats.spectrum import power

Vector = NDArray[np.float64]

QUANTILES = np.linspace(0.05, 0.95, 10)
MOST_BANDS = 12
"""Groups of lines that are compared."""
ORDERS = (2, 12)
"""Of the low pass: a soft one, such as glue under a sensor, and a steep one, such as a filter of a gateway."""
LEAST_POWER = 1e-4
"""Of the mean power of the lines: what lies 40 dB below it does not count."""
NO_POWER = 1e-24
"""Mean power of a channel that is constant but for rounding."""
CUTOFFS = tuple(0.9 * 0.85**i for i in range(16))
"""Shares of the highest frequency that are tried: steps of 15 % are finer than the estimate is."""
CLEARLY_BETTER = 0.6
"""Of the error without a band limit: by less than that there is none."""
ROUNDS = 12
TOLERANCE = 0.5
"""Error, as a logarithm of the power, beyond which a quantile counts less (Huber 1964)."""


@dataclass(frozen=True, slots=True)
class Response:
    """What became of one channel."""

    gain: float
    band: "LowPass | None"
    """None: no band limit."""
    noise: float
    """Standard deviation of the white noise that is added."""


@dataclass(frozen=True, slots=True)
class LowPass:
    """A Butterworth filter."""

    cutoff: float
    """Share of the highest frequency."""
    order: int

    def factors(self, lines: int) -> Vector:
        """(lines,) the factor of each line of a spectrum, from 0 to the highest frequency."""
        frequency = np.linspace(0, 1, lines)
        return np.asarray(1 / np.sqrt(1 + (frequency / self.cutoff) ** (2 * self.order)))


def fit_response(
    healthy: NDArray[np.float32], live: NDArray[np.float32], *, has_gain: bool = True
) -> Response:
    """The response of one channel, from windows (M, T) and (N, T) of it; without ``has_gain`` the gain is 1."""
    lines = healthy.shape[1] // 2 + 1
    bands = _bands(lines)
    before, after = (_quantiles(part, bands) for part in (healthy, live))
    if min(before.mean(), after.mean()) < NO_POWER:
        return Response(1.0, None, 0.0)
    floors = LEAST_POWER * before.mean(), LEAST_POWER * after.mean()
    best, limit = _fit(before, after, floors, has_gain=has_gain), None
    plain = best[2]
    for order in ORDERS:
        for cutoff in CUTOFFS:
            low_pass = LowPass(cutoff, order)
            passed = low_pass.factors(lines) ** 2
            share = np.array([passed[band].mean() for band in bands])
            found = _fit(before * share, after, floors, has_gain=has_gain)
            if found[2] < min(best[2], CLEARLY_BETTER * plain):
                best, limit = found, low_pass
    return Response(best[0], limit, best[1])


def _bands(lines: int) -> list[slice]:
    """Groups of the lines above 0, about as wide as their frequency is high."""
    edges = np.unique(np.geomspace(1, lines, MOST_BANDS + 1).round().astype(int))
    return [slice(low, high) for low, high in pairwise(edges)]


def _quantiles(windows: NDArray[np.float32], bands: list[slice]) -> NDArray[np.float64]:
    """(Q, B) of the power over the windows."""
    lines = power(windows)
    grouped = np.stack([lines[:, band].mean(axis=1) for band in bands], axis=1)
    return np.asarray(np.quantile(grouped, QUANTILES, axis=0))


def _fit(
    before: Vector, after: Vector, floors: tuple[float, float], *, has_gain: bool
) -> tuple[float, float, float]:
    """Gain, noise and error: weighted least squares of relative errors, weighed again as they turn out.

    ``floors`` are the powers before and after that do not count.
    """
    x, y = before.ravel() + floors[0], after.ravel() + floors[1]
    weight, gain, noise = 1 / y**2, 1.0, 0.0
    error = np.inf
    for _ in range(ROUNDS):
        gain, noise = _least_squares(x, y, weight) if has_gain else (1.0, _only_noise(x, y, weight))
        wrong = np.abs(np.log(np.maximum(gain * x + noise, 1e-9 * y) / y))
        huber = np.minimum(1.0, TOLERANCE / np.maximum(wrong, TOLERANCE))
        weight = huber / (y * np.maximum(gain * x + noise, 1e-3 * y))
        error = float(np.where(wrong < TOLERANCE, wrong**2, TOLERANCE * (2 * wrong - TOLERANCE)).mean())
    return float(np.sqrt(gain)), float(np.sqrt(noise)), error


def _least_squares(x: Vector, y: Vector, weight: Vector) -> tuple[float, float]:
    """Factor and constant of the line y = a x + b with a, b >= 0."""
    xx, xy, x1 = ((weight * part).sum() for part in (x * x, x * y, x))
    y1, one = (weight * y).sum(), weight.sum()
    determinant = xx * one - x1 * x1
    if determinant > 1e-12 * xx * one:
        a, b = (xy * one - x1 * y1) / determinant, (xx * y1 - x1 * xy) / determinant
        if a >= 0 and b >= 0:
            return float(a), float(b)
        if a < 0:
            return 0.0, float(y1 / one)
    return float(xy / xx) if xx > 0 else 0.0, 0.0


def _only_noise(x: Vector, y: Vector, weight: Vector) -> float:
    return max(0.0, float((weight * (y - x)).sum() / weight.sum()))
