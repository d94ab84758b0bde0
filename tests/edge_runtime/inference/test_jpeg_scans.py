"""A JPEG of very many scans is refused before it is decoded; one scan that holds everything needs no search."""

import cv2
import numpy as np
import pytest

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess import PictureLimits
from edge_runtime.inference.preprocess.decode import decode
from edge_runtime.inference.preprocess.headers import read_header
from edge_runtime.inference.preprocess.jpeg_header import MAX_JPEG_SCANS
from edge_runtime.inference.specs import PictureSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
SPEC = PictureSpec(
    colour="rgb", width=64, height=64, geometry="stretch", filter="area", mean=(0, 0, 0), std=(255, 255, 255)
)


def jpeg(*, progressive: bool) -> bytes:
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    return cv2.imencode(".jpg", PIXELS, flags)[1].tobytes()


def with_last_scan_repeated(data: bytes, times: int) -> bytes:
    at, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:at] + data[at:end] * times + data[end:]


def test_a_progressive_picture_of_too_many_scans_is_refused():
    data = jpeg(progressive=True)
    assert read_header(data).kind == "jpeg"
    with pytest.raises(InputFlaw) as caught:
        read_header(with_last_scan_repeated(data, MAX_JPEG_SCANS + 1))
    assert caught.value.reason is RejectReason.UNSUPPORTED


def test_a_second_scan_of_everything_is_refused_by_the_decoder():
    data = with_last_scan_repeated(jpeg(progressive=False), MAX_JPEG_SCANS + 1)
    with pytest.raises(InputFlaw) as caught:
        decode(data, SPEC, PictureLimits())
    assert caught.value.reason is RejectReason.UNREADABLE


def test_components_in_scans_of_their_own_are_counted_too():
    data = bytearray(jpeg(progressive=False))
    data[data.index(b"\xff\xda") + 4] = 1  # the first scan says that it holds one component of three
    assert read_header(bytes(data)).kind == "jpeg"
    with pytest.raises(InputFlaw):
        read_header(with_last_scan_repeated(bytes(data), MAX_JPEG_SCANS + 1))
