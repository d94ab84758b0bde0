"""Frame -> small JPEG for a person: the whole picture as the camera gave it, upright, never enlarged.

The same reading as for the model, so that every picture that can be answered can be looked at. Nothing of an encoded
picture but its pixels goes on: no place, no serial number, no preview.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess.limits import PictureLimits
from edge_runtime.inference.preprocess.prepare import Preprocessor
from edge_runtime.inference.specs import Colour, PreprocessSpec

_SPACES: dict[Colour, str] = {"rgb": "RGB", "bgr": "BGR", "grey": "GRAY"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A picture for a person."""

    width: int
    """Pixels, as the height."""
    height: int
    jpeg: bytes
    full_width: int
    """Pixels of the upright frame, in whose coordinates results are."""
    full_height: int


def make_snapshot(frame: Frame, max_side: int, quality: int, limits: PictureLimits) -> Snapshot:
    """Shrink a frame so that no side has more than ``max_side`` pixels, and encode it.

    Args:
        frame: Of any kind but a prepared tensor. Its array is only read.
        max_side: Pixels; a smaller picture keeps its size.
        quality: Of the JPEG, 1..100.
        limits: Larger pictures are refused.

    Raises:
        PictureFlaw: there is no picture in it, or none that can be read.
    """
    upright = Preprocessor(_describe(max_side), limits).read_picture(frame)
    scale = min(1.0, max_side / max(upright.full_width, upright.full_height))
    size = (max(1, round(upright.full_width * scale)), max(1, round(upright.full_height * scale)))
    pixels = _shrink(upright.pixels, size)
    colour = "GRAY" if pixels.ndim == 2 else _SPACES[upright.colour]
    planes = np.ascontiguousarray(pixels[..., np.newaxis] if pixels.ndim == 2 else pixels)
    jpeg = simplejpeg.encode_jpeg(planes, quality, colour, "420")
    return Snapshot(*size, jpeg, upright.full_width, upright.full_height)


def _shrink(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if pixels.shape[1::-1] == size:
        return pixels
    shrunk: NDArray[np.uint8] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return shrunk


def _describe(side: int) -> PreprocessSpec:
    """What a model would say that wants this picture: a JPEG that is far larger is decoded at a reduced size."""
    return PreprocessSpec(
        colour="bgr",
        width=side,
        height=side,
        geometry="letterbox",
        filter="area",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
