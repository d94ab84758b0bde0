"""Encoded bytes or an array of any usual shape -> one upright uint8 array in the colour order the model wants.

JPEG is decoded by libjpeg-turbo in strict mode (OpenCV's decoder hands out a picture for 99 % of damaged files)
and, where the model needs fewer pixels and its filter averages anyway, at a reduced size: that halves the time of a
720p frame. Where it warns, the picture is decoded once more without what is harmless; see ``jpeg_mending``. Other
formats go to OpenCV after their header was checked.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge_runtime.datatypes import ColourOrder, RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess.geometry import reduction
from edge_runtime.inference.preprocess.header import Header
from edge_runtime.inference.preprocess.headers import read_header
from edge_runtime.inference.preprocess.jpeg_mending import is_mendable, mend
from edge_runtime.inference.preprocess.limits import PictureLimits
from edge_runtime.inference.preprocess.netpbm import decode_netpbm
from edge_runtime.inference.preprocess.tiff_strips import check_strips
from edge_runtime.inference.specs import Colour, PictureSpec

# A damaged picture is a counted value here, not lines on standard error.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# Workers prepare a picture for each core; OpenCV's threads would spin next to them: up to twice the CPU time a picture.
cv2.setNumThreads(1)


_STRIP_BYTES = 1 << 20  # conversions work on so much at a time, so that they need no second picture's memory
_STRAY = re.compile(r"(\d+) extraneous bytes before marker 0xd9")


@dataclass(frozen=True, slots=True)
class Upright:
    """A decoded picture, orientation applied."""

    pixels: NDArray[np.uint8]
    """(H,W) for grey, else (H,W,3)."""
    colour: Colour
    full_width: int
    """Width of the original frame; larger than the array's when it was decoded at a reduced size."""
    full_height: int


def decode(data: bytes, spec: PictureSpec, limits: PictureLimits) -> Upright:
    """Decode an encoded picture.

    Args:
        data: JPEG, PNG, BMP, WebP, TIFF or binary netpbm.
        spec: The input of the model; a JPEG is decoded at a reduced size where that leaves the result right.
        limits: Caps, checked on the header.

    Raises:
        InputFlaw: anything that keeps it from being used.
    """
    limits.check_bytes(len(data))
    if data[:1] in (b"\r", b"\n"):  # left over from a multipart message
        data = data.lstrip(b"\r\n")
    header = read_header(data)
    limits.check_size(header.width, header.height, header.bytes_per_pixel)
    match header.kind:
        case "jpeg":
            pixels, order = _decode_jpeg(data, header, spec), spec.colour
        case "netpbm":
            pixels, is_colour = decode_netpbm(data)
            order = "rgb" if is_colour else "grey"
        case _:
            if header.strips is not None:
                check_strips(data, header.strips)
            stored, stored_order = _decode_other(data, header)
            pixels, order = to_uint8(stored, stored_order, spec.alpha_background)
    is_turned = header.orientation >= 5
    full = (header.height, header.width) if is_turned else (header.width, header.height)
    turn = _TURNS.get(header.orientation)
    return Upright(pixels if turn is None else turn(pixels), order, *full)


