"""A JPEG that libjpeg warns about, made anew without what is harmless in it.

Strict decoding refuses a picture at libjpeg's first warning and does not see what comes behind it; decoding that is
not strict fills what is damaged with grey. Some cameras send irregular files in which every pixel is there: bytes
before a marker, no end marker, odd numbers in a header. So these are taken out, and the rest is decoded strictly again:
a picture with real damage behind the harmless warning is still refused. Pure.
"""

import re
import struct
from collections.abc import Callable

from edge_runtime.inference.preprocess.jpeg_header import (
    APP0,
    APP14,
    DHT,
    DQT,
    DRI,
    EOI,
    MOST_STRAY,
    RST0,
    SOF_MARKERS,
    SOS,
    list_segments,
)

StrayBytes = Callable[[bytes], int | None]
"""Decodes a JPEG strictly: 0 when that succeeds; the bytes before the end marker that belong to no pixel, when these
are the first thing that is wrong; else None."""

_MENDABLE = re.compile(
    "extraneous bytes before marker|Premature end of JPEG file|unknown JFIF revision|Adobe color transform"
    "|Invalid SOS parameters"
)
_SOI, _END = b"\xff\xd8", bytes([0xFF, EOI])
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_MOST_INTERVALS = 10_000
_LAST_SEQUENTIAL = 0xC1  # of the frame markers
_MOST_SIDE = 65_500  # libjpeg's limit


def is_mendable(words: str) -> bool:
    """Whether libjpeg's first warning is of a kind that may be harmless."""
    return _MENDABLE.search(words) is not None


def mend(data: bytes, stray_bytes: StrayBytes) -> bytes | None:
    """The same picture in a regular file; None when it is damaged, or irregular in a way that is not known here.

    ``data`` has passed ``read_jpeg_header``.
    """
    listed = list_segments(data)
    frame = next(data[s.start : s.end] for s in listed if s.marker in SOF_MARKERS)
    if len(frame) < 10 or len(frame) < 10 + 3 * frame[9]:
        return None
    is_sequential = frame[1] <= _LAST_SEQUENTIAL
    segments = [(s.marker, _normalise(s.marker, data[s.start : s.end], is_sequential)) for s in listed]
    head, scan = _SOI + b"".join(segment for _, segment in segments), data[listed[-1].end :]
    if not is_sequential or data[listed[-1].start + 4] < frame[9]:  # progressive, or in several scans
        return _cut(head, scan[: scan.rfind(_END)], stray_bytes) if _END in scan else None
    found = _AFTER_SCAN.search(scan)
    if found is not None and found[0] != _END:
        return None
    scan = scan if found is None else scan[: found.start()]
    intervals = _RESTART.split(scan, maxsplit=_MOST_INTERVALS)
    if len(intervals) == 1:
        return _cut(head, scan, stray_bytes)
    whole = _mend_intervals(segments, frame, intervals, stray_bytes)
    if whole is None:
        return None
    numbers = [match[0][1] - RST0 for match in _RESTART.finditer(scan)]
    if numbers != [number % 8 for number in range(len(numbers))]:
        return None
    joined = b"".join(part + bytes([0xFF, RST0 + number % 8]) for number, part in enumerate(whole[:-1]))
    return head + joined + whole[-1] + _END


def _cut(head: bytes, scan: bytes, stray_bytes: StrayBytes) -> bytes | None:
    stray = stray_bytes(head + scan + _END)
    if stray is None or not _is_padding(scan[len(scan) - stray :]):
        return None
    return head + scan[: len(scan) - stray] + _END


def _is_padding(stray: bytes) -> bool:
    """Few bytes, or one byte repeated: a lost block of pixels leaves more, and different ones."""
    return len(stray) <= MOST_STRAY or len(set(stray)) == 1


def _normalise(marker: int, segment: bytes, is_sequential: bool) -> bytes:
    """A header segment without the numbers that libjpeg warns of and then takes as they are here."""
    body = bytearray(segment)
    if marker == APP0 and body[4:9] == b"JFIF\x00" and len(body) > 9:
        body[9] = 1  # version
    elif marker == APP14 and body[4:9] == b"Adobe" and len(body) > 15:
        body[15] = min(body[15], 2)  # colour transform; libjpeg supposes YCC or YCCK
    elif marker == SOS and is_sequential:
        body[-3:] = b"\x00\x3f\x00"  # all coefficients of a block, in full
    return bytes(body)


def _mend_intervals(
    segments: list[tuple[int, bytes]], frame: bytes, intervals: list[bytes], stray_bytes: StrayBytes
) -> list[bytes] | None:
    """Each interval between two restart markers is a picture by itself: a row of blocks. So each is looked at alone."""
    every = next((int.from_bytes(segment[4:6]) for marker, segment in segments if marker == DRI), 0)
    height, width, components = struct.unpack_from(">HHB", frame, 5)
    factors = [(byte >> 4, byte & 15) for byte in frame[11 : 11 + 3 * components : 3]]
    block_width, block_height = (
        8 * max(f[axis] for f in factors) if components > 1 else 8 for axis in (0, 1)
    )
    if not every or not block_width or not block_height or len(intervals) > _MOST_INTERVALS:
        return None
    blocks = -(-width // block_width) * -(-height // block_height)
    if -(-blocks // every) != len(intervals) or every * block_width > _MOST_SIDE:
        return None
    tables = b"".join(segment for marker, segment in segments if marker in (DQT, DHT, DRI))
    scan_header = segments[-1][1]
    mended = []
    for number, interval in enumerate(intervals):
        count = min(every, blocks - number * every)
        small = frame[:5] + struct.pack(">HH", block_height, count * block_width) + frame[9:]
        start = _SOI + tables + small + scan_header
        end = _find_end(interval, lambda part, start=start: stray_bytes(start + part + _END) is not None)  # type: ignore[misc]
        if end is None:
            return None
        mended.append(interval[:end])
    return mended


def _find_end(interval: bytes, is_whole: Callable[[bytes], bool]) -> int | None:
    """Where the pixels of an interval end; None when some are missing, or more follows than padding.

    Found by leaving bytes out: libjpeg's number of stray bytes leaves out those that its decoder has fetched already.
    """
    if not is_whole(interval):
        return None
    end, filled = len(interval), len(interval.rstrip(interval[-1:]))
    if end - filled > MOST_STRAY:
        end = next((at for at in range(filled, filled + MOST_STRAY) if is_whole(interval[:at])), end)
    least = max(0, end - MOST_STRAY)
    while end > least and is_whole(interval[: end - 1]):
        end -= 1
    return (
        end if _is_padding(interval[end:]) and not (end == least and is_whole(interval[: end - 1])) else None
    )
