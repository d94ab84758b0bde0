"""The segments of a JPEG up to its first scan. Pure; nothing is decoded."""

import struct
from typing import NamedTuple

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess.header import Header
from edge_runtime.inference.preprocess.tiff_header import exif_orientation

MAX_JPEG_SCANS = 64  # progressive encoders write about 10; thousands are an attack on decode time
MOST_STRAY = 16
"""Bytes that belong to no segment, as some cameras leave before a marker. Measured with random damage: up to here not
one picture more slips through, at 32 a fifth of all."""
DHT, RST0, EOI, SOS, DQT, DRI, APP0, APP1, APP14 = 0xC4, 0xD0, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xE1, 0xEE
SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {DHT, 0xC8, 0xCC}
_STANDALONE_MARKERS = frozenset({0x01, *range(RST0, EOI)})


class Segment(NamedTuple):
    """One marker segment. A tuple: every JPEG has a dozen."""

    marker: int
    start: int
    """Offset of its marker."""
    end: int


def list_segments(data: bytes) -> list[Segment]:
    """All segments up to and with the header of the first scan.

    Raises:
        InputFlaw: no picture data follows, or something else than segments.
        IndexError, struct.error: cut off.
    """
    segments, at = [], 2
    while True:
        if data[at] != 0xFF:
            stray, at = at, data.find(b"\xff", at, at + MOST_STRAY + 1)
            if at < 0:
                raise InputFlaw(RejectReason.UNREADABLE, f"JPEG without a marker at byte {stray}")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in _STANDALONE_MARKERS:
            at += 2
            continue
        if marker == EOI:
            raise InputFlaw(RejectReason.TRUNCATED, "JPEG ends before its picture data")
        (length,) = struct.unpack_from(">H", data, at + 2)
        segments.append(Segment(marker, at, at + 2 + length))
        if marker == SOS:
            return segments
        at += 2 + length


def read_jpeg_header(data: bytes) -> Header:
    """Header of a JPEG.

    Raises:
        InputFlaw: damaged, too many scans, or samples of a kind that is not read.
        IndexError, struct.error: cut off.
    """
    orientation, size, is_progressive = 1, None, False
    segments = list_segments(data)
    for segment in segments:
        body = segment.start + 4
        if segment.marker in SOF_MARKERS:
            if size is not None:
                raise InputFlaw(RejectReason.UNREADABLE, "JPEG with two frame headers")
            size = struct.unpack_from(">BHHB", data, body)
            is_progressive = segment.marker & 3 == 2
        elif segment.marker == APP1 and data[body : body + 6] == b"Exif\x00\x00":
            orientation = exif_orientation(data[body + 6 : segment.end])
    if size is None:
        raise InputFlaw(RejectReason.UNREADABLE, "JPEG without a frame header")
    bits, height, width, components = size
    scan = segments[-1].start
    # Where the first scan of a sequential picture holds every component, libjpeg refuses a second one; looking for
    # more would cost 0.1 ms at 720p.
    has_several_scans = is_progressive or data[scan + 4] < components
    if has_several_scans and data.count(b"\xff\xda", scan) > MAX_JPEG_SCANS:
        raise InputFlaw(RejectReason.UNSUPPORTED, f"JPEG with more than {MAX_JPEG_SCANS} scans")
    if bits != 8:
        raise InputFlaw(RejectReason.UNSUPPORTED, f"JPEG with {bits} bits a sample; expected 8")
    return Header("jpeg", width, height, bytes_per_pixel=max(3, components), orientation=orientation)
