"""The decoder gets the size that was checked, and nothing to inflate but pixels."""

import struct
import time
import zlib
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.datatypes import Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.preprocess.decode import select_bytes
from edge_runtime.inference.preprocess.headers import read_header
from edge_runtime.inference.preprocess.png_header import MOST_CHUNKS
from edge_runtime.inference.specs import PictureSpec
from tests.support.picture_files import exif, png_chunk

SPEC = PictureSpec(
    colour="rgb", width=32, height=32, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
)
SIDE = 32
SIGNATURE = b"\x89PNG\r\n\x1a\n"
BOMB = zlib.compress(bytes(4 << 20), 9)


def prepare(data: bytes) -> Sample | Rejected:
    return PicturePreprocessor(SPEC).prepare(Frame("s", 0, data, 0.0, 0.0))


def ihdr(width: int = SIDE, height: int = SIDE) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


IDAT = png_chunk(b"IDAT", zlib.compress((b"\0" + bytes([200, 100, 50] * SIDE)) * SIDE))
IEND = png_chunk(b"IEND", b"")
SMALL_FRAME = struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 1, 10, 0, 0)
LARGE_FRAME = struct.pack(">IIIIIHHBB", 0, 60_000, 60_000, 0, 0, 1, 10, 0, 0)

UNUSED: dict[str, bytes] = {
    "compressed text": png_chunk(b"zTXt", b"key\0\0" + BOMB),
    "compressed international text": png_chunk(b"iTXt", b"key\0\1\0\0\0" + BOMB),
    "plain text": png_chunk(b"tEXt", b"key\0" + bytes(100_000)),
    "many texts": png_chunk(b"zTXt", b"key\0\0" + BOMB) * 500,
    "profile": png_chunk(b"iCCP", b"name\0\0" + BOMB),
    "EXIF": png_chunk(b"eXIf", exif(1) + bytes(100_000)),
    "animation of a huge picture": png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    + png_chunk(b"fcTL", LARGE_FRAME),
    "animation": png_chunk(b"acTL", struct.pack(">II", 1, 0)) + png_chunk(b"fcTL", SMALL_FRAME),
    "private": png_chunk(b"vpAg", bytes(50_000)),
    "suggested palettes": png_chunk(b"sPLT", b"name\0\x08" + bytes(60_000)) * 100,
    "histogram": png_chunk(b"hIST", bytes(512)),
    "time and resolution": png_chunk(b"tIME", bytes(7)) + png_chunk(b"pHYs", bytes(9)),
    "background": png_chunk(b"bKGD", bytes(6)),
    "gamma": png_chunk(b"gAMA", struct.pack(">I", 1)) + png_chunk(b"cHRM", bytes(32)),
}


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", UNUSED)
def test_a_png_decoder_sees_no_chunk_that_makes_no_pixels(name: str, place: str) -> None:
    extra = UNUSED[name]
    middle = extra + IDAT if place == "before" else IDAT + extra
    data = SIGNATURE + ihdr() + middle + IEND + b"trailing"
    plain = SIGNATURE + ihdr() + IDAT + IEND
    assert select_bytes(data, read_header(data)) == plain
    got, expected = prepare(data), prepare(plain)
    assert isinstance(got, Sample)
    assert isinstance(expected, Sample)
    np.testing.assert_array_equal(got.tensor, expected.tensor)


def test_a_png_without_extras_is_not_copied() -> None:
    data = SIGNATURE + ihdr() + IDAT + IEND
    assert select_bytes(data, read_header(data)) is data


@pytest.mark.parametrize(
    "data",
    [
        SIGNATURE + ihdr() + ihdr(60_000, 60_000) + IDAT + IEND,
        SIGNATURE + ihdr(4, 4) + ihdr() + IDAT + IEND,
        SIGNATURE + ihdr() + IDAT + ihdr(60_000, 60_000) + IEND,
        SIGNATURE + ihdr() + png_chunk(b"tRNS", bytes(6)) * 2 + IDAT + IEND,
        SIGNATURE + ihdr() + png_chunk(b"PLTE", bytes(6)) * 2 + IDAT + IEND,
    ],
)
def test_a_png_with_two_headers_is_refused(data: bytes) -> None:
    with pytest.raises(InputFlaw, match="two chunks"):
        read_header(data)


def test_a_late_transparency_is_passed_over_as_decoders_do() -> None:
    data = SIGNATURE + ihdr() + IDAT + png_chunk(b"tRNS", struct.pack(">HHH", 200, 100, 50)) + IEND
    header = read_header(data)
    assert header.bytes_per_pixel == 3
    assert b"tRNS" not in select_bytes(data, header)


def test_a_png_of_countless_chunks_is_refused() -> None:
    data = SIGNATURE + ihdr() + png_chunk(b"tEXt", b"") * MOST_CHUNKS + IDAT + IEND
    started_s = time.process_time()
    with pytest.raises(InputFlaw, match="more than"):
        read_header(data)
    assert time.process_time() - started_s < 5


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2)