def to_uint8(array: NDArray[Any], order: ColourOrder, alpha: int) -> tuple[NDArray[np.uint8], Colour]:
    """An array of a usual kind as 8-bit grey, RGB or BGR, without copying when it is one already.

    Args:
        array: uint8 or uint16 (all 16 bits used); (H,W), (H,W,1), (H,W,2) grey and alpha, (H,W,3) or (H,W,4).
        order: Channel order of ``array`` where it has 3 or 4 channels.
        alpha: Grey level below transparent pixels.

    Raises:
        InputFlaw: another dtype or shape.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and not 1 <= array.shape[2] <= 4):
        raise InputFlaw(RejectReason.BAD_SHAPE, f"array of shape {array.shape}; expected (H,W) or (H,W,1..4)")
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise InputFlaw(RejectReason.BAD_DTYPE, f"pixels of type {array.dtype}; expected uint8 or uint16")
    channels = 1 if array.ndim == 2 else array.shape[2]
    if array.dtype.itemsize == 1 and channels in (1, 3):
        pixels = array if array.ndim == 2 or channels == 3 else np.ascontiguousarray(array[..., 0])
    else:
        pixels = _convert(array, alpha)
    if channels <= 2:
        return pixels, "grey"
    return pixels, "rgb" if order in ("rgb", "rgba") else "bgr"


def _convert(array: NDArray[Any], background: int) -> NDArray[np.uint8]:
    """8 bits, and no transparency: (H,W) or (H,W,3), strip by strip."""
    channels = 1 if array.ndim == 2 else array.shape[2]
    kept = 1 if channels <= 2 else 3
    pixels = np.empty(array.shape[:2] if kept == 1 else (*array.shape[:2], kept), np.uint8)
    for rows in _strips(array):
        part = array[rows]
        if part.dtype.itemsize == 2:
            native = np.ascontiguousarray(part, np.uint16)
            part = cv2.convertScaleAbs(native, alpha=1 / 257).reshape(part.shape)
        if channels in (2, 4):
            part = _composite(part, background)
        pixels[rows] = part.reshape(pixels[rows].shape)
    return pixels


def _strips(array: NDArray[Any]) -> Iterator[slice]:
    """The rows of a picture, some at a time."""
    step = max(1, _STRIP_BYTES * len(array) // max(1, array.nbytes))
    return (slice(start, start + step) for start in range(0, len(array), step))


def _decode_jpeg(data: bytes, header: Header, spec: PictureSpec) -> NDArray[np.uint8]:
    upright = (header.height, header.width) if header.orientation >= 5 else (header.width, header.height)
    factor = reduction(spec, *upright)
    space = {"rgb": "RGB", "bgr": "BGR", "grey": "GRAY"}[spec.colour]
    least = (-(-header.width // factor), -(-header.height // factor))
    try:
        pixels = _decode_strictly(data, space, least)
    except ValueError as err:
        mended = mend(data, _count_stray_bytes) if is_mendable(str(err)) else None
        if mended is None:
            raise _jpeg_flaw(err) from err
        try:
            pixels = _decode_strictly(mended, space, least)
        except ValueError:
            raise _jpeg_flaw(err) from err
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _decode_strictly(data: bytes, space: str, least: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    width, height = least
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, space, min_width=width, min_height=height, strict=True
    )
    return pixels


def _count_stray_bytes(data: bytes) -> int | None:
    """See ``jpeg_mending.StrayBytes``."""
    try:
        _decode_strictly(data, "GRAY")
    except ValueError as err:
        found = _STRAY.search(str(err))
        return None if found is None else int(found[1])
    return 0


def _jpeg_flaw(err: ValueError) -> InputFlaw:
    reason = RejectReason.TRUNCATED if "remature end" in str(err) else RejectReason.UNREADABLE
    return InputFlaw(reason, f"JPEG: {err}")


def _decode_other(data: bytes, header: Header) -> tuple[NDArray[Any], ColourOrder]:
    try:
        pixels = cv2.imdecode(np.frombuffer(select_bytes(data, header), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as err:
        raise InputFlaw(RejectReason.UNREADABLE, f"{header.kind}: {err.err}") from err
    if pixels is None:
        raise InputFlaw(RejectReason.UNREADABLE, f"{header.kind} that cannot be decoded")
    if pixels.shape[:2] != (header.height, header.width):
        found = f"{header.kind} decodes to {pixels.shape[1]}x{pixels.shape[0]} pixels"
        raise InputFlaw(RejectReason.UNREADABLE, f"{found}; its header says {header.width}x{header.height}")
    if header.is_inverted:
        cv2.bitwise_not(pixels, dst=pixels)
    if header.transparent_level is not None and pixels.ndim == 2:
        pixels = _with_transparency(pixels, header.transparent_level)
    # Much writes BMP with an alpha mask and leaves that byte 0; Windows shows such a picture opaque.
    is_unset = (
        header.kind == "bmp" and pixels.shape[-1] == 4 and pixels.ndim == 3 and not pixels[..., 3].any()
    )
    if pixels.ndim == 3 and (header.has_unused_channel or is_unset):
        pixels = np.ascontiguousarray(pixels[..., :3])
    return pixels, "bgra" if pixels.ndim == 3 and pixels.shape[2] == 4 else "bgr"


def select_bytes(data: bytes, header: Header) -> bytes | bytearray:
    """What the decoder gets of a file: without what it need not see, and with the patches of the header."""
    if header.parts and header.parts != ((0, len(data)),):
        view = memoryview(data)
        data = b"".join(view[start:end] for start, end in header.parts)
    if not header.patches:
        return data
    patched = bytearray(data)
    for at, value in header.patches:
        patched[at : at + len(value)] = value
    return patched


def _with_transparency(grey: NDArray[Any], level: int) -> NDArray[Any]:
    """Grey and alpha (H,W,2): one level is transparent."""
    opaque = np.iinfo(grey.dtype).max
    both = np.empty((*grey.shape, 2), grey.dtype)
    both[..., 0] = grey
    both[..., 1] = np.where(grey == level, grey.dtype.type(0), grey.dtype.type(opaque))
    return both


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
