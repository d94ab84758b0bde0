import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.datatypes import Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.preprocess import PictureLimits, PicturePreprocessor
from edge_runtime.inference.specs import PictureSpec


def spec(**changes: Any) -> PictureSpec:
    fields = {
        "colour": "rgb", "width": 64, "height": 64, "geometry": "stretch", "filter": "area",
        "mean": (127, 127, 127), "std": (128, 128, 128),
    }  # fmt: skip
    fields.update(changes)
    if fields["colour"] == "grey" and "mean" not in changes:
        fields.update(mean=(127,), std=(128,))
    return PictureSpec(**fields)


def frame(picture: Any, **more: Any) -> Frame:
    return Frame("s", 1, picture, 0.0, 0.0, **more)


def sample(picture: Any, the_spec: PictureSpec | None = None, **more: Any) -> Sample:
    answer = PicturePreprocessor(the_spec or spec()).prepare(frame(picture, **more))
    assert isinstance(answer, Sample), answer
    return answer


def reason(picture: Any, the_spec: PictureSpec | None = None, **more: Any) -> RejectReason:
    limits = PictureLimits(max_pixels=200_000, max_bytes=1_000_000)
    answer = PicturePreprocessor(the_spec or spec(), limits).prepare(frame(picture, **more))
    assert isinstance(answer, Rejected)
    assert answer.detail
    return answer.reason


