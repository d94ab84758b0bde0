"""Tones and colours of the live camera: curves that give healthy frames the histograms of the live ones."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]
Plane = NDArray[np.float32]
Curve = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]
"""Knots: values before, ascending, and after."""

_TINY = 1e-12

QUANTILES = 257
"""Knots of a tone curve: one per level of an 8-bit picture is as fine as the data is."""
MOST_PIXELS = 400_000
"""Pixels looked at per channel; quantiles and medians of more do not move, and all of 640 x 640 are 400 MiB."""
COLOUR_KEPT = 0.8
"""Above this share of the healthy colourfulness nothing is faded: content and other drifts left 0.89 to 1.1 of it, a
camera in its infrared mode 0.12 (60 % of the way there: 0.53), on street video and on cut-outs."""
COLOUR_FRAMES = 16
"""About so many frames are looked at, evenly spread; all 48 cost 0.3 s and tell the same."""
LEAST_COLOURFULNESS = 0.002
"""Healthy frames below it are as good as grey (street video 0.04, cut-outs 0.1; in infrared 0.0006 and 0.002)."""


@dataclass(frozen=True, slots=True)
class Tones:
    """What became of the tones, channel by channel: one curve for all frames, or one within each frame.

    A lamp, a gain or a film changes all frames alike. A camera that sets its exposure frame by frame keeps the means of
    the frames (or moves them together) and changes the contrast within each.
    """

    curves: tuple[Curve, ...]
    frame_gain: tuple[float, ...] | None
    """By how much the means of the frames spread more than before; None: the curves are of whole values."""
    frame_centre: tuple[tuple[float, float], ...] = ()
    """Mean of the frames' means, before and after."""

    @classmethod
    def fit(cls, healthy: Frames, live: Frames, *, by_frame: bool) -> "Tones":
        """The tones that give ``healthy`` (M,C,H,W) the histograms of ``live`` (N,C,H',W')."""
        channels = range(healthy.shape[1])
        if not by_frame:
            return cls(tuple(_curve(healthy[:, c], live[:, c]) for c in channels), None)
        curves, gains, centres = list[Curve](), list[float](), list[tuple[float, float]]()
        for c in channels:
            before, after = (part[:, c].mean(axis=(1, 2)) for part in (healthy, live))
            gains.append(float(after.std() / (before.std() + _TINY)))
            centres.append((float(before.mean()), float(after.mean())))
            curves.append(_curve(healthy[:, c] - before[:, None, None], live[:, c] - after[:, None, None]))
        return cls(tuple(curves), tuple(gains), tuple(centres))

    def apply(self, healthy: Frames) -> Frames:
        """(M,C,H,W) with these tones, new."""
        toned = np.empty(healthy.shape, np.float32)
        for c, curve in enumerate(self.curves):
            for i, plane in enumerate(healthy[:, c]):  # one at a time: np.interp works in float64
                if self.frame_gain is None:
                    toned[i, c] = np.interp(plane, *curve)
                    continue
                mean = float(plane.mean())
                before, after = self.frame_centre[c]
                toned[i, c] = np.interp(plane - mean, *curve) + (mean - before) * self.frame_gain[c] + after
        return toned


@dataclass(frozen=True, slots=True)
class Fading:
    """How far the channels are drawn together: infrared light and a night mode take colours away."""

    share: float
    """Of the differences between the channels that is left, 0..1."""
    mean: Frames
    std: Frames
    """(1,C,1,1) of the toned frames."""
    again: Tones
    """Brings the tones back afterwards."""

    @classmethod
    def fit(cls, toned: Frames, live: Frames) -> "Fading | None":
        """None where the live frames are about as colourful, or there are no colours to take."""
        found = _colourfulness(toned)
        share = float(np.sqrt(_colourfulness(live) / max(found, _TINY)))
        if found < LEAST_COLOURFULNESS or share >= COLOUR_KEPT:
            return None
        mean, std = toned.mean(axis=(0, 2, 3), keepdims=True), toned.std(axis=(0, 2, 3), keepdims=True)
        draft = cls(share, mean, std, Tones((), None))
        return cls(share, mean, std, Tones.fit(draft._fade(toned), live, by_frame=False))

    def apply(self, toned: Frames) -> Frames:
        """(M,C,H,W) with as much colour as the live frames have, new."""
        return self.again.apply(self._fade(toned))

    def _fade(self, toned: Frames) -> Frames:
        standard = (toned - self.mean) / (self.std + _TINY)
        grey = standard.mean(axis=1, keepdims=True)
        return np.asarray((grey + self.share * (standard - grey)) * self.std + self.mean, np.float32)


def step_between_pixels(planes: Plane) -> int:
    """So that about ``MOST_PIXELS`` of (N,H,W) are looked at; odd, as an even one would meet a part of the columns."""
    return max(1, planes.size // MOST_PIXELS) | 1


def blur(planes: Plane, sigma: float) -> Plane:
    """Each plane of (N,H,W) on its own; ``sigma`` in pixels."""
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma) for plane in planes])


def _colourfulness(frames: Frames) -> float:
    """Energy of the differences between the channels over that of their mean, whatever their scales and offsets are.

    Of smoothed frames: noise differs between the channels too.
    """
    some = frames[:: max(1, len(frames) // COLOUR_FRAMES)]
    soft = np.stack([blur(frame, 2.0) for frame in some])
    std = soft.std(axis=(0, 2, 3), keepdims=True)
    standard = (soft - soft.mean(axis=(0, 2, 3), keepdims=True)) / (std + _TINY)
    grey = standard.mean(axis=1, keepdims=True)
    return float(((standard - grey) ** 2).mean() / max(float((grey**2).mean()), _TINY))


def _curve(healthy: Plane, live: Plane) -> Curve:
    """Knots of one tone curve that gives ``healthy`` (M,H,W) the histogram of ``live`` (N,H,W)."""
    ranks = np.linspace(0, 1, QUANTILES)
    source, target = (np.quantile(np.sort(_smooth_sample(p)), ranks) for p in (healthy, live))
    step = np.diff(source, prepend=-np.inf) > 0  # equal knots (flat areas) would make the curve ambiguous
    return source[step], target[step]


def _smooth_sample(planes: Plane) -> NDArray[np.float32]:
    """Pixels of slightly smoothed frames: noise widens a histogram, and noise is matched on its own."""
    step = step_between_pixels(planes)
    return np.concatenate([cv2.GaussianBlur(plane, (0, 0), 1.0).ravel()[::step] for plane in planes])
