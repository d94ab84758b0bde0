"""Binary netpbm pictures (.pbm, .pgm, .ppm), which machine cameras write: header and pixels."""

import re

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess.header import Header

_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEAD = re.compile(rb"P[456]" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + rb"(?=[\s#])")
_MOST_LEVEL = re.compile(_GAP + rb"(\d{1,5})(?=\s)")
_LONGER_END = re.compile(rb"\r\n|\s#[^\n]*\n")
_CHANNELS = {b"P4": 1, b"P5": 1, b"P6": 3}


def is_netpbm(data: bytes) -> bool:
    """Whether it begins like one, binary or as text."""
    return re.match(rb"P[1-6][\s#]", data) is not None


def read_netpbm_header(data: bytes) -> Header:
    """Header of a netpbm picture.

    Raises:
        InputFlaw: the variant written as text, damaged, or shorter than it says.
    """
    width, height, most, at = _read_head(data)
    channels, size = _CHANNELS[data[:2]], _count_bytes(data, width, height, most)
    if len(data) < at + size:
        raise InputFlaw(RejectReason.TRUNCATED, f"netpbm of {len(data)} bytes; its header needs {at + size}")
    return Header("netpbm", width, height, bytes_per_pixel=channels * _depth(most))


def decode_netpbm(data: bytes) -> tuple[NDArray[np.uint8], bool]:
    """The pixels as uint8 (H,W) or RGB (H,W,3), 255 is the picture's own maximum; and whether they are RGB.

    ``data`` has passed ``read_netpbm_header``.
    """
    width, height, most, at = _read_head(data)
    if data[:2] == b"P4":
        rows = np.frombuffer(data, np.uint8, height * -(-width // 8), at).reshape(height, -1)
        return (1 - np.unpackbits(rows, axis=1, count=width)) * np.uint8(255), False
    channels = _CHANNELS[data[:2]]
    shape = (height, width) if channels == 1 else (height, width, channels)
    stored = np.frombuffer(data, ">u2" if most > 255 else np.uint8, height * width * channels, at).reshape(
        shape
    )
    if most == 255:
        return stored.astype(np.uint8, copy=False), channels == 3
    levels = (np.arange(most + 1) * 255 / most + 0.5).astype(np.uint8)
    pixels = np.empty(shape, np.uint8)
    for row, out in zip(stored, pixels, strict=True):  # row by row: an index array is eight times the picture
        out[...] = levels[np.minimum(row, most)]
    return pixels, channels == 3


def _depth(most: int) -> int:
    return 2 if most > 255 else 1


def _read_head(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, the highest level, offset of the pixels."""
    if data[:2] in (b"P1", b"P2", b"P3"):
        raise InputFlaw(RejectReason.UNSUPPORTED, "netpbm written as text; expected the binary variant")
    head = _HEAD.match(data[:4096])
    most = None if head is None or data[:2] == b"P4" else _MOST_LEVEL.match(data[:4096], head.end())
    if head is None or (most is None and data[:2] != b"P4"):
        raise InputFlaw(RejectReason.UNREADABLE, "netpbm without a size and a highest level")
    level = 1 if most is None else int(most[1])
    if not 1 <= level <= 65_535:
        raise InputFlaw(
            RejectReason.UNREADABLE, f"netpbm with a highest level of {level}; expected 1 to 65535"
        )
    width, height, at = int(head[1]), int(head[2]), (head if most is None else most).end() + 1
    size = _count_bytes(data, width, height, level)
    # One character ends the header. Writers with CRLF lines, or a comment there, put more: the length tells.
    longer = _LONGER_END.match(data[at - 1 : at + 4096])
    if longer is not None and at - 1 + longer.end() + size == len(data):
        at += longer.end() - 1
    return width, height, level, at


def _count_bytes(data: bytes, width: int, height: int, most: int) -> int:
    """Of the pixels."""
    row = -(-width // 8) if data[:2] == b"P4" else width * _CHANNELS[data[:2]] * _depth(most)
    return height * row
