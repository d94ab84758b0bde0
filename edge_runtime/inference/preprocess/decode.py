"""Encoded bytes or an array of any usual shape -> one upright uint8 array in the colour order the model wants.

JPEG is decoded by libjpeg-turbo in strict mode (OpenCV's decoder hands out a picture for 99 % of damaged files)
and, where the model needs fewer pixels and its filter averages anyway, at a reduced size: that halves the time of a
720p frame. Other formats go to OpenCV after their header was checked.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge_runtime.datatypes import ColourOrder, RejectReason
from edge_runtime.inference.preprocess.geometry import reduction
from edge_runtime.inference.preprocess.headers import Header, PictureFlaw, read_header
from edge_runtime.inference.specs import Colour, PreprocessSpec

# A damaged picture is a counted value here, not lines on standard error.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Larger pictures are refused before any memory is spent on them."""

    max_pixels: int = 50_000_000
    max_bytes: int = 64 * 1024 * 1024
    min_side: int = 4
    """Pixels; below this there is nothing to see."""


@dataclass(frozen=True, slots=True)
class Upright:
    """A decoded picture, orientation applied."""

    pixels: NDArray[np.uint8]
    """(H,W) for grey, else (H,W,3)."""
    colour: Colour
    full_width: int
    """Width of the original frame; larger than the array's when it was decoded at a reduced size."""
    full_height: int


def read_file(path: Path, limits: PictureLimits) -> bytes:
    """All bytes of a regular file.

    Raises:
        PictureFlaw: missing, unreadable, not a regular file, too large.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PictureFlaw(RejectReason.UNREADABLE, f"{path} is not a regular file")
            if status.st_size > limits.max_bytes:
                raise PictureFlaw(RejectReason.TOO_LARGE, _bytes_over(status.st_size, limits))
            return file.read(limits.max_bytes + 1)
    except OSError as err:
        raise PictureFlaw(RejectReason.UNREADABLE, f"{path} cannot be read: {err.strerror}") from err
    except ValueError as err:  # a NUL in the path
        raise PictureFlaw(RejectReason.UNREADABLE, f"{str(path)!r} is no path: {err}") from err


def _without_waiting(path: str, flags: int) -> int:
    """Opening a named pipe would wait for ever for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def decode(data: bytes, spec: PreprocessSpec, limits: PictureLimits) -> Upright:
    """Decode an encoded picture.

    Args:
        data: JPEG, PNG, BMP, WebP or TIFF.
        spec: The input of the model; a JPEG is decoded at a reduced size where that leaves the result right.
        limits: Caps, checked on the header.

    Raises:
        PictureFlaw: anything that keeps it from being used.
    """
    if len(data) > limits.max_bytes:
        raise PictureFlaw(RejectReason.TOO_LARGE, _bytes_over(len(data), limits))
    header = read_header(data)
    check_size(header.width, header.height, limits)
    if header.kind == "jpeg":
        pixels, order = _decode_jpeg(data, header, spec), spec.colour
    else:
        stored, stored_order = _decode_other(data, header)
        pixels, order = to_uint8(stored, stored_order, spec.alpha_background)
    is_turned = header.orientation >= 5
    full = (header.height, header.width) if is_turned else (header.width, header.height)
    turn = _TURNS.get(header.orientation)
    return Upright(pixels if turn is None else turn(pixels), order, *full)


def check_size(width: int, height: int, limits: PictureLimits) -> None:
    """Refuse pictures with too many or too few pixels.

    Raises:
        PictureFlaw: it is so.
    """
    if width * height > limits.max_pixels:
        allowed = f"at most {limits.max_pixels / 1e6:g} million are taken"
        raise PictureFlaw(RejectReason.TOO_LARGE, f"{width}x{height} pixels; {allowed}")
    if min(width, height) < limits.min_side:
        raise PictureFlaw(
            RejectReason.TOO_SMALL, f"{width}x{height} pixels; each side needs {limits.min_side}"
        )


def to_uint8(array: NDArray[Any], order: ColourOrder, alpha: int) -> tuple[NDArray[np.uint8], Colour]:
    """An array of a usual kind as 8-bit grey, RGB or BGR, without copying when it is one already.

    Args:
        array: uint8 or uint16 (all 16 bits used); (H,W), (H,W,1), (H,W,2) grey and alpha, (H,W,3) or (H,W,4).
        order: Channel order of ``array`` where it has 3 or 4 channels.
        alpha: Grey level below transparent pixels.

    Raises:
        PictureFlaw: another dtype or shape.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        raise PictureFlaw(
            RejectReason.BAD_SHAPE, f"array of shape {array.shape}; expected (H,W) or (H,W,1..4)"
        )
    if array.dtype == np.uint16:
        array = cv2.convertScaleAbs(array, alpha=1 / 257).reshape(array.shape)
    elif array.dtype != np.uint8:
        raise PictureFlaw(RejectReason.BAD_DTYPE, f"pixels of type {array.dtype}; expected uint8 or uint16")
    if array.ndim == 2:
        return array, "grey"
    channels = array.shape[2]
    if channels in (2, 4):
        array = _composite(array, alpha)
    if channels <= 2:
        return np.ascontiguousarray(array[..., 0]), "grey"
    return array, "rgb" if order in ("rgb", "rgba") else "bgr"


def _decode_jpeg(data: bytes, header: Header, spec: PreprocessSpec) -> NDArray[np.uint8]:
    upright = (header.height, header.width) if header.orientation >= 5 else (header.width, header.height)
    factor = reduction(spec, *upright)
    space = {"rgb": "RGB", "bgr": "BGR", "grey": "GRAY"}[spec.colour]
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data,
            space,
            min_width=-(-header.width // factor),
            min_height=-(-header.height // factor),
            strict=True,
        )
    except ValueError as err:
        words = str(err)
        reason = RejectReason.TRUNCATED if "remature end" in words else RejectReason.UNREADABLE
        raise PictureFlaw(reason, f"JPEG: {words}") from err
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _decode_other(data: bytes, header: Header) -> tuple[NDArray[Any], ColourOrder]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as err:
        raise PictureFlaw(RejectReason.UNREADABLE, f"{header.kind}: {err.err}") from err
    if pixels is None:
        raise PictureFlaw(RejectReason.UNREADABLE, f"{header.kind} that cannot be decoded")
    if pixels.shape[:2] != (header.height, header.width):
        found = f"{header.kind} decodes to {pixels.shape[1]}x{pixels.shape[0]} pixels"
        raise PictureFlaw(RejectReason.UNREADABLE, f"{found}; its header says {header.width}x{header.height}")
    return pixels, "bgra" if pixels.ndim == 3 and pixels.shape[2] == 4 else "bgr"


def _composite(array: NDArray[np.uint8], background: int) -> NDArray[np.uint8]:
    """Colour channels over a grey level; opaque pictures, nearly all, cost one comparison."""
    alpha = array[..., -1:]
    colours = array[..., :-1]
    if alpha.min() == 255:
        return np.ascontiguousarray(colours)
    weight = alpha.astype(np.float32) / 255
    mixed = colours * weight + (background * (1 - weight) + 0.5)  # + 0.5: the cast cuts off
    return mixed.astype(np.uint8)


_TURNS: dict[int, Callable[[Any], Any]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.flip(cv2.transpose(pixels), -1),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
"""How to turn a picture upright, by EXIF tag 0x0112."""


def _bytes_over(size: int, limits: PictureLimits) -> str:
    return f"{size} bytes; at most {limits.max_bytes} are taken"
