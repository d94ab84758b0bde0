"""Drifts of sensors on windows of signals, float32 (N, C, T): what happens to wires, amplifiers, filters and gateways.

Severity 5 is the full strength, 0 changes nothing. Windows are standardised: levels are in standard deviations of a
channel.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Windows = NDArray[np.float32]
Drift = Callable[[Windows, float, np.random.Generator], Windows]

SEVEREST = 5
HALF, QUARTER = 0.5, 0.25
"""What is left of the band."""
LOST = 0.05


def _gain(x: Windows, share: float, _: np.random.Generator) -> Windows:
    """Times 1.6, and half a standard deviation of offset."""
    return x * (1 + 0.6 * share) + 0.5 * share


def _gain_of_some(x: Windows, share: float, rng: np.random.Generator) -> Windows:
    """The same of the first half of the channels."""
    found = x.copy()
    some = slice(0, max(1, x.shape[1] // 2))
    found[:, some] = _gain(x[:, some], share, rng)
    return found


def _low_pass(x: Windows, band: float, share: float) -> Windows:
    """A Chebyshev filter, forward and backward: not the shape that the library simulates."""
    cut = signal.sosfiltfilt(signal.cheby1(4, 0.5, band, output="sos"), x, axis=-1)
    return np.asarray(x + share * (cut - x), np.float32)


def _half_band(x: Windows, share: float, _: np.random.Generator) -> Windows:
    return _low_pass(x, HALF, share)


def _quarter_band(x: Windows, share: float, _: np.random.Generator) -> Windows:
    return _low_pass(x, QUARTER, share)


def _noise(x: Windows, share: float, rng: np.random.Generator) -> Windows:
    return np.asarray(x + 0.5 * share * rng.standard_normal(x.shape), np.float32)


def _noise_alone(x: Windows, share: float, rng: np.random.Generator) -> Windows:
    """An open input: white noise as strong as the signal was."""
    return np.asarray(x + share * (rng.standard_normal(x.shape) - x), np.float32)


def _clipped(x: Windows, share: float, _: np.random.Generator) -> Windows:
    """A range that ends at one standard deviation."""
    limit = 1 + 4 * (1 - share)
    return np.clip(x, -limit, limit)


def _missing(x: Windows, share: float, rng: np.random.Generator) -> Windows:
    """5 % of the records are lost, and the last one is held."""
    lost = rng.random((len(x), 1, x.shape[2])) < LOST * share
    lost[..., 0] = False
    source = np.maximum.accumulate(np.where(lost, 0, np.arange(x.shape[2])), axis=-1)
    return np.take_along_axis(x, np.broadcast_to(source, x.shape), axis=-1)


def _dead(x: Windows, share: float, _: np.random.Generator) -> Windows:
    """The last channel gives 0."""
    found = x.copy()
    found[:, -1] *= 1 - share
    return found


def _other_machine(x: Windows, share: float, rng: np.random.Generator) -> Windows:
    """Signals of another kind: hums of two tones that come and go, as strong as those of before."""
    count, channels, length = x.shape
    t = np.arange(length) / length
    tones = rng.uniform(2, length / 4, (2, count, channels, 1))
    phases = rng.uniform(0, 2 * np.pi, (2, count, channels, 1))
    hum = np.sin(2 * np.pi * tones * t + phases).sum(axis=0) * rng.uniform(0.2, 1.5, (count, 1, 1))
    return np.asarray(x + share * (hum - x), np.float32)


DRIFTS: dict[str, Drift] = {
    "gain and offset": _gain,
    "gain and offset, half of the channels": _gain_of_some,
    "half of the band": _half_band,
    "a quarter of the band": _quarter_band,
    "white noise": _noise,
    "white noise alone": _noise_alone,
    "clipped": _clipped,
    "5 % missing, held": _missing,
    "one channel dead": _dead,
    "another machine": _other_machine,
}
CURABLE = ("gain and offset", "gain and offset, half of the channels")
HOPELESS = ("white noise alone", "one channel dead", "another machine")
"""Nothing may be patched."""


def drifted(x: Windows, drift: str, severity: int, rng: np.random.Generator) -> Windows:
    """The standardised windows (N, C, T) under a drift.

    Raises:
        ValueError: unknown drift.
    """
    if drift == "none":
        return x.copy()
    if drift not in DRIFTS:
        raise ValueError(f"no drift {drift!r}; there are {', '.join(DRIFTS)}")
    return np.asarray(DRIFTS[drift](x, severity / SEVEREST, rng), np.float32)
