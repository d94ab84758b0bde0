"""A TIFF whose compressed strips or tiles hold too few pixels is rejected: decoders show the rest as black."""

import io
import time
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.datatypes import Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.preprocess.tiff_strips import DEFLATE, PACK_BITS
from edge_runtime.inference.specs import PictureSpec
from tests.support.picture_files import tiff

SIDE = 64
SPEC = PictureSpec(
    colour="rgb", width=SIDE, height=SIDE, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
)
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def prepare(data: bytes) -> Sample | Rejected:
    return PicturePreprocessor(SPEC).prepare(Frame("s", 0, data, 0.0, 0.0))


def pack_bits(raw: bytes) -> bytes:
    return b"".join(
        bytes([len(raw[at : at + 100]) - 1]) + raw[at : at + 100] for at in range(0, len(raw), 100)
    )


PACK = {8: zlib.compress, 32946: zlib.compress, PACK_BITS: pack_bits}


def picture(
    bodies: list[bytes],
    compression: int,
    *,
    more: list[tuple[int, int, list[int]]],
    samples: int = 1,
    bits: int = 8,
) -> bytes:
    """A TIFF of 64 x 64 pixels whose strips or tiles (where ``more`` has their size) are ``bodies``."""
    is_tiled = any(tag == 322 for tag, _, _ in more)
    tags = (324, 325) if is_tiled else (273, 279)

    def build(first: int) -> bytes:
        starts = [first + sum(map(len, bodies[:number])) for number in range(len(bodies))]
        entries = [
            (256, 4, [SIDE]), (257, 4, [SIDE]), (258, 3, [bits] * samples), (259, 3, [compression]),
            (262, 3, [2 if samples >= 3 else 1]), (277, 3, [samples]),
            (tags[0], 4, starts), (tags[1], 4, [len(body) for body in bodies]), *more,
        ]  # fmt: skip
        return tiff(sorted(entries), b"".join(bodies))

    return build(len(build(0)) - sum(map(len, bodies)))


LAYOUTS: dict[str, tuple[list[int], dict[str, Any]]] = {
    "one strip": ([4096], {"more": [(278, 4, [64])]}),
    "rows of a strip left out": ([4096], {"more": []}),
    "more rows than there are": ([4096], {"more": [(278, 4, [2**32 - 1])]}),
    "four strips": ([1024] * 4, {"more": [(278, 4, [16])]}),
    "short last strip": ([1600, 1600, 896], {"more": [(278, 4, [25])]}),
    "colour": ([12288], {"more": [(278, 4, [64]), (284, 3, [1])], "samples": 3}),
    "planes": ([2048] * 6, {"more": [(278, 4, [32]), (284, 3, [2])], "samples": 3}),
    "16 bits": ([4096, 4096], {"more": [(278, 4, [32])], "bits": 16}),
    "tiles": ([1024] * 4, {"more": [(322, 4, [32]), (323, 4, [32])]}),
    "tiles beyond the edge": ([48 * 48] * 4, {"more": [(322, 4, [48]), (323, 4, [48])]}),
}


@pytest.mark.parametrize("compression", [*DEFLATE, PACK_BITS])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_part_must_hold_its_pixels(name: str, compression: int) -> None:
    sizes, keys = LAYOUTS[name]
    whole = [PACK[compression](bytes([200]) * size) for size in sizes]
    assert isinstance(prepare(picture(whole, compression, **keys)), Sample)
    for number, size in enumerate(sizes):
        for kept in (0, size // 4, size - 1):
            short = [*whole]
            short[number] = PACK[compression](bytes([200]) * kept)
            got = prepare(picture(short, compression, **keys))
            assert isinstance(got, Rejected), (number, kept)
            assert got.reason is RejectReason.TRUNCATED
    if len(whole) > 1:
        assert isinstance(prepare(picture(whole[:-1], compression, **keys)), Rejected)


@pytest.mark.parametrize("compression", [8, PACK_BITS])
def test_bits_in_the_other_order_are_read(compression: int) -> None:
    body = PACK[compression](bytes([200]) * 4096).translate(REVERSED)
    got = prepare(picture([body], compression, more=[(266, 3, [2])]))
    assert isinstance(got, Sample)
    assert set(np.unique(got.tensor)) == {200.0}


@pytest.mark.parametrize("damage", [bytes(20), b"\x78\x9c" + bytes([255] * 20)])
def test_damaged_data_is_refused(damage: bytes) -> None:
    assert isinstance(prepare(picture([damage], 8, more=[])), Rejected)


TAGS_OF_SHARED = [
    (256, 4, [SIDE]), (257, 4, [SIDE]), (258, 3, [8]), (259, 3, [8]), (262, 3, [1]), (277, 3, [1]), (278, 4, [1]),
    (273, 4, [0] * SIDE), (279, 4, [0] * SIDE),
]  # fmt: skip


def test_strips_that_share_their_bytes_do_not_multiply_the_work() -> None:
    empty = b"\x78\x01" + b"\x00\x00\x00\xff\xff" * 100_000  # deflated blocks of no bytes
    at = len(tiff(TAGS_OF_SHARED))
    entries = [*TAGS_OF_SHARED[:-2], (273, 4, [at] * SIDE), (279, 4, [len(empty)] * SIDE)]
    started_s = time.process_time()
    assert isinstance(prepare(tiff(sorted(entries), empty)), Rejected)
    assert time.process_time() - started_s < 5


def test_more_than_is_needed_is_passed_over() -> None:
    assert isinstance(prepare(picture([zlib.compress(bytes([200]) * 9_000_000)], 8, more=[])), Sample)


@pytest.mark.parametrize(
    "compression", ["tiff_deflate", "tiff_adobe_deflate", "packbits", "tiff_lzw", "jpeg", "group4"]
)
def test_what_encoders_write_is_read(compression: str) -> None:
    pixels: NDArray[Any] = np.random.default_rng(0).integers(0, 256, (333, 217, 3), np.uint8)
    target = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert("1") if compression == "group4" else image).save(target, "TIFF", compression=compression)
    assert isinstance(prepare(target.getvalue()), Sample)
