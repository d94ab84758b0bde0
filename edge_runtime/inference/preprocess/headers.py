"""Reads the header of an encoded picture before any decoder sees it: format, size, orientation, completeness.

A 12 KB PNG can ask for 286 MiB and a truncated one decodes to half a picture without an error, so the size comes
from the header and the structure (chunk checksums, end markers, strip offsets) is checked here. Only the formats
below are let through to a decoder. Pure; nothing is decoded.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_runtime.datatypes import RejectReason

MAX_JPEG_SCANS = 64  # progressive encoders write about 10; thousands are an attack on decode time
_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


class PictureFlaw(Exception):
    """A picture or tensor that cannot be used; ``prepare`` turns it into a ``Rejected`` value."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True, slots=True)
class Header:
    """The header of an encoded picture."""

    kind: str
    """jpeg, png, bmp, webp or tiff."""
    width: int
    """Pixels as stored, before the orientation is applied."""
    height: int
    orientation: int = 1
    """EXIF orientation 1..8."""
    components: int = 3
    """Colour components; only meaningful for JPEG (1 grey, 3 colour, 4 CMYK)."""


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
    shown = data[:8].hex(" ")
    raise PictureFlaw(RejectReason.UNSUPPORTED, f"starts with {shown}; expected JPEG, PNG, BMP, WebP or TIFF")


def exif_orientation(tiff: bytes) -> int:
    """Orientation 1..8 in an EXIF block (a TIFF structure); 1 when absent or damaged."""
    try:
        for tag, kind, count, at, order in _tiff_entries(tiff):
            if tag == 0x0112 and kind == 3 and count == 1:
                (value,) = struct.unpack_from(order + "H", tiff, at)
                return int(value) if 1 <= value <= 8 else 1
    except (struct.error, PictureFlaw):
        return 1
    return 1


def _jpeg(data: bytes) -> Header:
    at, orientation, size, is_progressive = 2, 1, None, False
    while True:
        if data[at] != 0xFF:
            raise PictureFlaw(RejectReason.UNREADABLE, f"JPEG without a marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _STANDALONE_MARKERS:
            at += 2
            continue
        if marker == 0xD9:
            raise PictureFlaw(RejectReason.TRUNCATED, "JPEG ends before its picture data")
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = at + 4
        if marker in _SOF_MARKERS:
            size = struct.unpack_from(">BHHB", data, body)
            is_progressive = marker & 3 == 2
        elif marker == 0xE1 and data[body : body + 6] == b"Exif\x00\x00":
            orientation = exif_orientation(data[body + 6 : at + 2 + length])
        elif marker == 0xDA:
            break
        at += 2 + length
    if size is None:
        raise PictureFlaw(RejectReason.UNREADABLE, "JPEG without a frame header")
    bits, height, width, components = size
    # Where the first scan of a sequential picture holds every component, libjpeg refuses a second one; looking for
    # more would cost 0.1 ms at 720p.
    has_several_scans = is_progressive or data[body] < components
    if has_several_scans and data.count(b"\xff\xda", at) > MAX_JPEG_SCANS:
        raise PictureFlaw(RejectReason.UNSUPPORTED, f"JPEG with more than {MAX_JPEG_SCANS} scans")
    if bits != 8:
        raise PictureFlaw(RejectReason.UNSUPPORTED, f"JPEG with {bits} bits a sample; expected 8")
    return Header("jpeg", width, height, orientation, components)


def _png(data: bytes) -> Header:
    at, size, orientation, has_data = 8, None, 1, False
    while True:
        if at + 12 > len(data):
            raise PictureFlaw(
                RejectReason.TRUNCATED, f"PNG ends after {len(data)} bytes without its end chunk"
            )
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise PictureFlaw(RejectReason.TRUNCATED, f"PNG chunk at byte {at} is cut off")
        if zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise PictureFlaw(RejectReason.UNREADABLE, f"PNG chunk at byte {at} has a wrong checksum")
        if size is None:
            if kind != b"IHDR" or length != 13:
                raise PictureFlaw(RejectReason.UNREADABLE, "PNG does not start with its header chunk")
            size = struct.unpack_from(">II", data, at + 8)
        elif kind == b"eXIf":
            orientation = exif_orientation(data[at + 8 : end])
        has_data = has_data or kind == b"IDAT"
        at = end + 4
        if kind == b"IEND":
            break
    if not has_data:
        raise PictureFlaw(RejectReason.TRUNCATED, "PNG without picture data")
    return Header("png", size[0], size[1], orientation)


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
    return Header("bmp", width, abs(height))


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
    return Header("webp", size[0], size[1], orientation)


def _tiff(data: bytes) -> Header:
    values: dict[int, tuple[int, ...]] = {}
    for tag, kind, count, at, order in _tiff_entries(data):
        code = {3: "H", 4: "I"}.get(kind)
        if tag in (256, 257, 273, 274, 279, 324, 325) and code is not None and count <= len(data):
            values[tag] = struct.unpack_from(f"{order}{count}{code}", data, at)
    if not values.get(256) or not values.get(257):
        raise PictureFlaw(RejectReason.UNREADABLE, "TIFF without a width and height")
    offsets, sizes = values.get(273) or values.get(324, ()), values.get(279) or values.get(325, ())
    if not offsets or any(at + size > len(data) for at, size in zip(offsets, sizes, strict=False)):
        raise PictureFlaw(RejectReason.TRUNCATED, f"TIFF data lies beyond the {len(data)} bytes of the file")
    orientation = (values.get(274) or (1,))[0]
    return Header("tiff", values[256][0], values[257][0], orientation if 1 <= orientation <= 8 else 1)


def _tiff_entries(data: bytes) -> Iterator[tuple[int, int, int, int, str]]:
    """(tag, type, count, offset of the value, byte order) of each entry of the first directory."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise PictureFlaw(RejectReason.UNREADABLE, "TIFF without a byte order")
    magic, directory = struct.unpack_from(order + "HI", data, 2)
    if magic != 42:
        raise PictureFlaw(RejectReason.UNSUPPORTED, f"TIFF variant {magic}; expected 42")
    (entries,) = struct.unpack_from(order + "H", data, directory)
    for index in range(entries):
        at = directory + 2 + index * 12
        tag, kind, count = struct.unpack_from(order + "HHI", data, at)
        is_inline = count * {3: 2, 4: 4}.get(kind, 8) <= 4
        value_at = at + 8 if is_inline else struct.unpack_from(order + "I", data, at + 8)[0]
        yield tag, kind, count, value_at, order


_PARSERS: tuple[tuple[Callable[[bytes], bool], Callable[[bytes], Header]], ...] = (
    (lambda data: data[:3] == b"\xff\xd8\xff", _jpeg),
    (lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", _png),
    (lambda data: data[:2] == b"BM", _bmp),
    (lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
    (lambda data: data[:4] in (b"II*\x00", b"MM\x00*"), _tiff),
)
