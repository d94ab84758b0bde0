"""The chunks of a WebP. Pure; nothing is decoded.

A decoder takes the size of a picture from its data or, where the first chunk gives one for all, from there. Two readers
must not see two sizes, so every size in a file must agree, and nothing may be there twice.
Source: RFC 9649, sections 2.5 to 2.7.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess.header import Header
from edge_runtime.inference.preprocess.tiff_header import exif_orientation

MOST_CHUNKS = 10_000
"""An animation has one a picture, anything else fewer than ten."""
_ANIMATED = 0x02  # of the flags in VP8X
_FRAME_BYTES = 16  # before the chunks of one picture of an animation


class _Chunk(NamedTuple):
    kind: bytes
    at: int
    """Offset of its content."""
    length: int


def read_webp_header(data: bytes) -> Header:
    """Header of a WebP; of an animation that of its canvas.

    Raises:
        InputFlaw: damaged or ambiguous.
        struct.error, IndexError: cut off.
    """
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    if len(data) < riff_bytes + 8:
        found = f"WebP of {len(data)} bytes; its header says {riff_bytes + 8}"
        raise InputFlaw(RejectReason.TRUNCATED, found)
    chunks = list(_walk(data, 12, riff_bytes + 8))
    extended = [chunk for chunk in chunks if chunk.kind == b"VP8X"]
    if extended and (len(extended) > 1 or chunks[0] is not extended[0] or extended[0].length != 10):
        raise _ambiguous("a size that is not at its beginning, or is there twice")
    stills = [chunk for chunk in chunks if chunk.kind in _SIZES]
    frames = [chunk for chunk in chunks if chunk.kind == b"ANMF"]
    is_animated = bool(extended) and bool(data[extended[0].at] & _ANIMATED)
    if is_animated:
        if stills or not frames:
            raise _ambiguous("an animation without pictures, or with one that is not part of it")
        size = _size_of_all(data, extended[0])
        for frame in frames:
            _check_frame(data, frame, size)
    else:
        if len(stills) != 1 or frames:
            raise _ambiguous(f"{len(stills) + len(frames)} pictures; expected 1")
        if not extended and chunks[0] is not stills[0]:
            raise _ambiguous("something before its picture")
        size = _SIZES[stills[0].kind](data, stills[0].at)
        if extended and size != _size_of_all(data, extended[0]):
            raise _ambiguous("two different sizes")
    orientation = 1
    for chunk in chunks:
        if chunk.kind == b"EXIF":
            block = data[chunk.at : chunk.at + chunk.length]
            orientation = exif_orientation(block.removeprefix(b"Exif\x00\x00"))
    return Header("webp", *size, bytes_per_pixel=4, orientation=orientation)


def _walk(data: bytes, at: int, end: int) -> Iterator[_Chunk]:
    for _ in range(MOST_CHUNKS):
        if at + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield _Chunk(kind, at + 8, length)
        at += 8 + length + length % 2
    raise InputFlaw(RejectReason.UNSUPPORTED, f"WebP of more than {MOST_CHUNKS} chunks")


def _check_frame(data: bytes, frame: _Chunk, canvas: tuple[int, int]) -> None:
    """Refuse a picture of an animation that is not within the canvas, or has another size than it says."""
    x, y, width, height = (_int24(data, frame.at + offset) for offset in (0, 3, 6, 9))
    size = (width + 1, height + 1)
    if 2 * x + size[0] > canvas[0] or 2 * y + size[1] > canvas[1]:
        raise _ambiguous("an animation with a picture larger than itself")
    parts = _walk(data, frame.at + _FRAME_BYTES, frame.at + frame.length)
    found = [_SIZES[part.kind](data, part.at) for part in parts if part.kind in _SIZES]
    if found != [size]:
        raise _ambiguous("an animation with a picture of another size than it says")


def _size_of_all(data: bytes, chunk: _Chunk) -> tuple[int, int]:
    return _int24(data, chunk.at + 4) + 1, _int24(data, chunk.at + 7) + 1


def _size_of_lossy(data: bytes, at: int) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, at + 6)
    return width & 0x3FFF, height & 0x3FFF


def _size_of_lossless(data: bytes, at: int) -> tuple[int, int]:
    (packed,) = struct.unpack_from("<I", data, at + 1)
    return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1


_SIZES = {b"VP8 ": _size_of_lossy, b"VP8L": _size_of_lossless}


def _int24(data: bytes, at: int) -> int:
    low, high = struct.unpack_from("<HB", data, at)
    return int(low | high << 16)


def _ambiguous(found: str) -> InputFlaw:
    return InputFlaw(RejectReason.UNREADABLE, f"WebP with {found}")
