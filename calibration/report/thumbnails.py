"""Thumbnails for the report: healthy frames, live frames, and live frames under a patch.

Turns prepared samples back into small pictures that lie in the page itself. Arrays in, data URIs out; no model.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import HealthySamples
from calibration.report.states import State
from calibration.targets.base import Batch

MOST_SIDE = 112
"""Pixels of a thumbnail's longer side."""
TINY_SIDE = 40
"""Pictures up to here are stored without loss: JPEG would blur the little there is."""
SHOWN = 6
JPEG_QUALITY = 78


@dataclass(frozen=True, slots=True)
class PictureScale:
    """Which sample values are black and white, per channel (C,), and in which order the colours come."""

    black: NDArray[np.float64]
    white: NDArray[np.float64]
    is_bgr: bool = False

    @classmethod
    def guess(cls, samples: Batch, healthy_samples: HealthySamples | None) -> "PictureScale":
        """For samples (N, C, H, W) prepared in an unknown way; colours are taken as red, green, blue.

        Samples of 8-bit pictures know their steps: 255 of them from its darkest value. Otherwise the range
        of the samples.
        """
        if healthy_samples is not None and healthy_samples.packed.dtype == np.uint8:
            black = healthy_samples.low.astype(np.float64)
            return cls(black, black + 255.0 * healthy_samples.step.astype(np.float64))
        flat = np.moveaxis(samples, 1, 0).reshape(samples.shape[1], -1)
        low, high = (np.full(len(flat), np.quantile(flat, share), np.float64) for share in (0.005, 0.995))
        return cls(low, np.where(high > low, high, low + 1.0))

    def to_bytes(self, samples: Batch) -> NDArray[np.uint8]:
        """Samples (N, C, H, W) as pictures, uint8 (N, H, W, 3) blue, green, red or (N, H, W, 1) grey."""
        shape = (1, -1, 1, 1)
        low, high = self.black.reshape(shape), self.white.reshape(shape)
        levels = np.clip(255.0 * (samples - low) / (high - low), 0, 255).round().astype(np.uint8)
        if levels.shape[1] != 3:
            levels = levels[:, :1]
        elif not self.is_bgr:
            levels = levels[:, ::-1]
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of thumbnails."""

    title: str
    note: str
    pictures: tuple[str, ...]
    """``data:`` URIs."""
    is_tiny: bool
    """To be enlarged without smoothing."""


def strips(found: Sequence[State], scale: PictureScale) -> tuple[Strip, ...]:
    """A row of thumbnails for each state of pictures."""
    return tuple(_strip(state.title, state.note, state.samples, scale) for state in found)


def _strip(title: str, note: str, samples: Batch, scale: PictureScale) -> Strip:
    is_tiny = max(samples.shape[2:]) <= TINY_SIDE
    return Strip(title, note, tuple(picture_uri(p) for p in scale.to_bytes(samples)), is_tiny)


def encode_picture(picture: NDArray[np.uint8], most_side: int) -> bytes:
    """A JPEG of one picture (H, W, 1 or 3), blue, green, red or grey; the longer side is bounded."""
    _, encoded = cv2.imencode(".jpg", _reduce(picture, most_side), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return encoded.tobytes()


def picture_uri(picture: NDArray[np.uint8], most_side: int = MOST_SIDE) -> str:
    """A thumbnail of one picture (H, W, 1 or 3), blue, green, red or grey, as a data URI."""
    longer = max(picture.shape[:2])
    kind = "png" if longer <= TINY_SIDE else "jpeg"
    options = [] if kind == "png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(f".{kind}", _reduce(picture, most_side), options)
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _reduce(picture: NDArray[np.uint8], most_side: int) -> NDArray[np.uint8]:
    longer = max(picture.shape[:2])
    if longer <= most_side:
        return picture
    share = most_side / longer
    size = (max(1, round(picture.shape[1] * share)), max(1, round(picture.shape[0] * share)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
