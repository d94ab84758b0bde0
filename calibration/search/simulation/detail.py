"""Detail that the live camera loses: by blur, by a coarser resolution, or by strong compression."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from calibration.search.simulation.noise import inner
from calibration.search.simulation.tones import Frames, Plane, blur

Kind = Literal["blur", "resolution", "compression"]

BLUR_STEPS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Gaussian widths tried, in pixels; a factor of 1.4 apart is finer than the estimate is."""
RESOLUTION_STEPS = (1.5, 2.0, 3.0, 4.0)
"""By how much coarser the picture was when it was enlarged without smoothing."""
COMPRESSION_STEPS = (40.0, 20.0, 10.0)
"""Qualities of JPEG; better ones change next to nothing."""

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Detail:
    """One way to lose detail; a strength of 0 loses none."""

    kind: Kind
    strength: float

    def apply(self, frames: Frames) -> Frames:
        """(M,C,H,W) with less detail; the frames themselves where nothing is lost."""
        if not self.strength or not self.suits(frames.shape[1]):
            return frames
        if self.kind == "blur":
            return np.stack([blur(frame, self.strength) for frame in frames])
        if self.kind == "resolution":
            return np.stack([np.stack([_coarsen(p, self.strength) for p in frame]) for frame in frames])
        return _compress(frames, round(self.strength))

    def suits(self, channels: int) -> bool:
        """Whether pictures of so many channels lose it: only grey and colour pictures are compressed."""
        return self.kind != "compression" or channels in (1, 3)

    @classmethod
    def fit_blur(cls, frames: Frames, live: Frames) -> "Detail":
        """The blur that makes ``frames`` as soft as ``live``; none when those are as sharp."""
        grey, grey_live = frames.mean(axis=1), live.mean(axis=1)
        wanted = _sharpness(grey_live)
        best, error = 0.0, abs(np.log(_sharpness(grey) / wanted))
        for sigma in BLUR_STEPS:
            off = abs(np.log(_sharpness(blur(grey, sigma)) / wanted))
            if off < error:
                best, error = sigma, off
        return cls("blur", best)


OTHERS = (
    *(Detail("resolution", step) for step in RESOLUTION_STEPS),
    *(Detail("compression", step) for step in COMPRESSION_STEPS),
)
"""What is tried in addition to a blur."""


def _sharpness(planes: Plane) -> float:
    """Energy of the Laplacian beyond what noise explains, over the contrast of the coarse structure."""
    energies = []
    for smooth in blur(planes, 1.0):
        edges = np.asarray(cv2.Laplacian(smooth, cv2.CV_32F), np.float32)
        energies.append(inner(edges).var() / (smooth.var() + _TINY))
    return float(np.median(energies)) + _TINY


def _coarsen(plane: Plane, factor: float) -> Plane:
    size = plane.shape[::-1]
    small = tuple(max(1, round(n / factor)) for n in size)
    coarse = cv2.resize(plane, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST), np.float32)


def _compress(frames: Frames, quality: int) -> Frames:
    """Through JPEG, frame by frame, in 8 bits between the least and the largest value of these frames."""
    low, high = float(frames.min()), float(frames.max())
    step = max(high - low, _TINY) / 255
    found = np.empty_like(frames)
    for i, frame in enumerate(frames):
        pixels = np.rint((frame - low) / step).astype(np.uint8).transpose(1, 2, 0)
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        again = np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED)).reshape(pixels.shape)
        found[i] = again.transpose(2, 0, 1) * np.float32(step) + np.float32(low)
    return found
