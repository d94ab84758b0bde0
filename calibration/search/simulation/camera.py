"""The live camera as a model: what it makes of a picture that the healthy one would have taken.

There are several ways to explain the same live frames. Each is a *hypothesis*; which one is right is not decided here,
but by how near the model's first layers are to the live ones (:mod:`calibration.search.preconditions`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.search.simulation.detail import OTHERS, Detail
from calibration.search.simulation.noise import MeasuredNoise, Noise, add_noise
from calibration.search.simulation.tones import Fading, Frames, Tones

_MOST_IN_HALF = 2.0**14
"""Live values; frames under a camera may lie beyond them."""

DETAILED_VALUES = 24 * 3 * 224 * 224
"""Of healthy frames whose detail and noise are looked at."""
SHOWN_AT_ONCE = 8
"""Frames: every step on the way holds a copy of them."""


@dataclass(frozen=True, slots=True)
class SimulatedFrames:
    """Healthy frames under the live camera's tones and detail, before its noise.

    Attributes:
        soft: (M,C,H,W) float32, or float16 where that is fine enough.
        noise: Of each channel.
        low: (1,C,1,1) the least value that the live frames show.
        high: (1,C,1,1) the largest one.
    """

    soft: NDArray[np.floating]
    noise: tuple[Noise, ...]
    low: Frames
    high: Frames

    def draw(self, rng: np.random.Generator, chosen: NDArray[np.intp] | slice = slice(None)) -> Frames:
        """Those frames with new noise: (M,C,H,W) float32, new."""
        noisy = np.array(self.soft[chosen], np.float32)
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
        """What it makes of healthy frames (M,C,H,W), float32; a MemoryError where the memory does not suffice."""
        soft = np.empty(healthy.shape, self._fine_enough)
        with _out_of_memory():
            for first in range(0, len(healthy), SHOWN_AT_ONCE):
                part = slice(first, first + SHOWN_AT_ONCE)
                soft[part] = self.detail.apply(self.colour(healthy[part]))
        return SimulatedFrames(soft, self.noise, self.low, self.high)

    @property
    def is_possible(self) -> bool:
        """Curves of any kind may be: a film on a lens takes nearly all contrast."""
        return True

    @property
    def _fine_enough(self) -> type[np.floating]:
        """Half precision where it rounds no further than 8 bits between the live extremes would."""
        low, high = float(self.low.min()), float(self.high.max())
        least = float((self.high - self.low).min())
        largest = max(abs(low), abs(high))
        return np.float16 if 4 * least > largest and largest < _MOST_IN_HALF else np.float32

    def colour(self, healthy: Frames) -> Frames:
        """Healthy frames (M,C,H,W) with its tones and colours alone, new."""
        toned = self.tones.apply(healthy)
        return toned if self.fading is None else self.fading.apply(toned)

    def with_detail(self, detail: Detail, coloured: Frames, live: Sequence[MeasuredNoise]) -> "Camera":
        """The same with another loss of detail, and the noise that then is missing from :meth:`colour`'s frames."""
        return replace(self, detail=detail, noise=_noise(detail.apply(coloured), live))


def fit_camera(healthy: Frames, live: Frames, *, by_frame: bool = False) -> Camera:
    """The camera that makes ``live`` of what ``healthy`` shows, by their statistics.

    Args:
        healthy: (M,C,H,W) float32, prepared (any affine scale).
        live: (N,C,H',W') float32, prepared in the same way.
        by_frame: Whether the contrast within each frame changed, rather than all frames by one curve.

    Raises:
        ValueError: shapes differ in the channels, or there is nothing to work on.
        MemoryError: the memory does not suffice.
    """
    if healthy.ndim != 4 or live.ndim != 4 or healthy.shape[1] != live.shape[1]:
        raise ValueError(f"frames are {healthy.shape} and {live.shape}; expected (M,C,H,W) and (N,C,H,W)")
    if not healthy.size or not live.size:
        raise ValueError("no healthy or no live frames; expected at least one of each")
    with _out_of_memory():
        tones = Tones.fit(healthy, live, by_frame=by_frame)
        toned = tones.apply(healthy)
        fading = Fading.fit(toned, live)
        toned = detailed(toned)
        coloured = toned if fading is None else fading.apply(toned)
        detail = Detail.fit_blur(coloured, live)
        low, high = live.min(axis=(0, 2, 3), keepdims=True), live.max(axis=(0, 2, 3), keepdims=True)
        noise = _noise(detail.apply(coloured), _measured(live))
        return Camera(tones, fading, detail, noise, low, high)


def hypotheses(healthy: Frames, live: Frames) -> Iterator[Camera]:
    """Cameras that would explain the live frames, the plainest first; arguments as of :func:`fit_camera`."""
    usual = fit_camera(healthy, live)
    yield usual
    yield fit_camera(healthy, live, by_frame=True)
    with _out_of_memory():
        coloured, measured = usual.colour(detailed(healthy)), _measured(live)
    for detail in OTHERS:
        if detail.suits(healthy.shape[1]):
            with _out_of_memory():
                another = usual.with_detail(detail, coloured, measured)
            yield another


def simulate_drift(healthy: Frames, live: Frames) -> SimulatedFrames:
    """Healthy frames under the live camera as it is usually explained; arguments as of :func:`fit_camera`."""
    return fit_camera(healthy, live).show(healthy)


def detailed(healthy: Frames) -> Frames:
    """Those of healthy frames whose detail and noise are looked at: they vary less with the content than tones do."""
    return healthy[:: max(1, -(-len(healthy) * healthy[0].size // DETAILED_VALUES))]


@contextmanager
def _out_of_memory() -> Iterator[None]:
    """OpenCV has an error of its own where NumPy raises a MemoryError."""
    try:
        yield
    except cv2.error as err:
        if err.code != cv2.Error.StsNoMem:
            raise
        raise MemoryError(str(err)) from err


def _measured(frames: Frames) -> tuple[MeasuredNoise, ...]:
    """Channel by channel."""
    return tuple(MeasuredNoise.of(frames[:, c]) for c in range(frames.shape[1]))


def _noise(frames: Frames, live: Sequence[MeasuredNoise]) -> tuple[Noise, ...]:
    return tuple(Noise.between(MeasuredNoise.of(frames[:, c]), of_live) for c, of_live in enumerate(live))