def natural(width: int = 320, height: int = 240, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth BGR picture with a different gradient in each channel and corner."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(kind: str, picture: NDArray[Any], *options: int) -> bytes:
    is_ok, data = cv2.imencode(f".{kind}", picture, list(options))
    assert is_ok
    return data.tobytes()


def levels_apart(one: Sample, other: Sample) -> float:
    assert one.values is not None
    assert other.values is not None
    return float(np.abs(one.values.astype(int) - other.values).mean())


@pytest.mark.parametrize("kind", ["png", "bmp", "tif", "webp", "jpg"])
def test_every_format_gives_the_same_picture(kind: str) -> None:
    picture = natural()
    assert levels_apart(sample(encoded(kind, picture)), sample(picture)) < (
        2 if kind in ("jpg", "webp") else 0.01
    )


def test_normalises_with_mean_and_std_in_the_model_layout() -> None:
    the_spec = spec(mean=(10, 20, 30), std=(2, 4, 8))
    prepared = sample(natural(), the_spec)
    assert prepared.values is not None
    expected = (prepared.values.astype(np.float64) - [10, 20, 30]) / [2, 4, 8]
    np.testing.assert_allclose(prepared.tensor, expected.transpose(2, 0, 1), atol=1e-5)
    nhwc = sample(natural(), the_spec.model_copy(update={"layout": "nhwc"}))
    np.testing.assert_array_equal(nhwc.tensor.transpose(2, 0, 1), prepared.tensor)
    assert prepared.tensor.dtype == np.float32


def test_kept_pixels_give_the_same_tensor_again() -> None:
    preprocessor = PicturePreprocessor(spec())
    prepared = preprocessor.prepare(frame(natural()))
    assert isinstance(prepared, Sample)
    assert prepared.values is not None
    np.testing.assert_array_equal(preprocessor.normalise(prepared.values), prepared.tensor)
    with pytest.raises(ValueError, match="uint8"):
        preprocessor.normalise(prepared.values[:10])


@pytest.mark.parametrize("colour", ["bgr", "grey"])
def test_kept_pixels_survive_the_next_frame_in_the_same_memory(colour: str) -> None:
    memory = np.full((64, 64, 3) if colour == "bgr" else (64, 64), 10, np.uint8)
    prepared = sample(memory, spec(colour=colour), colour="bgr")
    memory[:] = 200
    assert prepared.values is not None
    assert (prepared.values == 10).all()


def test_declared_channel_order_is_obeyed() -> None:
    bgr = natural()
    rgb = bgr[..., ::-1]
    assert levels_apart(sample(bgr, colour="bgr"), sample(rgb, colour="rgb")) == 0
    assert levels_apart(sample(bgr, colour="bgr"), sample(bgr, colour="rgb")) > 10
    assert levels_apart(sample(bgr, spec(colour="bgr")), sample(bgr[..., ::-1], spec(), colour="bgr")) == 0


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_every_layout_holds_level_minus_mean_over_deviation(colour: str, layout: str) -> None:
    channels = 3 if colour == "rgb" else 1
    mean, std = (100.0, 120.0, 90.0)[:channels], (50.0, 60.0, 70.0)[:channels]
    prepared = sample(natural(), spec(colour=colour, layout=layout, mean=mean, std=std))
    assert prepared.values is not None
    expected = ((prepared.values.astype(np.float64) - mean) / std).astype(np.float32)
    planar = expected.transpose(2, 0, 1) if layout == "nchw" else expected
    np.testing.assert_array_equal(prepared.tensor, planar)


@pytest.mark.parametrize("extra", [(), (1,), (2,)])
def test_grey_becomes_three_equal_channels(extra: tuple[int, ...]) -> None:
    grey = cv2.cvtColor(natural(), cv2.COLOR_BGR2GRAY)
    picture = (
        grey
        if not extra
        else np.dstack([grey, np.full_like(grey, 255)][: extra[0]]).reshape(*grey.shape, *extra)
    )
    pixels = sample(picture).values
    assert pixels is not None
    assert pixels.shape == (64, 64, 3)
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_colour_becomes_grey_for_a_grey_model() -> None:
    from_array = sample(natural(), spec(colour="grey"))
    assert from_array.tensor.shape == (1, 64, 64)
    for kind in ("jpg", "png"):
        assert levels_apart(sample(encoded(kind, natural()), spec(colour="grey")), from_array) < 2


def test_transparent_parts_show_the_background() -> None:
    picture = np.dstack([natural(), np.zeros((240, 320), np.uint8)])
    assert (sample(picture, colour="bgra").tensor == np.float32((255 - 127) / 128)).all()
    black = sample(encoded("png", picture), spec(alpha_background=0)).values
    assert black is not None
    assert not black.any()
    opaque = np.dstack([natural(), np.full((240, 320), 255, np.uint8)])
    assert levels_apart(sample(opaque, colour="bgra"), sample(natural())) == 0


def test_sixteen_bits_use_the_whole_range() -> None:
    deep = natural().astype(np.uint16) * 257
    assert levels_apart(sample(deep), sample(natural())) == 0
    assert levels_apart(sample(encoded("png", deep)), sample(natural())) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    upright = natural(1280, 800)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright), 7: np.rot90(upright[:, ::-1], -1),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = (
        b"II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0) + b"\x00" * 4
    )
    data = encoded(kind, np.ascontiguousarray(stored))
    if kind == "jpg":
        block = b"Exif\x00\x00" + exif
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    else:
        chunk = b"eXIf" + exif
        data = (
            data[:33]
            + struct.pack(">I", len(exif))
            + chunk
            + struct.pack(">I", zlib.crc32(chunk))
            + data[33:]
        )
    the_spec = spec(geometry="crop", crop_fraction=0.875)
    prepared = sample(data, the_spec)
    assert levels_apart(prepared, sample(upright, the_spec)) < 2
    assert prepared.geometry is not None
    assert (prepared.geometry.frame_width, prepared.geometry.frame_height) == (1280, 800)


@pytest.mark.parametrize("size", [(4, 4), (5, 900), (900, 5), (63, 65), (64, 64), (31, 200)])
@pytest.mark.parametrize("geometry", ["crop", "stretch", "letterbox"])
@pytest.mark.parametrize("filter_name", ["area", "nearest", "bilinear", "bicubic", "antialias_bilinear"])
def test_any_size_fits_any_geometry(size: tuple[int, int], geometry: str, filter_name: str) -> None:
    assert sample(natural(*size), spec(geometry=geometry, filter=filter_name, width=48)).tensor.shape == (
        3,
        64,
        48,
    )


@pytest.mark.parametrize("geometry", ["crop", "stretch", "letterbox"])
@pytest.mark.parametrize("is_jpeg", [False, True])
def test_geometry_maps_a_mark_back_to_the_frame(geometry: str, is_jpeg: bool) -> None:
    picture = np.zeros((800, 1200, 3), np.uint8)
    cv2.circle(picture, (700, 300), 40, (255, 255, 255), -1)
    data = encoded("jpg", picture) if is_jpeg else picture
    prepared = sample(data, spec(geometry=geometry, width=160, height=128, pad_level=0))
    assert prepared.values is not None
    assert prepared.geometry is not None
    ys, xs = np.nonzero(prepared.values[..., 0] > 128)
    back = prepared.geometry
    assert abs((xs.mean() + 0.5 - back.offset_x) / back.scale_x - 700) < 4
    assert abs((ys.mean() + 0.5 - back.offset_y) / back.scale_y - 300) < 4


