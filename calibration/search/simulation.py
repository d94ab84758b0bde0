"""Simulates a drift: makes healthy frames look as if today's camera had taken them.

The healthy model's answers on healthy frames are known, so a candidate patch can be judged on the simulated frames
without any label, on a one-class scene too. Only what a camera does is copied (colours, sharpness, noise), never
the content of the live frames. Pure numpy and OpenCV on prepared tensors; no model.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]
Plane = NDArray[np.float32]
Curve = NDArray[np.floating[Any]]

_TINY = 1e-12

QUANTILES = 257
"""Knots of the tone curve: one per level of an 8-bit picture is as fine as the data is."""
MOST_PIXELS = 400_000
"""Pixels looked at per channel; quantiles of more do not move."""
COLOUR_KEPT = 0.8
"""Above this share of the healthy colourfulness nothing is faded: content and other drifts left 0.89 to 1.1 of it, a
camera in its infrared mode 0.12 (60 % of the way there: 0.53), on street video and on cut-outs."""
COLOUR_FRAMES = 16
"""About so many frames are looked at, evenly spread; all 48 cost 0.3 s and tell the same."""
LEAST_COLOURFULNESS = 0.002
"""Healthy frames below it are as good as grey (street video 0.04, cut-outs 0.1; in infrared 0.0006 and 0.002)."""
BLUR_STEPS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Gaussian widths tried, in pixels; a factor of 1.4 apart is finer than the estimate is."""


@dataclass(frozen=True, slots=True)
class SimulatedFrames:
    """Healthy frames under the live camera's colours and sharpness, and how much noise it adds to each of them.

    Attributes:
        soft: (M,C,H,W) float32, before the noise.
        noise: (C,) standard deviations.
        low: (1,C,1,1) the least value that the live frames show.
        high: (1,C,1,1) the largest one.
    """

    soft: Frames
    noise: NDArray[np.float32]
    low: Frames
    high: Frames

    def draw(self, rng: np.random.Generator, chosen: NDArray[np.intp] | slice = slice(None)) -> Frames:
        """Those frames with new noise: (M,C,H,W) float32, new."""
        noisy = self.soft[chosen].copy()
        for c in np.flatnonzero(self.noise):
            for frame in noisy:
                frame[c] += self.noise[c] * rng.standard_normal(frame[c].shape, np.float32)
        return np.clip(noisy, self.low, self.high, out=noisy)

    def __len__(self) -> int:
        return len(self.soft)


def simulate_drift(healthy: Frames, live: Frames) -> SimulatedFrames:
    """Healthy frames under the live camera's colours, sharpness and noise.

    Args:
        healthy: (M,C,H,W) float32, prepared (any affine scale).
        live: (N,C,H',W') float32, prepared in the same way.

    Raises:
        ValueError: shapes differ in the channels, or there is nothing to work on.
    """
    if healthy.ndim != 4 or live.ndim != 4 or healthy.shape[1] != live.shape[1]:
        raise ValueError(f"frames are {healthy.shape} and {live.shape}; expected (M,C,H,W) and (N,C,H,W)")
    if not healthy.size or not live.size:
        raise ValueError("no healthy or no live frames; expected at least one of each")
    coloured = _match_colourfulness(_match_tones(healthy, live), live)
    soft = _match_sharpness(coloured, live)
    low, high = live.min(axis=(0, 2, 3), keepdims=True), live.max(axis=(0, 2, 3), keepdims=True)
    return SimulatedFrames(soft, _missing_noise(soft, live), low, high)


