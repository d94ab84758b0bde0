"""A JPEG that libjpeg warns about is used when every pixel is there, and refused when one is not."""

import io
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_runtime.datatypes import Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.preprocess.jpeg_header import MOST_STRAY
from edge_runtime.inference.specs import PictureSpec

SPEC = PictureSpec(
    colour="rgb", width=96, height=80, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
)
PIXELS = np.random.default_rng(3).integers(0, 256, (20, 24, 3), np.uint8).repeat(4, 0).repeat(4, 1)


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(target, "JPEG", quality=85, **options)
    return target.getvalue()


PLAIN = jpeg()
RESTARTS = jpeg(restart_marker_blocks=2)
ROWS = jpeg(restart_marker_rows=1)
GREY_RESTARTS = jpeg("L", restart_marker_blocks=5)
PROGRESSIVE = jpeg(progressive=True)
ADOBE = PLAIN[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01" + PLAIN[2:]


def answer(data: bytes) -> Sample | Rejected:
    return PicturePreprocessor(SPEC).prepare(Frame("s", 1, data, 0.0, 0.0))


def before(data: bytes, marker: bytes, stray: bytes, nth: int = 0) -> bytes:
    """``stray`` put before the ``nth`` place of a marker."""
    at = data.index(b"\xff\xda")
    for _ in range(nth + 1):
        at = data.index(marker, at + 1)
    return data[:at] + stray + data[at:]


def segment_before(data: bytes, marker: bytes, stray: bytes) -> bytes:
    at = data.index(marker)
    return data[:at] + stray + data[at:]


HARMLESS = {
    "1 before the end": (PLAIN, before(PLAIN, b"\xff\xd9", b"\x00")),
    "2 before the end": (PLAIN, before(PLAIN, b"\xff\xd9", b"\x12\x34")),
    "16 before the end": (PLAIN, before(PLAIN, b"\xff\xd9", bytes(range(1, 17)))),
    "fill before the end": (PLAIN, before(PLAIN, b"\xff\xd9", b"\x00" * 900)),
    "other fill before the end": (PLAIN, before(PLAIN, b"\xff\xd9", b"\xaa" * 99)),
    "no end": (PLAIN, PLAIN[:-2]),
    "half an end": (PLAIN, PLAIN[:-1]),
    "no end, fill": (PLAIN, PLAIN[:-2] + bytes(64)),
    "no end after restarts": (RESTARTS, RESTARTS[:-2]),
    "before the first restart": (RESTARTS, before(RESTARTS, b"\xff\xd0", b"\x01\x02")),
    "before a later restart": (RESTARTS, before(RESTARTS, b"\xff\xd3", b"\x80", nth=1)),
    "before two restarts": (
        RESTARTS, before(before(RESTARTS, b"\xff\xd1", b"\x80"), b"\xff\xd6", b"\x01\x02\x03\x04")
    ),
    "restarts a row": (ROWS, before(ROWS, b"\xff\xd2", b"\x01\x02\x03")),
    "grey restarts": (GREY_RESTARTS, before(GREY_RESTARTS, b"\xff\xd5", b"\x55\x56")),
    "restart and end": (RESTARTS, before(before(RESTARTS, b"\xff\xd2", b"\x07"), b"\xff\xd9", b"\x01\x02\x03")),
    "every restart": (RESTARTS, re.sub(rb"(\xff[\xd0-\xd7])", b"\x2a\x17\\1", RESTARTS)),
    "16 before a restart": (RESTARTS, before(RESTARTS, b"\xff\xd1", bytes(range(1, 17)))),
    "fill before a restart": (RESTARTS, before(RESTARTS, b"\xff\xd1", bytes(200))),
    "progressive": (PROGRESSIVE, before(PROGRESSIVE, b"\xff\xd9", b"\x01\x02\x03")),
    "before a table": (PLAIN, segment_before(PLAIN, b"\xff\xc4", b"\x01\x02")),
    "before the frame header": (PLAIN, segment_before(PLAIN, b"\xff\xc0", b"\x00")),
    "jfif 3": (PLAIN, PLAIN.replace(b"JFIF\x00\x01", b"JFIF\x00\x03")),
    "no coefficients in the scan header": (PLAIN, PLAIN.replace(b"\x00\x3f\x00", b"\x00\x00\x00", 1)),
    "transform 7": (ADOBE, ADOBE.replace(b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x07", 1)),
    "text after the end": (PLAIN, PLAIN + b"\r\n--boundary\r\n"),
    "line break at the start": (PLAIN, b"\r\n" + PLAIN),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_an_irregular_picture_with_every_pixel_is_the_regular_one(name: str) -> None:
    regular, irregular = HARMLESS[name]
    found, wanted = answer(irregular), answer(regular)
    assert isinstance(found, Sample), found
    assert isinstance(wanted, Sample)
    np.testing.assert_array_equal(found.tensor, wanted.tensor)


def without_interval(data: bytes, nth: int) -> bytes:
    """One interval between two restart markers is lost, as a packet is."""
    start = data.index(b"\xff\xda")
    at = [i for i in range(start, len(data) - 1) if data[i] == 0xFF and 0xD0 <= data[i + 1] <= 0xD7]
    first, last = list(pairwise(at))[nth]
    return data[:first] + data[last:]


def shortened(data: bytes, nth: int) -> bytes:
    """Ten bytes in the middle of an interval are lost."""
    at = data.index(bytes([0xFF, 0xD0 + nth]), data.index(b"\xff\xda")) + 20
    return data[:at] + data[at + 10 :]


DAMAGED = {
    "the last block is lost": PLAIN[:-14],
    "half is lost": PLAIN[: len(PLAIN) // 2],
    "half is lost, with an end": PLAIN[: len(PLAIN) // 2] + b"\xff\xd9",
    "other bytes before the end": before(PLAIN, b"\xff\xd9", bytes(range(1, MOST_STRAY + 30))),
    "other bytes before a restart": before(RESTARTS, b"\xff\xd2", bytes(range(1, MOST_STRAY + 30))),
    "an interval is lost": without_interval(RESTARTS, 2),
    "restarts out of order": RESTARTS.replace(b"\xff\xd3", b"\xff\xd4", 1),
    "stray, then damage": shortened(before(RESTARTS, b"\xff\xd0", bytes(range(1, 13))), 7),
    "stray, then cut": before(RESTARTS, b"\xff\xd0", b"\x01")[:-60],
    "stray, then cut, with an end": before(RESTARTS, b"\xff\xd0", b"\x01")[:-60] + b"\xff\xd9",
    "jfif 3, then damage": PLAIN[: len(PLAIN) * 3 // 4].replace(b"JFIF\x00\x01", b"JFIF\x00\x03") + b"\xff\xd9",
    "progressive without its end": PROGRESSIVE[:-2],
    "progressive cut": PROGRESSIVE[: len(PROGRESSIVE) * 3 // 4] + b"\xff\xd9",
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_picture_that_lost_a_pixel_is_refused(name: str) -> None:
    found = answer(DAMAGED[name])
    assert isinstance(found, Rejected)
    assert found.reason in (RejectReason.TRUNCATED, RejectReason.UNREADABLE)


@pytest.mark.parametrize("data", [PLAIN, RESTARTS, PROGRESSIVE], ids=["plain", "restarts", "progressive"])
def test_truncated_at_every_percent_is_refused(data: bytes) -> None:
    answers = [answer(data[: len(data) * percent // 100]) for percent in range(1, 100)]
    assert sum(isinstance(one, Rejected) for one in answers) == 99


def test_very_many_intervals_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_runtime.inference.preprocess.jpeg_mending._MOST_INTERVALS", 4)
    assert isinstance(answer(before(RESTARTS, b"\xff\xd0", bytes(range(1, 13)))), Rejected)