def test_letterbox_pads_and_anchors() -> None:
    centred = sample(natural(200, 100), spec(geometry="letterbox")).values
    cornered = sample(natural(200, 100), spec(geometry="letterbox", letterbox_anchor="top_left")).values
    assert centred is not None
    assert cornered is not None
    assert (centred[:16] == 114).all()
    assert (centred[-16:] == 114).all()
    assert (cornered[32:] == 114).all()
    np.testing.assert_array_equal(centred[16:48], cornered[:32])


def test_reduced_decoding_changes_next_to_nothing() -> None:
    data = encoded("jpg", natural(1280, 720), cv2.IMWRITE_JPEG_QUALITY, 95)
    full = sample(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    assert levels_apart(sample(data), full) < 1


@pytest.mark.parametrize("is_cubic", [False, True])
def test_antialiased_filters_equal_the_direct_formula(is_cubic: bool) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1, 97, 3)).astype(np.uint8).repeat(64, axis=0)
    kind = "antialias_bicubic" if is_cubic else "antialias_bilinear"
    pixels = sample(picture, spec(filter=kind), colour="rgb").values
    assert pixels is not None
    ratio, reach = 97 / 64, (2 if is_cubic else 1) * 97 / 64
    for column in range(64):
        centre = (column + 0.5) * ratio
        near = [x for x in range(97) if abs(x + 0.5 - centre) < reach]
        at = np.abs(np.array(near) + 0.5 - centre) / ratio
        shape = np.where(at < 1, 1.5 * at**3 - 2.5 * at**2 + 1, -0.5 * at**3 + 2.5 * at**2 - 4 * at + 2)
        weights = shape if is_cubic else 1 - at
        expected = np.clip(picture[0, near].T @ (weights / weights.sum()), 0, 255)
        assert np.abs(pixels[0, column] - expected).max() <= 1.6


def test_a_path_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("jpg", natural()))
    assert levels_apart(sample(path), sample(path.read_bytes())) == 0


def test_unusable_paths_are_rejected(tmp_path: Path) -> None:
    assert reason(tmp_path / "missing.jpg") is RejectReason.UNREADABLE
    assert reason(tmp_path) is RejectReason.UNREADABLE
    assert reason(Path("/dev/null")) is RejectReason.UNREADABLE
    os.mkfifo(tmp_path / "pipe.jpg")  # opening one waits for a writer, for ever
    assert reason(tmp_path / "pipe.jpg") is RejectReason.UNREADABLE
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert reason(tmp_path / "empty.jpg") is RejectReason.EMPTY
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(5_000_000)
    assert reason(tmp_path / "huge.jpg") is RejectReason.TOO_LARGE


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "tif", "webp"])
@pytest.mark.parametrize("share", [0.002, 0.1, 0.5, 0.9, 0.999])
def test_truncated_pictures_are_rejected(kind: str, share: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    data = encoded(kind, picture)
    assert reason(data[: int(len(data) * share)]) in (
        RejectReason.TRUNCATED, RejectReason.UNREADABLE, RejectReason.EMPTY, RejectReason.UNSUPPORTED
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "tif", "webp"])
def test_pixel_bomb_is_refused_from_its_header(kind: str) -> None:
    assert reason(encoded(kind, np.zeros((500, 500, 3), np.uint8))) is RejectReason.TOO_LARGE


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (b"", RejectReason.EMPTY),
        (b"GIF89a" + b"\x00" * 50, RejectReason.UNSUPPORTED),
        (b"\xff\xd8\xff", RejectReason.TRUNCATED),
        (b"\xff\xd8\xff\xd9", RejectReason.TRUNCATED),
        (b"II*\x00\x08\x00\x00\x00\x00\x00", RejectReason.UNREADABLE),
        (np.zeros((0, 5, 3), np.uint8), RejectReason.EMPTY),
        (np.zeros((3, 3, 3), np.uint8), RejectReason.TOO_SMALL),
        (np.zeros((1000, 1000), np.uint8), RejectReason.TOO_LARGE),
        (np.zeros((1000, 1000, 3), np.float32), RejectReason.TOO_LARGE),  # before anything is converted
        (np.zeros((50, 50, 3), np.float32), RejectReason.BAD_DTYPE),
        (np.zeros((50, 50), bool), RejectReason.BAD_DTYPE),
        (np.zeros((50, 50, 5), np.uint8), RejectReason.BAD_SHAPE),
        (np.zeros(50, np.uint8), RejectReason.BAD_SHAPE),
        (np.zeros((1, 50, 50, 3), np.uint8), RejectReason.BAD_SHAPE),
        ("text", RejectReason.UNSUPPORTED),
        (None, RejectReason.UNSUPPORTED),
    ],
)
def test_unusable_pictures_are_rejected(picture: Any, expected: RejectReason) -> None:
    assert reason(picture) is expected


