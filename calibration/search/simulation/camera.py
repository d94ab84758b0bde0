"""The live camera as a model: what it makes of a picture that the healthy one would have taken.

There are several ways to explain the same live frames. Each is a *hypothesis*; which one is right is not decided here,
but by how near the model's first layers are to the live ones (:mod:`calibration.search.preconditions`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.search.simulation.detail import OTHERS, Detail
from calibration.search.simulation.noise import Noise, add_noise
from calibration.search.simulation.tones import Fading, Frames, Tones


@dataclass(frozen=True, slots=True)
class SimulatedFrames:
    """Healthy frames under the live camera's tones and detail, before its noise.

    Attributes:
        soft: (M,C,H,W) float32.
        noise: Of each channel.
        low: (1,C,1,1) the least value that the live frames show.
        high: (1,C,1,1) the largest one.
    """

    soft: Frames
    noise: tuple[Noise, ...]
    low: Frames
    high: Frames

    def draw(self, rng: np.random.Generator, chosen: NDArray[np.intp] | slice = slice(None)) -> Frames:
        """Those frames with new noise: (M,C,H,W) float32, new."""
        noisy = self.soft[chosen].copy()
        add_noise(noisy, self.noise, rng)
        return np.clip(noisy, self.low, self.high, out=noisy)

    def __len__(self) -> int:
        return len(self.soft)


@dataclass(frozen=True, slots=True)
class Camera:
    """Tones, colours, detail and noise, in the order in which they act on a picture."""

    tones: Tones
    fading: Fading | None
    detail: Detail
    noise: tuple[Noise, ...]
    low: Frames
    high: Frames

    def show(self, healthy: Frames) -> SimulatedFrames:
        """What it makes of healthy frames (M,C,H,W), float32."""
        return SimulatedFrames(self.detail.apply(self._coloured(healthy)), self.noise, self.low, self.high)

    def _coloured(self, healthy: Frames) -> Frames:
        toned = self.tones.apply(healthy)
        return toned if self.fading is None else self.fading.apply(toned)

    def with_detail(self, detail: Detail, healthy: Frames, live: Frames) -> "Camera":
        """The same with another loss of detail, and the noise that then is missing."""
        return replace(self, detail=detail, noise=_noise(detail.apply(self._coloured(healthy)), live))


def fit_camera(healthy: Frames, live: Frames, *, by_frame: bool = False) -> Camera:
    """The camera that makes ``live`` of what ``healthy`` shows, by their statistics.

    Args:
        healthy: (M,C,H,W) float32, prepared (any affine scale).
        live: (N,C,H',W') float32, prepared in the same way.
        by_frame: Whether the contrast within each frame changed, rather than all frames by one curve.

    Raises:
        ValueError: shapes differ in the channels, or there is nothing to work on.
    """
    if healthy.ndim != 4 or live.ndim != 4 or healthy.shape[1] != live.shape[1]:
        raise ValueError(f"frames are {healthy.shape} and {live.shape}; expected (M,C,H,W) and (N,C,H,W)")
    if not healthy.size or not live.size:
        raise ValueError("no healthy or no live frames; expected at least one of each")
    tones = Tones.fit(healthy, live, by_frame=by_frame)
    toned = tones.apply(healthy)
    fading = Fading.fit(toned, live)
    coloured = toned if fading is None else fading.apply(toned)
    detail = Detail.fit_blur(coloured, live)
    low, high = live.min(axis=(0, 2, 3), keepdims=True), live.max(axis=(0, 2, 3), keepdims=True)
    return Camera(tones, fading, detail, _noise(detail.apply(coloured), live), low, high)


def hypotheses(healthy: Frames, live: Frames) -> Iterator[Camera]:
    """Cameras that would explain the live frames, the plainest first; arguments as of :func:`fit_camera`."""
    usual = fit_camera(healthy, live)
    yield usual
    yield fit_camera(healthy, live, by_frame=True)
    yield from (usual.with_detail(detail, healthy, live) for detail in OTHERS)


def simulate_drift(healthy: Frames, live: Frames) -> SimulatedFrames:
    """Healthy frames under the live camera as it is usually explained; arguments as of :func:`fit_camera`."""
    return fit_camera(healthy, live).show(healthy)


def _noise(frames: Frames, live: Frames) -> tuple[Noise, ...]:
    return tuple(Noise.fit(frames[:, c], live[:, c]) for c in range(frames.shape[1]))