def webp(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def picture(side: int, quality: int) -> bytes:
    pixels = np.full((side, side, 3), (10, 200, 30), np.uint8)
    return cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()[12:]


def int24(*values: int) -> bytes:
    return b"".join(value.to_bytes(3, "little") for value in values)


def vp8x(width: int = SIDE, height: int = SIDE, flags: int = 0) -> bytes:
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + int24(width - 1, height - 1))


def anmf(body: bytes, width: int = SIDE, height: int = SIDE, x: int = 0, y: int = 0) -> bytes:
    return chunk(b"ANMF", int24(x, y, width - 1, height - 1, 100) + b"\0" + body)


LOSSY, LOSSLESS, LARGE = picture(SIDE, 80), picture(SIDE, 101), picture(2000, 101)
HUGE = chunk(b"VP8L", b"\x2f" + struct.pack("<I", 16382 | 16382 << 14) + bytes(50))
ANIM = chunk(b"ANIM", bytes(6))
ANIMATED = 2


@pytest.mark.parametrize(
    "data",
    [
        webp(LOSSY),
        webp(LOSSLESS),
        webp(vp8x(), LOSSY),
        webp(vp8x(), LOSSLESS, chunk(b"EXIF", exif(1))),
        webp(vp8x(), chunk(b"ICCP", bytes(101)), LOSSY, chunk(b"XMP ", b"odd")),
        webp(LOSSY, chunk(b"note", b"abc")),
        webp(vp8x(flags=ANIMATED), ANIM, anmf(LOSSY), anmf(LOSSLESS)),
        webp(vp8x(64, 64, flags=ANIMATED), ANIM, anmf(LOSSY, x=16, y=16)),
    ],
)
def test_a_webp_whose_sizes_agree_is_read(data: bytes) -> None:
    assert isinstance(prepare(data), Sample)


DISAGREEING: dict[str, Any] = {
    "huge picture, small size behind it": webp(HUGE, vp8x()),
    "large picture, small size behind it": webp(LARGE, vp8x()),
    "small size, huge picture": webp(vp8x(), HUGE),
    "large size, small picture": webp(vp8x(2000, 2000), LOSSY),
    "two sizes": webp(vp8x(), vp8x(2000, 2000), LOSSY),
    "two sizes that agree": webp(vp8x(), vp8x(), LOSSY),
    "two pictures": webp(LOSSY, HUGE),
    "two pictures, large first": webp(LARGE, LOSSY),
    "lossy and lossless": webp(vp8x(), LOSSY, LOSSLESS),
    "note before size": webp(chunk(b"note", b"ab"), vp8x(), LOSSY),
    "note before picture": webp(chunk(b"note", b"ab"), LOSSY),
    "long size": webp(chunk(b"VP8X", bytes(4) + int24(SIDE - 1, SIDE - 1) + bytes(2)), LOSSY),
    "no picture": webp(vp8x()),
    "nothing": webp(chunk(b"note", b"ab")),
    "animation with a large picture": webp(vp8x(flags=ANIMATED), ANIM, anmf(LARGE)),
    "animation with a picture beyond it": webp(vp8x(flags=ANIMATED), ANIM, anmf(LARGE, 2000, 2000)),
    "animation with a picture at its edge": webp(vp8x(flags=ANIMATED), ANIM, anmf(LOSSY, x=8)),
    "animation, second picture large": webp(vp8x(flags=ANIMATED), ANIM, anmf(LOSSY), anmf(HUGE)),
    "animation and a huge picture": webp(vp8x(flags=ANIMATED), HUGE, ANIM, anmf(LOSSY)),
    "animation, two pictures in one": webp(vp8x(flags=ANIMATED), ANIM, anmf(LOSSY + HUGE)),
    "animation without its flag": webp(vp8x(), ANIM, anmf(LOSSY)),
    "animation without pictures": webp(vp8x(flags=ANIMATED), ANIM),
}


@pytest.mark.parametrize("name", DISAGREEING)
def test_a_webp_whose_sizes_disagree_is_refused_from_its_header(name: str) -> None:
    with pytest.raises(InputFlaw, match="WebP with") as caught:
        read_header(DISAGREEING[name])
    assert caught.value.reason is RejectReason.UNREADABLE


def test_a_webp_of_countless_chunks_is_refused() -> None:
    with pytest.raises(InputFlaw, match="more than"):
        read_header(webp(vp8x(), chunk(b"note", b"") * 20_000, LOSSY))


def test_a_jpeg_with_two_frame_headers_is_refused() -> None:
    data = cv2.imencode(".jpg", np.full((SIDE, SIDE, 3), 99, np.uint8))[1].tobytes()
    at = data.index(b"\xff\xc0")
    segment = bytearray(data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4])])
    segment[5:9] = struct.pack(">HH", 60_000, 60_000)
    with pytest.raises(InputFlaw, match="two frame headers"):
        read_header(data[:at] + bytes(segment) + data[at:])
