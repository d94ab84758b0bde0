"""The chunks of a PNG. Pure; nothing is decoded.

A decoder inflates texts and colour profiles up to 8 MB each, however small they are in the file, and none of them
changes a picture here. So it gets only the chunks that the pixels are made of (``Header.parts``).
Source: PNG specification, third edition, clauses 5 and 11.
"""

import struct
import zlib

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess.header import Header
from edge_runtime.inference.preprocess.tiff_header import exif_orientation

MOST_CHUNKS = 100_000
"""Encoders write pieces of 8 KiB and more: the largest file has 8,192 of those."""
_SIGNATURE_BYTES = 8
_OPTIONAL = 0x20  # of the first letter of a chunk's name
_ONCE = (b"IHDR", b"PLTE", b"tRNS")


def read_png_header(data: bytes) -> Header:
    """Header of a PNG.

    Raises:
        InputFlaw: damaged, cut off, ambiguous.
        struct.error: cut off.
    """
    at, layout, orientation, transparent = _SIGNATURE_BYTES, b"", 1, b""
    seen: set[bytes] = set()
    parts = [(0, _SIGNATURE_BYTES)]
    view = memoryview(data)  # a slice of it is no copy
    for _ in range(MOST_CHUNKS):
        kind, end = _check_chunk(data, view, at)
        if not seen and (kind != b"IHDR" or end - at != 12 + 13):
            raise InputFlaw(RejectReason.UNREADABLE, "PNG does not start with its header chunk")
        if kind in _ONCE and kind in seen:
            raise InputFlaw(RejectReason.UNREADABLE, f"PNG with two chunks {kind.decode()}")
        is_used = not kind[0] & _OPTIONAL
        if kind == b"IHDR":
            layout = data[at + 8 : end - 4]
        elif kind == b"tRNS" and b"IDAT" not in seen:  # decoders pass over one that comes late
            transparent, is_used = data[at + 8 : end - 4], True
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end - 4])
        seen.add(kind)
        if is_used:
            start = parts.pop()[0] if parts[-1][1] == at else at
            parts.append((start, end))
        at = end
        if kind == b"IEND":
            break
    else:
        raise InputFlaw(RejectReason.UNSUPPORTED, f"PNG of more than {MOST_CHUNKS} chunks")
    if b"IDAT" not in seen:
        raise InputFlaw(RejectReason.TRUNCATED, "PNG without picture data")
    width, height, bits, colour = struct.unpack_from(">IIBB", layout)
    channels = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}.get(colour, 4) + (1 if transparent and colour in (2, 3) else 0)
    level = None
    if colour == 0 and len(transparent) == 2:
        # OpenCV passes over the transparent level of grey pictures. It gives fewer than 8 bits the whole range.
        level = int.from_bytes(transparent) * (255 // (2**bits - 1) if bits in (1, 2, 4) else 1)
    return Header(
        "png",
        width,
        height,
        bytes_per_pixel=channels * (2 if bits == 16 else 1),
        orientation=orientation,
        transparent_level=level,
        parts=tuple(parts),
    )


def _check_chunk(data: bytes, view: memoryview, at: int) -> tuple[bytes, int]:
    """The name of the chunk at this offset, and the offset behind its checksum."""
    if at + 12 > len(data):
        found = f"PNG ends after {len(data)} bytes without its end chunk"
        raise InputFlaw(RejectReason.TRUNCATED, found)
    length, kind = struct.unpack_from(">I4s", data, at)
    end = at + 8 + length
    if end + 4 > len(data):
        raise InputFlaw(RejectReason.TRUNCATED, f"PNG chunk at byte {at} is cut off")
    if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
        raise InputFlaw(RejectReason.UNREADABLE, f"PNG chunk at byte {at} has a wrong checksum")
    return kind, end + 4
