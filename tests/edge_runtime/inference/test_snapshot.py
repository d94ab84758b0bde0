"""A frame as a small JPEG for a person: every kind of frame, its colours, size and orientation."""

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from edge_runtime.datatypes import Frame
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess import PictureLimits
from edge_runtime.inference.preprocess.snapshot import Mark, copy_reduced, make_snapshot

LIMITS = PictureLimits()
ORANGE = (230, 120, 20)
"""In the order red, green, blue."""


def orange(height=60, width=80):
    return np.full((height, width, 3), ORANGE, np.uint8)


def frame(picture, colour="rgb", **more):
    return Frame("belt", 0, picture, 0.0, 0.0, colour=colour, **more)


def encode(pixels, kind="PNG", **more):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **more)
    return file.getvalue()


def show(made):
    """As (H,W,3) in red, green, blue."""
    return simplejpeg.decode_jpeg(made.jpeg, "RGB")


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (orange(), "rgb"),
        (orange()[..., ::-1], "bgr"),
        (np.dstack([orange(), np.full((60, 80), 255, np.uint8)]), "rgba"),
        (orange().astype(np.uint16) * 257, "rgb"),
        (encode(orange()), None),
        (encode(orange(), "JPEG", quality=95), None),
    ],
    ids=["rgb", "bgr view", "rgba", "16 bits", "png", "jpeg"],
)
def test_colours_are_those_of_the_frame(picture, colour):
    made = make_snapshot(frame(picture, colour), 640, 90, LIMITS)
    assert (made.width, made.height) == (80, 60), "a small picture is not enlarged"
    assert np.abs(show(made).astype(int) - ORANGE).max() <= 6


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 1)])
def test_a_grey_frame_stays_grey(shape):
    made = make_snapshot(frame(np.full(shape, 77, np.uint8), None), 40, 90, LIMITS)
    assert Image.open(io.BytesIO(made.jpeg)).mode == "L"
    assert (made.width, made.height) == (40, 30)


@pytest.mark.parametrize("side", [16, 100, 640])
def test_a_large_frame_is_shrunk_to_the_longer_side(side):
    made = make_snapshot(frame(orange(1080, 1920)), side, 80, LIMITS)
    assert (made.width, made.height) == (side, round(1080 * side / 1920))
    assert show(made).shape == (made.height, made.width, 3)


def test_a_strip_keeps_one_pixel():
    assert make_snapshot(frame(orange(4, 2000)), 16, 80, LIMITS).height == 1


def test_a_picture_file_is_upright_and_takes_nothing_but_pixels_along(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker and serial number"
    file = tmp_path / "a.jpg"
    file.write_bytes(encode(orange(600, 800), "JPEG", exif=exif))
    made = make_snapshot(frame(file, None), 100, 80, LIMITS)
    assert (made.width, made.height) == (75, 100)
    assert not Image.open(io.BytesIO(made.jpeg)).getexif()


def test_quality_decides_the_size():
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    small, large = (len(make_snapshot(frame(noise), 640, quality, LIMITS).jpeg) for quality in (20, 90))
    assert small < large / 2


def test_the_frame_is_left_alone():
    picture = orange()
    picture.flags.writeable = False
    make_snapshot(frame(picture), 16, 80, LIMITS)
    assert (picture == ORANGE).all()


@pytest.mark.parametrize(
    "picture",
    [
        b"no picture",
        encode(orange(), "JPEG")[:-200],
        Path("/no/such/file.jpg"),
        np.zeros((3, 60, 80), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        orange(2000, 2000),
    ],
    ids=["garbage", "cut off", "missing", "planes", "empty", "too large"],
)
def test_what_cannot_be_answered_cannot_be_shown(picture):
    with pytest.raises(InputFlaw):
        make_snapshot(frame(picture), 640, 80, PictureLimits(max_pixels=1_000_000))


def test_a_prepared_tensor_is_no_picture():
    file = io.BytesIO()
    np.save(file, np.zeros((3, 8, 8), np.float32))
    for tensor in (frame(file.getvalue(), None), frame(np.zeros((3, 8, 8), np.float32), is_tensor=True)):
        with pytest.raises(InputFlaw, match="tensor"):
            make_snapshot(tensor, 640, 80, LIMITS)


def test_a_reduced_copy_gives_the_same_picture_in_the_coordinates_of_the_whole():
    rng = np.random.default_rng(0)
    whole = frame(
        np.kron(rng.integers(0, 256, (9, 16, 3)), np.ones((80, 80, 1))).astype(np.uint8), colour="bgr"
    )
    made, of_reduced = (make_snapshot(one, 300, 90, LIMITS) for one in (whole, copy_reduced(whole, 300)))
    assert (
        (of_reduced.full_width, of_reduced.full_height) == (made.full_width, made.full_height) == (1280, 720)
    )
    assert (of_reduced.width, of_reduced.height) == (300, 169)
    assert np.abs(show(made).astype(int) - show(of_reduced)).mean() < 1


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_a_mark_is_drawn_where_the_box_is_in_the_frame_and_the_frame_stays(colour):
    picture = np.full((400, 800, 3) if colour == "rgb" else (400, 800), 50, np.uint8)
    made = make_snapshot(
        frame(picture, colour), 400, 90, LIMITS, [Mark((200.0, 100.0, 600.0, 300.0), "person 90 % ä")]
    )
    shown = show(made)[..., 1].astype(int)
    assert picture.max() == 50
    assert shown[100, 97:104].max() > 180
    assert shown[60:140, 100].min() > 180
    assert np.abs(shown[70:130, 120:280] - 50).max() < 20


@pytest.mark.parametrize("shape", [(4, 4000), (7, 2000, 3), (4000, 4, 3)])
def test_a_picture_of_a_few_lines_stays_one_that_can_be_shown(shape):
    whole = frame(np.full(shape, 90, np.uint8), "grey" if len(shape) == 2 else "rgb")
    made = make_snapshot(copy_reduced(whole, 640), 640, 80, LIMITS)
    assert (made.full_width, made.full_height) == (shape[1], shape[0])


def test_a_mark_far_outside_of_the_picture_is_cut_off():
    made = make_snapshot(frame(orange()), 640, 80, LIMITS, [Mark((-1e30, 1e9, 1e30, 1e38), "person")])
    assert (made.width, made.height) == (80, 60)
