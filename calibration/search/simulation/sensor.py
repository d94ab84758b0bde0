"""The live sensor of a signal as a model: what it makes of a window that the healthy one would have measured.

In the order in which they act: gain and offset, or a monotone curve (a range that is exceeded); a band limit; white
noise; values that are held. All are of each channel. The counterpart of :mod:`calibration.search.simulation.camera`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.patch import SCALE_LIMITS
from calibration.search.simulation.dropout import Dropout
from calibration.search.simulation.model import Samples
from calibration.search.simulation.spectra import LowPass, fit_response
from calibration.stats.signal_features import LEAST_LENGTH

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Knots: values before, ascending, and after."""

RANKS = np.linspace(0.005, 0.995, 100)
"""Quantiles of the values that curves go through."""
LINE_RANKS = np.linspace(0.05, 0.95, 19)
"""And those that a line goes through."""
LEAST_NOISE = 0.03
"""Of a channel's live spread: less noise changes nothing."""


@dataclass(frozen=True, slots=True)
class SimulatedWindows:
    """Healthy samples under the live sensor's curve and band, before its noise.

    Attributes:
        soft: (M, C, T) float32.
        noise: (1, C, 1) standard deviation.
        dropout: What is held; None: nothing.
        low: (1, C, 1) the least value that the live samples show.
        high: (1, C, 1) the largest one.
        shape: Of one sample, as it was given.
    """

    soft: NDArray[np.float32]
    noise: NDArray[np.float32]
    dropout: Dropout | None
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    shape: tuple[int, ...]

    def draw(self, rng: np.random.Generator, chosen: NDArray[np.intp] | slice = slice(None)) -> Samples:
        """Those samples with new noise: (M, C, ...) float32, new."""
        drawn = np.array(self.soft[chosen])
        if self.noise.any():
            drawn += self.noise * rng.standard_normal(drawn.shape, np.float32)
        np.clip(drawn, self.low, self.high, out=drawn)
        if self.dropout is not None:
            drawn = self.dropout.apply(drawn, rng)
        return drawn.reshape(len(drawn), *self.shape)

    def __len__(self) -> int:
        return len(self.soft)


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor of C channels.

    Attributes:
        curves: Of each channel: values before, ascending, and after. Beyond their ends they go on straight.
        bands: Band limit of each channel; None: none.
        noise: (1, C, 1) standard deviation of white noise.
        dropout: Held values; None: none.
        low: (1, C, 1) the least value that the live samples show.
        high: (1, C, 1) the largest one.
    """

    curves: tuple[Curve, ...]
    bands: tuple[LowPass | None, ...]
    noise: NDArray[np.float32]
    dropout: Dropout | None
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @property
    def is_possible(self) -> bool:
        """Whether no channel is so much weaker or stronger that a patch could not follow."""
        low, high = SCALE_LIMITS
        return all(low <= _slope(curve) <= high for curve in self.curves)

    def show(self, healthy: Samples) -> SimulatedWindows:
        """What it makes of healthy samples (M, C, ...), float32."""
        windows = as_windows(healthy)
        soft = np.empty(windows.shape, np.float32)
        for c, (curve, band) in enumerate(zip(self.curves, self.bands, strict=True)):
            soft[:, c] = _band_limited(_on_curve(windows[:, c], curve), band)
        return SimulatedWindows(soft, self.noise, self.dropout, self.low, self.high, healthy.shape[1:])


def as_windows(x: Samples) -> Samples:
    """Samples (N, C, ...) as (N, C, T); vectors of features have one value a channel."""
    return x.reshape(*x.shape[:2], -1)


def hypotheses(healthy: Samples, live: Samples) -> Iterator[Sensor]:
    """Sensors that would explain the live samples (N, C, ...), the plainest first.

    Gain and offset alone; with band limit, noise and held values as far as they are seen; a curve instead of the gain.

    Args:
        healthy: (M, C, ...) float32, prepared.
        live: (N, C, ...) float32, prepared in the same way.

    Raises:
        ValueError: shapes differ in the channels, or there is nothing to work on.
    """
    if healthy.ndim != live.ndim or healthy.shape[1:2] != live.shape[1:2]:
        raise ValueError(
            f"samples are {healthy.shape} and {live.shape}; expected (M, C, ...) and (N, C, ...)"
        )
    if not healthy.size or not live.size:
        raise ValueError("no healthy or no live samples; expected at least one of each")
    before, after = as_windows(healthy), as_windows(live)
    low, high = (np.asarray(f(after, axis=(0, 2), keepdims=True), np.float32) for f in (np.min, np.max))
    lines = tuple(_line(before[:, c], after[:, c]) for c in range(len(low[0])))
    plain = Sensor(lines, (None,) * len(lines), np.zeros_like(low), None, low, high)
    yield plain
    has_spectrum = min(before.shape[2], after.shape[2]) >= LEAST_LENGTH
    if has_spectrum:
        yield _whole(before, after, plain, is_line=True)
    curved = replace(plain, curves=tuple(_curve(before[:, c], after[:, c]) for c in range(len(lines))))
    yield _whole(before, after, curved, is_line=False) if has_spectrum else curved


def fit_to_vectors(sensor: Sensor, healthy: Samples, live: Samples) -> Sensor:
    """The same kind of sensor, fitted to other vectors of features: healthy (M, C, ...) and live (N, C, ...).

    A gain goes on beyond what these live vectors show.
    """
    found = hypotheses(healthy, live)
    plain = next(found)
    if any(len(knots) > 2 for knots, _ in sensor.curves):
        return next(found)
    return replace(plain, low=np.full_like(plain.low, -np.inf), high=np.full_like(plain.high, np.inf))


def _whole(before: Samples, after: Samples, sensor: Sensor, *, is_line: bool) -> Sensor:
    """The same with band limits, noise and held values; the gains are those of the spectra, if it is a line."""
    curves, bands, noise = list(sensor.curves), list[LowPass | None](), np.zeros_like(sensor.noise)
    for c, curve in enumerate(curves):
        shown = before[:, c] if is_line else _on_curve(before[:, c], curve)
        response = fit_response(shown, after[:, c], has_gain=is_line)
        if is_line:
            curves[c] = _line(before[:, c], after[:, c], response.gain)
        bands.append(response.band)
        is_some = response.noise > LEAST_NOISE * float(after[:, c].std())
        noise[0, c] = response.noise if is_some else 0.0
    found = replace(sensor, curves=tuple(curves), bands=tuple(bands), noise=noise)
    drawn = found.show(before).draw(np.random.default_rng(0))
    return replace(found, dropout=Dropout.fit(drawn, after))


def _line(before: Samples, after: Samples, gain: float | None = None) -> Curve:
    """Gain and offset of one channel (M, T) by quantiles of its values; the gain may be known."""
    x, y = (np.quantile(part, LINE_RANKS) for part in (before, after))
    if gain is None:
        steps, rises = np.subtract.outer(x, x), np.subtract.outer(y, y)
        apart = steps > 0
        gain = float(np.median(rises[apart] / steps[apart])) if apart.any() else 1.0
    offset = float(np.median(y - gain * x))
    ends = np.array([x[0], x[0] + max(x[-1] - x[0], 1.0)])
    return ends, gain * ends + offset


def _curve(before: Samples, after: Samples) -> Curve:
    """A monotone curve that gives one channel (M, T) the values' quantiles of the live one."""
    x, y = (np.asarray(np.quantile(part, RANKS), np.float64) for part in (before, after))
    step = np.diff(x, prepend=-np.inf) > 0  # equal knots would make the curve ambiguous
    return (x[step], y[step]) if step.sum() > 1 else _line(before, after)


def _on_curve(x: Samples, curve: Curve) -> Samples:
    """(M, T) with these values; beyond the ends of the curve its mean slope goes on."""
    knots, values = curve
    inside = np.clip(x, knots[0], knots[-1])
    return np.asarray(np.interp(inside, knots, values) + _slope(curve) * (x - inside), np.float32)


def _slope(curve: Curve) -> float:
    """The mean one."""
    knots, values = curve
    return float((values[-1] - values[0]) / (knots[-1] - knots[0]))


def _band_limited(x: Samples, band: LowPass | None) -> Samples:
    """(M, T) without what is above the band; the ends go on as in a mirror."""
    if band is None:
        return x
    mirrored = np.concatenate([x, x[:, ::-1]], axis=1)
    lines = np.fft.rfft(mirrored, axis=1)
    passed = np.fft.irfft(lines * band.factors(lines.shape[1]), mirrored.shape[1], axis=1)
    return np.asarray(passed[:, : x.shape[1]], np.float32)
