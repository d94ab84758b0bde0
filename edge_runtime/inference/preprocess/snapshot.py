"""Frame -> small JPEG for a person: the whole picture as the camera gave it, upright, never enlarged.

The same reading as for the model, so that every picture that can be answered can be looked at. Nothing of an encoded
picture but its pixels goes on: no place, no serial number, no preview.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess.limits import LEAST_SIDE, PictureLimits
from edge_runtime.inference.preprocess.prepare import PicturePreprocessor
from edge_runtime.inference.specs import Colour, PictureSpec

_SPACES: dict[Colour, str] = {"rgb": "RGB", "bgr": "BGR", "grey": "GRAY"}


_GREEN = (0, 255, 0)
"""The same in RGB and BGR."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A box to draw, with a few words; ``box`` is (x1, y1, x2, y2) in pixels of the upright frame."""

    box: tuple[float, float, float, float]
    text: str


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


def make_snapshot(
    frame: Frame, max_side: int, quality: int, limits: PictureLimits, marks: Sequence[Mark] = ()
) -> Snapshot:
    """Shrink a frame so that no side has more than ``max_side`` pixels, and encode it.

    Args:
        frame: Of any kind but a prepared tensor. Its array is only read.
        max_side: Pixels; a smaller picture keeps its size.
        quality: Of the JPEG, 1..100.
        limits: Larger pictures are refused.
        marks: Drawn on it; letters that the font does not have become question marks.

    Raises:
        InputFlaw: there is no picture in it, or none that can be read.
    """
    upright = _make_reader(max_side, limits).read_picture(frame)
    full_width, full_height = frame.full_size or (upright.full_width, upright.full_height)
    scale = min(1.0, max_side / max(full_width, full_height))
    size = (max(1, round(full_width * scale)), max(1, round(full_height * scale)))
    pixels = _shrink(upright.pixels, size)
    colour = "GRAY" if pixels.ndim == 2 else _SPACES[upright.colour]
    planes = np.ascontiguousarray(pixels[..., np.newaxis] if pixels.ndim == 2 else pixels)
    if marks:
        planes = planes.copy()  # it may be the frame's own
        for mark in marks:
            _draw(planes, mark, scale)
    jpeg = simplejpeg.encode_jpeg(planes, quality, colour, "420")
    return Snapshot(*size, jpeg, full_width, full_height)


def copy_reduced(frame: Frame, max_side: int) -> Frame:
    """A frame whose array is its own, and not much larger than a snapshot of ``max_side`` pixels needs.

    A frame that holds no array is given back as it is.
    """
    picture = frame.payload
    if not isinstance(picture, np.ndarray):
        return frame
    is_plain = picture.dtype == np.uint8 and picture.ndim in (2, 3) and picture.size > 0
    reduced = _halve(picture, max_side) if is_plain and not frame.is_tensor else picture
    if reduced is picture:
        return replace(frame, payload=picture.copy())
    return replace(frame, payload=reduced, full_size=(picture.shape[1], picture.shape[0]))


def _halve(pixels: NDArray[np.uint8], max_side: int) -> NDArray[np.uint8]:
    """Half of it, as often as the longer side stays at least ``max_side``: ten times as fast as any other factor."""
    height, width = pixels.shape[:2]
    while max(width, height) >= 2 * max_side and min(width, height) >= 2 * LEAST_SIDE:
        width, height = width // 2, height // 2
        pairs = pixels[: 2 * height, : 2 * width]
        pixels = cv2.resize(pairs, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return pixels


def _draw(planes: NDArray[np.uint8], mark: Mark, scale: float) -> None:
    beyond = 2 * max(planes.shape)  # OpenCV takes 32 bits
    x1, y1, x2, y2 = (round(min(max(edge * scale, -beyond), beyond)) for edge in mark.box)
    colour = _GREEN if planes.shape[2] == 3 else (255,)
    cv2.rectangle(planes, (x1, y1), (x2, y2), colour, 2)
    text = mark.text.encode("ascii", "replace").decode()
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    left = max(0, min(x1, planes.shape[1] - width))
    bottom = y1 - base if y1 > height + 2 * base else y1 + height + base
    cv2.rectangle(planes, (left, bottom - height - base), (left + width, bottom + base), colour, cv2.FILLED)
    cv2.putText(planes, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


def _shrink(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    halved = _halve(pixels, max(size))
    if halved.shape[1::-1] == size:
        return halved
    # By less than two: as good as an average of areas, and five times as fast.
    return cv2.resize(halved, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


@lru_cache(maxsize=8)
def _make_reader(side: int, limits: PictureLimits) -> PicturePreprocessor:
    """As of a model that wants this picture: a JPEG that is far larger is decoded at a reduced size."""
    spec = PictureSpec(
        colour="bgr",
        width=side,
        height=side,
        geometry="letterbox",
        filter="area_fast",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
    return PicturePreprocessor(spec, limits)
