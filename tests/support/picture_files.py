"""Encoded pictures of every format, orientation and pixel layout that a camera or a person may send, made byte by byte.

OpenCV and PIL write only some layouts, and never a damaged header; a test that needs a certain one writes it itself.
"""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def store(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The pixels as a camera with this EXIF orientation (1..8) stores them."""
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: np.rot90,
        7: lambda a: np.rot90(a[:, ::-1], -1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    return np.ascontiguousarray(turned)


def exif(orientation: int) -> bytes:
    """An EXIF block that holds nothing but the orientation."""
    return tiff([(0x0112, 3, [orientation])])


_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 12: 8, 13: 4, 16: 8, 17: 8}
_CODES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 12: "d", 13: "I", 16: "Q", 17: "q"}


def tiff(
    entries: list[tuple[int, int, list[int]]], data: bytes = b"", *, order: str = "<", is_big: bool = False
) -> bytes:
    """A TIFF of one directory; a value of -1 is replaced by the place of ``data``."""
    head, count, cell, width = (16, "Q", "HHQ", 8) if is_big else (8, "H", "HHI", 4)
    size = struct.calcsize(order + count) + len(entries) * (4 + 2 * width) + width
    extra_at = head + size
    directory, extra = struct.pack(order + count, len(entries)), b""
    needed = sum(
        len(values) * _SIZES[kind] for _, kind, values in entries if len(values) * _SIZES[kind] > width
    )
    data_at = extra_at + needed
    for tag, kind, values in entries:
        filled = [data_at if value == -1 else value for value in values]
        packed = struct.pack(f"{order}{len(filled)}{_CODES[kind]}", *filled)
        directory += struct.pack(order + cell, tag, kind, len(filled))
        if len(packed) <= width:
            directory += packed.ljust(width, b"\x00")
        else:
            directory += struct.pack(order + ("Q" if is_big else "I"), extra_at + len(extra))
            extra += packed
    directory += b"\x00" * width
    mark = b"II" if order == "<" else b"MM"
    start = struct.pack(order + "HHHQ", 43, 8, 0, 16) if is_big else struct.pack(order + "HI", 42, 8)
    return mark + start + directory + extra + data


def tiff_picture(
    pixels: NDArray[Any],
    *,
    photometric: int | None = None,
    orientation: int | None = None,
    extra_samples: list[int] | None = None,
    sample_format: int | None = None,
    palette: NDArray[np.uint16] | None = None,
    bits: int | None = None,
    order: str = "<",
    is_big: bool = False,
    size_type: int = 4,
    height: int | None = None,
    more: list[tuple[int, int, list[int]]] | None = None,
) -> bytes:
    """An uncompressed TIFF of one strip, of samples (H,W) or (H,W,C); ``height`` is what its header says."""
    height, width = height or pixels.shape[0], pixels.shape[1]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    depth = bits or pixels.dtype.itemsize * 8
    if bits == 1:
        body = np.packbits(pixels.astype(bool), axis=1).tobytes()
    elif bits == 4:
        body = (pixels[:, ::2] << 4 | pixels[:, 1::2]).astype(np.uint8).tobytes()
    else:
        ordered = pixels.astype(pixels.dtype.newbyteorder(order))
        body = ordered.tobytes()
    entries = [
        (256, size_type, [width]), (257, size_type, [height]), (258, 3, [depth] * samples), (259, 3, [1]),
        (262, 3, [photometric if photometric is not None else (2 if samples >= 3 else 1)]),
        (277, 3, [samples]), (278, 4, [height]), (284, 3, [1]),
    ]  # fmt: skip
    entries += [(273, 4, [-1]), (279, 4, [len(body)])]
    if orientation is not None:
        entries.append((274, 3, [orientation]))
    if extra_samples is not None:
        entries.append((338, 3, extra_samples))
    if sample_format is not None:
        entries.append((339, 3, [sample_format] * samples))
    if palette is not None:
        entries.append((320, 3, palette.T.ravel().tolist()))
    return tiff(
        sorted([*entries, *(more or [])], key=lambda entry: entry[0]), body, order=order, is_big=is_big
    )


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples: NDArray[Any], *, bits: int = 8, colour_type: int, chunks: bytes = b"", level: int = 1
) -> bytes:
    """A PNG of samples (H,W) or (H,W,C): uint8, uint16 where ``bits`` is 16; below 8 bits they are packed."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif bits == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        unpacked = np.unpackbits(samples.astype(np.uint8).reshape(height, width, 1), axis=2)[..., -bits:]
        rows = np.packbits(unpacked.reshape(height, -1), axis=1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = png_chunk(b"IHDR", header) + chunks + png_chunk(b"IDAT", zlib.compress(lines, level))
    return b"\x89PNG\r\n\x1a\n" + parts + png_chunk(b"IEND", b"")
