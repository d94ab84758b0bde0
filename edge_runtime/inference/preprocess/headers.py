"""Reads the header of an encoded picture before any decoder sees it: format, size, orientation, completeness.

A 12 KB PNG can ask for 286 MiB and a truncated one decodes to half a picture without an error, so the size comes
from the header and the structure (chunk checksums, end markers, strip offsets) is checked here. Only the formats
below are let through to a decoder. Pure; nothing is decoded.
"""

import struct
import zlib
from collections.abc import Callable

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.preprocess.foreign import name_foreign
from edge_runtime.inference.preprocess.header import Header, PictureFlaw
from edge_runtime.inference.preprocess.jpeg_header import read_jpeg_header
from edge_runtime.inference.preprocess.netpbm import is_netpbm, read_netpbm_header
from edge_runtime.inference.preprocess.tiff_header import exif_orientation, read_tiff_header


def read_header(data: bytes) -> Header:
    """Header of an encoded picture.

    Raises:
        PictureFlaw: empty, a format that is not let through, damaged, or shorter than it says.
    """
    if not data:
        raise PictureFlaw(RejectReason.EMPTY, "0 bytes")
    for matches, parse in _PARSERS:
        if matches(data):
            try:
                header = parse(data)
            except (struct.error, IndexError) as err:
                raise PictureFlaw(
                    RejectReason.TRUNCATED, f"ends inside its header after {len(data)} bytes"
                ) from err
            if header.width < 1 or header.height < 1:
                raise PictureFlaw(
                    RejectReason.UNREADABLE, f"{header.kind} of {header.width}x{header.height} pixels"
                )
            return header
    raise PictureFlaw(RejectReason.UNSUPPORTED, name_foreign(data))


def _png(data: bytes) -> Header:
    at, layout, orientation, has_data, transparent = 8, None, 1, False, b""
    view = memoryview(data)  # a slice of it is no copy
    while True:
        if at + 12 > len(data):
            raise PictureFlaw(
                RejectReason.TRUNCATED, f"PNG ends after {len(data)} bytes without its end chunk"
            )
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise PictureFlaw(RejectReason.TRUNCATED, f"PNG chunk at byte {at} is cut off")
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise PictureFlaw(RejectReason.UNREADABLE, f"PNG chunk at byte {at} has a wrong checksum")
        if layout is None:
            if kind != b"IHDR" or length != 13:
                raise PictureFlaw(RejectReason.UNREADABLE, "PNG does not start with its header chunk")
            layout = struct.unpack_from(">IIBB", data, at + 8)
        elif kind == b"tRNS":
            transparent = data[at + 8 : end]
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end])
        has_data = has_data or kind == b"IDAT"
        at = end + 4
        if kind == b"IEND":
            break
    if not has_data:
        raise PictureFlaw(RejectReason.TRUNCATED, "PNG without picture data")
    width, height, bits, colour = layout
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
    )


def _bmp(data: bytes) -> Header:
    offset, info_bytes = struct.unpack_from("<II", data, 10)
    if info_bytes < 40:
        raise PictureFlaw(
            RejectReason.UNSUPPORTED, f"BMP with a header of {info_bytes} bytes; expected 40 or more"
        )
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression not in (0, 3):
        raise PictureFlaw(RejectReason.UNSUPPORTED, f"BMP with compression {compression}; expected none")
    needed = offset + (max(width, 0) * bits + 31) // 32 * 4 * abs(height)
    if len(data) < needed:
        raise PictureFlaw(RejectReason.TRUNCATED, f"BMP of {len(data)} bytes; its header needs {needed}")
    has_alpha = info_bytes >= 56 and compression == 3 and data[66:70] != bytes(4)
    return Header(
        "bmp",
        width,
        abs(height),
        bytes_per_pixel=4 if bits == 32 else 3,
        has_unused_channel=bits == 32 and not has_alpha,
    )


def _webp(data: bytes) -> Header:
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    if len(data) < riff_bytes + 8:
        raise PictureFlaw(
            RejectReason.TRUNCATED, f"WebP of {len(data)} bytes; its header says {riff_bytes + 8}"
        )
    size, orientation, at = None, 1, 12
    while at + 8 <= min(len(data), riff_bytes + 8):
        kind, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if kind == b"VP8X":
            packed = int.from_bytes(data[body + 4 : body + 10], "little")
            size = ((packed & 0xFFFFFF) + 1, (packed >> 24) + 1)
        elif kind == b"VP8L" and size is None:
            packed = int.from_bytes(data[body + 1 : body + 5], "little")
            size = ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
        elif kind == b"VP8 " and size is None:
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = (width & 0x3FFF, height & 0x3FFF)
        elif kind == b"EXIF":
            orientation = exif_orientation(data[body : body + length].removeprefix(b"Exif\x00\x00"))
        at = body + length + length % 2
    if size is None:
        raise PictureFlaw(RejectReason.UNREADABLE, "WebP without picture data")
    return Header("webp", *size, bytes_per_pixel=4, orientation=orientation)


_PARSERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Header]], ...] = (
    (lambda data: data[:3] == b"\xff\xd8\xff", read_jpeg_header),
    (lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", _png),
    (lambda data: data[:2] == b"BM", _bmp),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    (lambda data: data[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"), read_tiff_header),
    (is_netpbm, read_netpbm_header),
)