def noise_level(planes: NDArray[np.float32]) -> float:
    """Standard deviation of the pixel noise of (N,H,W), by Immerkaer's estimate.

    The median over the frames, so that a few strongly textured ones do not count as noise.
    Source: J. Immerkaer, Fast Noise Variance Estimation, CVIU 64(2), 1996.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    levels = [np.abs(_inner(np.asarray(cv2.filter2D(p, -1, kernel), np.float32))).mean() for p in planes]
    return float(np.sqrt(np.pi / 2) / 6 * np.median(levels))


def _inner(plane: Plane) -> Plane:
    return plane[1:-1, 1:-1] if min(plane.shape) > 2 else plane


def _match_colourfulness(toned: Frames, live: Frames) -> Frames:
    """The frames with their channels drawn together as far as the live ones' are; as they are when that is not far.

    A tone curve per channel cannot take colours away: infrared light and a night mode do.
    """
    found = _colourfulness(toned)
    share = float(np.sqrt(_colourfulness(live) / max(found, _TINY)))
    if found < LEAST_COLOURFULNESS or share >= COLOUR_KEPT:
        return toned
    mean, std = toned.mean(axis=(0, 2, 3), keepdims=True), toned.std(axis=(0, 2, 3), keepdims=True)
    standard = (toned - mean) / (std + _TINY)
    grey = standard.mean(axis=1, keepdims=True)
    faded = (grey + share * (standard - grey)) * std + mean
    return _match_tones(faded.astype(np.float32), live)


def _colourfulness(frames: Frames) -> float:
    """Energy of the differences between the channels over that of their mean, whatever their scales and offsets are.

    Of smoothed frames: noise differs between the channels too.
    """
    some = frames[:: max(1, len(frames) // COLOUR_FRAMES)]
    soft = np.stack([_blur(frame, 2.0) for frame in some])
    std = soft.std(axis=(0, 2, 3), keepdims=True)
    standard = (soft - soft.mean(axis=(0, 2, 3), keepdims=True)) / (std + _TINY)
    grey = standard.mean(axis=1, keepdims=True)
    return float(((standard - grey) ** 2).mean() / max(float((grey**2).mean()), _TINY))


def _match_tones(healthy: Frames, live: Frames) -> Frames:
    """Healthy frames (M,C,H,W) with the histogram of the live ones, channel by channel."""
    toned = np.empty(healthy.shape, np.float32)
    for c in range(healthy.shape[1]):
        source, target = _tone_curve(healthy[:, c], live[:, c])
        for i, plane in enumerate(healthy[:, c]):  # one at a time: np.interp works in float64
            toned[i, c] = np.interp(plane, source, target)
    return toned


def _tone_curve(healthy: Plane, live: Plane) -> tuple[Curve, Curve]:
    """Knots of one tone curve that gives ``healthy`` (M,H,W) the histogram of ``live`` (N,H,W)."""
    ranks = np.linspace(0, 1, QUANTILES)
    source, target = (np.quantile(np.sort(_smooth_sample(p)), ranks) for p in (healthy, live))
    step = np.diff(source, prepend=-np.inf) > 0  # equal knots (flat areas) would make the curve ambiguous
    return source[step], target[step]


def _smooth_sample(planes: Plane) -> NDArray[np.float32]:
    """Pixels of slightly smoothed frames: noise widens a histogram, and noise is matched on its own."""
    smooth = _blur(planes, 1.0).ravel()
    return smooth[:: max(1, smooth.size // MOST_PIXELS)]


def _match_sharpness(frames: Frames, live: Frames) -> Frames:
    """The frames blurred as far as the live ones are; as they are when those are as sharp."""
    grey, grey_live = frames.mean(axis=1), live.mean(axis=1)
    wanted = _sharpness(grey_live)
    best, error = 0.0, abs(np.log(_sharpness(grey) / wanted))
    for sigma in BLUR_STEPS:
        off = abs(np.log(_sharpness(_blur(grey, sigma)) / wanted))
        if off < error:
            best, error = sigma, off
    if best == 0.0:
        return frames
    return np.stack([_blur(frame, best) for frame in frames])


def _blur(planes: Plane, sigma: float) -> Plane:
    """Each plane of (N,H,W) on its own; ``sigma`` in pixels."""
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in planes])


def _sharpness(planes: Plane) -> float:
    """Energy of the Laplacian beyond what noise explains, over the contrast of the coarse structure."""
    energies = []
    for smooth in _blur(planes, 1.0):
        edges = np.asarray(cv2.Laplacian(smooth, cv2.CV_32F), np.float32)
        energies.append(_inner(edges).var() / (smooth.var() + _TINY))
    return float(np.median(energies)) + _TINY


def _missing_noise(frames: Frames, live: Frames) -> NDArray[np.float32]:
    """(C,) standard deviation of the white noise that the frames lack."""
    channels = range(frames.shape[1])
    missing = [noise_level(live[:, c]) ** 2 - noise_level(frames[:, c]) ** 2 for c in channels]
    return np.sqrt(np.maximum(missing, 0)).astype(np.float32)