def test_tensors_pass_through_unchanged() -> None:
    tensor = np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32)
    prepared = sample(tensor, is_tensor=True)
    np.testing.assert_array_equal(prepared.tensor, tensor)
    assert prepared.values is None
    assert prepared.geometry is None
    np.testing.assert_array_equal(sample(tensor[None].astype(np.float64), is_tensor=True).tensor, tensor)


def test_missing_values_are_filled_only_when_the_bundle_says_with_what() -> None:
    tensor = np.ones((3, 64, 64), np.float32)
    tensor[0, 0, 0] = np.nan
    masked = np.ma.MaskedArray(np.ones((3, 64, 64), np.float32), mask=np.isnan(tensor))
    for value in (tensor, masked):
        assert reason(value, is_tensor=True) is RejectReason.NON_FINITE
        filled = sample(value, spec(missing_value=-2.0), is_tensor=True).tensor
        assert filled[0, 0, 0] == -2
        assert (filled[1:] == 1).all()
    assert np.isnan(tensor[0, 0, 0]), "the caller's array is untouched"


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (np.full((3, 64, 64), np.inf, np.float32), RejectReason.NON_FINITE),
        (np.full((3, 64, 64), 1e300), RejectReason.NON_FINITE),
        (np.zeros((64, 64, 3), np.float32), RejectReason.BAD_SHAPE),
        (np.zeros((1, 64, 64), np.float32), RejectReason.BAD_SHAPE),
        (np.zeros((2, 3, 64, 64), np.float32), RejectReason.BAD_SHAPE),
        (np.zeros((0, 64, 64), np.float32), RejectReason.EMPTY),
        (np.zeros((3, 64, 64), np.complex64), RejectReason.BAD_DTYPE),
        (np.full((3, 64, 64), None), RejectReason.BAD_DTYPE),
        (b"bytes", RejectReason.UNSUPPORTED),
    ],
)
def test_unusable_tensors_are_rejected(tensor: Any, expected: RejectReason) -> None:
    assert reason(tensor, spec(missing_value=0.0), is_tensor=True) is expected


def test_most_damaged_jpegs_are_refused() -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(natural().astype(int) + rng.normal(0, 12, (240, 320, 3)), 0, 255).astype(np.uint8)
    data, refused = encoded("jpg", noisy), 0
    preprocessor = PicturePreprocessor(spec())
    for _ in range(400):
        damaged = bytearray(data)
        for at in rng.integers(2, len(damaged), 8):
            damaged[at] ^= int(rng.integers(1, 256))
        refused += isinstance(preprocessor.prepare(frame(bytes(damaged))), Rejected)
    assert refused >= 0.85 * 400, (
        "what slips through has the right number of blocks; strict decoding cannot see it"
    )


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_bytes_raise(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["jpg", "png", "bmp", "tif", "webp", ""]))
    picture = bytearray(encoded(kind, natural(24, 16)) if kind else b"")
    for _ in range(data.draw(st.integers(0, 6))):
        if picture:
            picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
    picture = picture[: data.draw(st.integers(0, len(picture)))] + data.draw(st.binary(max_size=20))
    assert isinstance(PicturePreprocessor(spec()).prepare(frame(bytes(picture))), Sample | Rejected)


def test_cmyk_jpeg_is_read_as_colour() -> None:
    target = io.BytesIO()
    Image.fromarray(natural()[..., ::-1].copy()).convert("CMYK").save(target, "JPEG", quality=95)
    assert levels_apart(sample(target.getvalue()), sample(natural())) < 3
