"""Noise of the live camera: how strong it is at each brightness, and single pixels that stand out.

A sensor's noise grows with the light that falls on it (shot noise). Hot and dead pixels, and bits lost on a cable, are
of another kind: few pixels, each far off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.search.simulation.tones import Frames, Plane, step_between_pixels

LEVELS = 8
"""Steps of brightness at which noise is measured: quantiles of the live pixels."""
LEAST_PIXELS = 400
"""Pixels in such a step; fewer take the noise of all."""
MOST_FRAMES = 24
"""Frames looked at, evenly spread."""
OUTLIER_RANGE = 0.2
"""Share of the range of the live values by which an outlier differs from its neighbourhood at least."""
OUTLIER_NOISE = 6.0
"""And by so many times the noise."""
LEAST_OUTLIERS = 0.002
"""Share of the pixels that must stand out more than in healthy frames: edges do, too."""
MOST_VALUES = 2_000

_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_ROOT_OF_SQUARES = 6.0
"""Of the kernel's weights: white noise of standard deviation 1 answers with 6."""
_MEDIAN_OF_NORMAL = 0.6745


def noise_level(planes: Plane) -> float:
    """Standard deviation of the pixel noise of (N,H,W), by Immerkaer's estimate.

    The median over the frames, so that a few strongly textured ones do not count as noise.
    Source: J. Immerkaer, Fast Noise Variance Estimation, CVIU 64(2), 1996.
    """
    levels = [np.abs(inner(_response(plane))).mean() for plane in planes]
    return float(np.sqrt(np.pi / 2) / _ROOT_OF_SQUARES * np.median(levels))


@dataclass(frozen=True, slots=True)
class Noise:
    """What is added to the planes of one channel.

    Attributes:
        brightness: (L,) ascending.
        deviation: (L,) standard deviation of white noise there.
        outliers: Share of the pixels that are replaced, 0..1.
        values: (K,) what they are replaced by.
    """

    brightness: NDArray[np.float32]
    deviation: NDArray[np.float32]
    outliers: float
    values: NDArray[np.float32]

    @classmethod
    def fit(cls, frames: Plane, live: Plane) -> "Noise":
        """The noise that ``frames`` (M,H,W) lack against ``live`` (N,H',W')."""
        return cls.between(MeasuredNoise.of(frames), MeasuredNoise.of(live))

    @classmethod
    def between(cls, one: "MeasuredNoise", other: "MeasuredNoise") -> "Noise":
        """What ``one`` lacks against ``other``, the live frames."""
        edges = np.unique(np.quantile(other.smooth, np.linspace(0, 1, LEVELS + 1)))[1:-1]
        less, more = one.by_brightness(edges), other.by_brightness(edges)
        spread = OUTLIER_RANGE * other.reach
        found = other.outlying(more, spread)
        share = found.mean() - one.outlying(less, spread).mean()
        values = other.values[found]
        is_some = share > LEAST_OUTLIERS and len(values) > 0
        values = values[:: max(1, len(values) // MOST_VALUES)] if is_some else values[:0]
        deviation = np.sqrt(np.maximum(more[1] - less[1], 0)).astype(np.float32)
        return cls(more[0], deviation, float(share) if is_some else 0.0, values)

    def add(self, plane: Plane, rng: np.random.Generator) -> None:
        """To one plane (H,W), in place."""
        if self.deviation.any():
            level = self.deviation[0]
            if np.ptp(self.deviation):
                level = np.interp(_smooth(plane), self.brightness, self.deviation).astype(np.float32)
            plane += level * rng.standard_normal(plane.shape, np.float32)
        if self.outliers:
            hit = rng.random(plane.shape, np.float32) < self.outliers
            plane[hit] = rng.choice(self.values, int(hit.sum()))


@dataclass(frozen=True, slots=True)
class MeasuredNoise:
    """Of inner pixels of some planes, one plane after the other."""

    values: NDArray[np.float32]
    smooth: NDArray[np.float32]
    """What the neighbourhood shows."""
    response: NDArray[np.float32]
    """To the noise filter, without its sign."""
    reach: float
    """From the least to the largest value of all planes."""

    @classmethod
    def of(cls, planes: Plane) -> "MeasuredNoise":
        """Of (N,H,W), or some of them."""
        reach, planes = float(np.ptp(planes)), _some(planes)
        step = step_between_pixels(planes)
        return cls(
            values=_flat(planes, step),
            smooth=_flat(map(_smooth, planes), step),
            response=_flat((np.abs(_response(plane)) for plane in planes), step),
            reach=reach,
        )

    def by_brightness(self, edges: NDArray[np.float32]) -> "ByBrightness":
        """Between the edges: mean brightness, ascending, and variance of the noise."""
        ends = [float(self.smooth.min()), *edges.tolist(), float(self.smooth.max())]
        step = np.searchsorted(edges, self.smooth, side="right")
        whole = _variance(self.response)
        places, variances = list[float](), list[float]()
        for i, (low, high) in enumerate(pairwise(ends)):
            chosen = step == i
            count = np.count_nonzero(chosen)
            places.append(float(self.smooth[chosen].mean()) if count else (low + high) / 2)
            variances.append(_variance(self.response[chosen]) if count >= LEAST_PIXELS else whole)
        return np.array(places, np.float32), np.array(variances)

    def outlying(self, noise: "ByBrightness", least: float) -> NDArray[np.bool_]:
        """Which pixels differ from their neighbourhood by more than ``least``, and than such noise does."""
        usual = np.interp(self.smooth, noise[0], np.sqrt(noise[1]))
        return np.asarray(np.abs(self.values - self.smooth) > np.maximum(least, OUTLIER_NOISE * usual))


ByBrightness = tuple[NDArray[np.float32], NDArray[np.float64]]
"""(L,) brightness, ascending, and (L,) variance of the noise there."""


def _variance(response: NDArray[np.float32]) -> float:
    """The median is not moved by outliers."""
    return float(np.median(response) / (_MEDIAN_OF_NORMAL * _ROOT_OF_SQUARES)) ** 2


def add_noise(frames: Frames, noises: tuple[Noise, ...], rng: np.random.Generator) -> None:
    """To frames (M,C,H,W), channel by channel, in place."""
    for c, noise in enumerate(noises):
        for frame in frames:
            noise.add(frame[c], rng)


def _flat(planes: Iterable[Plane], step: int) -> NDArray[np.float32]:
    """Every ``step``-th of their inner pixels, one plane after the other."""
    return np.concatenate([inner(plane).ravel()[::step] for plane in planes])


def _some(planes: Plane) -> Plane:
    return planes[:: max(1, len(planes) // MOST_FRAMES)]


def _smooth(plane: Plane) -> Plane:
    """The median of each pixel and its neighbours: single pixels and noise do not move it much."""
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(plane), 3))


def _response(plane: Plane) -> Plane:
    return np.asarray(cv2.filter2D(plane, -1, _KERNEL), np.float32)


def inner(plane: Plane) -> Plane:
    """Without its border, where filters see what is not there; a tiny one as it is."""
    return plane[1:-1, 1:-1] if min(plane.shape) > 2 else plane
