"""Fits what a sensor does to the spectra of windows: gain, band limit and white noise of one channel. Pure numpy.

A drift changes loud and quiet windows in the same way, and content does not. So quantiles over the windows are
compared, band by band: power' = gain^2 * H^2 * power + noise^2, for all quantiles of all bands at once. Loud windows
tell the gain, quiet ones the noise, and outliers (a few more loud windows today) count less.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from calibration.stats.spectrum import power, spectrum, squares

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
LEAST_NOISE = 1e-3
"""Of the mean live power: less noise is not looked at more closely."""
GAINS, NOISES = (0.65, 0.8, 0.9, 1.0, 1.1), (0.8, 1.0, 1.2, 1.4, 1.6, 1.9)
"""Factors of what was found that are tried with real noise."""
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
    response = Response(best[0], limit, best[1])
    if best[1] ** 2 < LEAST_NOISE * after.mean():
        return response
    return _refine(response, healthy, after, floors, bands, has_gain=has_gain)


def _refine(
    found: Response,
    healthy: NDArray[np.float32],
    after: Vector,
    floors: tuple[float, float],
    bands: list[slice],
    *,
    has_gain: bool,
) -> Response:
    """Gain and noise nearby under which healthy windows with real noise have the quantiles of the live ones.

    The power of noise varies from window to window as well, which the fit of one constant for all quantiles overlooks:
    it finds too little noise, and too much gain.
    """
    lines = spectrum(healthy)
    if found.band is not None:
        lines = lines * found.band.factors(lines.shape[1])
    noise = spectrum(np.random.default_rng(0).standard_normal(healthy.shape))
    best, least = found, np.inf
    for by_gain in GAINS if has_gain else (1.0,):
        for by_noise in NOISES:
            tried = replace(found, gain=found.gain * by_gain, noise=found.noise * by_noise)
            again = _group(squares(tried.gain * lines + tried.noise * noise), bands)
            error = float(_huber(np.abs(np.log((again + floors[1]) / (after + floors[1])))).mean())
            if error < least:
                best, least = tried, error
    return best


def _huber(wrong: Vector) -> Vector:
    return np.where(wrong < TOLERANCE, wrong**2, TOLERANCE * (2 * wrong - TOLERANCE))


def _bands(lines: int) -> list[slice]:
    """Groups of the lines above 0, about as wide as their frequency is high."""
    edges = np.unique(np.geomspace(1, lines, MOST_BANDS + 1).round().astype(int))
    return [slice(low, high) for low, high in pairwise(edges)]


def _quantiles(windows: NDArray[np.float32], bands: list[slice]) -> NDArray[np.float64]:
    """(Q, B) of the power over the windows."""
    return _group(power(windows), bands)


def _group(lines: Vector, bands: list[slice]) -> Vector:
    """(Q, B) of the power of all lines (N, L)."""
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
        error = float(_huber(wrong).mean())
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
