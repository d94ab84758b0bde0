"""What a picture may cost: memory in proportion to its pixels, refused from its header when that is too much."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.config import PicturesConfig
from edge_runtime.datatypes import Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.preprocess import PictureLimits, PicturePreprocessor
from edge_runtime.inference.preprocess.geometry import _filter_taps, resize
from edge_runtime.inference.preprocess.limits import MOST_SIDE
from edge_runtime.inference.specs import PictureSpec
from tests.support.picture_files import png, png_chunk, tiff, tiff_picture


def spec(**changes: Any) -> PictureSpec:
    fields: dict[str, Any] = {
        "colour": "rgb", "width": 32, "height": 32, "geometry": "stretch", "filter": "area",
        "mean": (0, 0, 0), "std": (1, 1, 1),
    }  # fmt: skip
    return PictureSpec(**{**fields, **changes})


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that NumPy and Python had in use at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SIDE = 1000
MEGAPIXEL = cv2.resize(np.random.default_rng(0).integers(0, 256, (20, 20, 4), np.uint8), (SIDE, SIDE))
DEEP = MEGAPIXEL.astype(np.uint16) * np.uint16(257)
PICTURES: dict[str, tuple[Any, int]] = {
    "rgb": (png(MEGAPIXEL[..., :3], colour_type=2), 3),
    "rgba": (png(MEGAPIXEL, colour_type=6), 4),
    "rgb 16 bits": (png(DEEP[..., :3], bits=16, colour_type=2), 3),
    "rgba 16 bits": (png(DEEP, bits=16, colour_type=6), 4),
    "grey alpha 16 bits": (png(DEEP[..., :2], bits=16, colour_type=4), 2),
    "tiff turned": (tiff_picture(MEGAPIXEL[..., :3], orientation=5), 3),
    "tiff rgba 16 bits": (tiff_picture(DEEP, extra_samples=[2]), 4),
    "ppm 16 bits": (b"P6 1000 1000 1023\n" + DEEP[..., :3].astype(">u2").tobytes(), 3),
    "pbm": (b"P4 1000 1000\n" + bytes(125_000), 1),
    "array rgba": (MEGAPIXEL, 4),
    "array 16 bits": (DEEP, 4),
    "array fortran": (np.asfortranarray(MEGAPIXEL[..., :3]), 3),
}


@pytest.mark.parametrize("filter_name", ["area", "antialias_bicubic"])
@pytest.mark.parametrize("name", PICTURES)
def test_preparing_takes_a_few_times_the_memory_of_the_pixels(name: str, filter_name: str) -> None:
    picture, channels = PICTURES[name]
    preprocessor = PicturePreprocessor(spec(filter=filter_name))
    frame = Frame("s", 0, picture, 0.0, 0.0, colour="rgba")
    peak = peak_of(lambda: preprocessor.prepare(frame))
    assert isinstance(preprocessor.prepare(frame), Sample)
    assert peak <= 4 * SIDE * SIDE * channels + (8 << 20)


@pytest.mark.parametrize("shape", [(16, MOST_SIDE), (MOST_SIDE, 16)])
@pytest.mark.parametrize("filter_name", ["area", "antialias_bilinear", "antialias_bicubic"])
@pytest.mark.parametrize("geometry", ["stretch", "letterbox", "crop"])
def test_a_long_picture_takes_no_more(shape: tuple[int, int], filter_name: str, geometry: str) -> None:
    preprocessor = PicturePreprocessor(spec(filter=filter_name, geometry=geometry, width=64, height=64))
    frame = Frame("s", 0, np.full(shape, 77, np.uint8), 0.0, 0.0)
    assert peak_of(lambda: preprocessor.prepare(frame)) <= 16 << 20


@pytest.mark.parametrize(
    ("rows", "columns"), [(40, 700), (700, 40), (300, 300), (20, 20), (20, 700), (700, 20)]
)
def test_blocks_and_the_order_of_the_axes_change_no_pixel_by_more_than_a_level(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = np.random.default_rng(0).integers(80, 176, (5, 5, 3), np.uint8)
    pixels = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)
    whole = resize(pixels, 64, 64, "antialias_bicubic")
    monkeypatch.setattr("edge_runtime.inference.preprocess.geometry._BLOCK", 999)
    np.testing.assert_array_equal(resize(pixels, 64, 64, "antialias_bicubic"), whole)
    other = resize(pixels.swapaxes(0, 1), 64, 64, "antialias_bicubic").swapaxes(0, 1)
    assert np.abs(other.astype(int) - whole).max() <= 1


def test_the_kept_filters_are_bounded_in_bytes() -> None:
    _filter_taps.cache_clear()
    most = 0
    for number in range(40):
        first, weights = _filter_taps(MOST_SIDE - number, 224, cubic=True)
        most = max(most, first.nbytes + weights.nbytes)
    held = _filter_taps.cache_info().currsize
    _filter_taps.cache_clear()
    assert most * held <= 48 << 20


def test_reading_a_file_takes_the_memory_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(np.zeros((8, 8, 3), np.uint8), colour_type=2))
    preprocessor = PicturePreprocessor(spec())
    assert peak_of(lambda: preprocessor.prepare(Frame("s", 0, path, 0.0, 0.0))) < 1 << 20


def bomb_png(width: int, height: int, bits: int = 8, colour_type: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x") + png_chunk(b"IEND", b"")
    )


def bomb_tiff(width: int, height: int, *, samples: int = 3, bits: int = 8, is_big: bool = False) -> bytes:
    kind = 16 if is_big else 4
    entries = [(256, kind, [width]), (257, kind, [height]), (258, 3, [bits] * samples), (259, 3, [5]), (262, 3, [2]),
               (273, 4, [-1]), (277, 3, [samples]), (279, 4, [1])]  # fmt: skip
    return tiff(entries, b"x", is_big=is_big)


LIMITS = PictureLimits(max_pixels=1_000_000, max_bytes=1_000_000)


@pytest.mark.parametrize("data", [
    bomb_png(1001, 1000), bomb_png(999, 999, 16, 6), bomb_png(999, 999, 16, 2), bomb_png(MOST_SIDE + 1, 4, 1, 0),
    bomb_png(4, 2**31 - 1), bomb_tiff(1001, 1000), bomb_tiff(999, 999, bits=16),
    bomb_tiff(999, 999, samples=4, bits=16), bomb_tiff(2**40, 8, is_big=True),
    bomb_tiff(MOST_SIDE + 1, 4), bytes(1_000_001),
], ids=range(11))  # fmt: skip
def test_a_bomb_is_refused_before_memory_is_spent(data: bytes) -> None:
    found: list[Any] = []
    peak = peak_of(
        lambda: found.append(PicturePreprocessor(spec(), LIMITS).prepare(Frame("s", 0, data, 0.0, 0.0)))
    )
    assert isinstance(found[0], Rejected)
    assert found[0].reason is RejectReason.TOO_LARGE
    assert peak < 1 << 20


def test_a_tag_of_very_many_values_is_not_read() -> None:
    entries = [(256, 4, [64]), (257, 4, [64]), (262, 3, [2]), (273, 4, [0] * 400_001), (279, 4, [0])]
    answer = PicturePreprocessor(spec()).prepare(Frame("s", 0, tiff(entries), 0.0, 0.0))
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.UNSUPPORTED


@pytest.mark.parametrize("shape", [(1001, 1000), (999, 999, 4), (MOST_SIDE + 1, 4)])
def test_arrays_have_the_same_limits(shape: tuple[int, ...]) -> None:
    dtype = np.uint16 if len(shape) == 3 else np.uint8
    picture: NDArray[Any] = np.zeros(shape, dtype)
    answer = PicturePreprocessor(spec(), LIMITS).prepare(Frame("s", 0, picture, 0.0, 0.0, colour="rgba"))
    assert isinstance(answer, Rejected)
    assert answer.reason is RejectReason.TOO_LARGE


def test_a_reason_names_the_key_that_raises_its_limit() -> None:
    preprocessor = PicturePreprocessor(spec(), LIMITS)
    for data in (bomb_png(1001, 1000), bomb_png(999, 999, 16, 6), bytes(1_000_001)):
        answer = preprocessor.prepare(Frame("s", 0, data, 0.0, 0.0))
        assert isinstance(answer, Rejected)
        key = answer.detail.split("pictures.")[1].split(")")[0]
        assert key in PicturesConfig.model_fields


def test_the_defaults_of_the_configuration_are_those_of_a_preprocessor() -> None:
    section = PicturesConfig()
    assert PictureLimits(section.max_pixels, section.max_file_mib << 20) == PictureLimits()
