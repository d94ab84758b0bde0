"""Every format, orientation and pixel layout gives the same upright picture, or the same rejection, on every path.

The picture is one of four coloured corners, so that a turn, a mirror image, swapped channels and inverted levels all
show.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_runtime.bundles.self_test import prepare_golden
from edge_runtime.datatypes import PICTURE_SUFFIXES, Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.preprocess.reference_folder import ReferenceFolderError, read_reference_folder
from edge_runtime.inference.specs import PictureSpec
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.mqtt_images import MqttImagesSource
from tests.support.picture_files import exif, png, png_chunk, store, tiff_picture

WIDTH, HEIGHT = 64, 32
SPEC = PictureSpec(
    colour="rgb", width=WIDTH, height=HEIGHT, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
)
CORNERS = ((220, 30, 30), (30, 200, 30), (30, 30, 180), (240, 240, 240))


def four_corners(colours: Any = CORNERS) -> NDArray[np.uint8]:
    """(H,W,3) or (H,W): one colour a corner, clockwise from the top left but the bottom row left to right."""
    small = np.array(colours, np.uint8)
    return small.reshape(2, 2, *small.shape[1:]).repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1)


RGB = four_corners()
INDEX = four_corners((0, 1, 2, 3))
GREY = four_corners((20, 90, 160, 250))
BINARY = four_corners((0, 1, 1, 0))
ALPHA = four_corners((255, 255, 0, 255))  # the third corner is transparent
PALETTE = np.array(CORNERS, np.uint8)
RGBA = np.dstack([RGB, ALPHA])
GREY_ALPHA = np.dstack([GREY, ALPHA])
SHOWN = np.where(ALPHA[..., None] == 0, np.uint8(255), RGB)
SHOWN_GREY = np.where(ALPHA == 0, np.uint8(255), GREY)


def deep(pixels: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return pixels.astype(np.uint16) * np.uint16(257)


def as_grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([pixels] * 3)


def pil(pixels: NDArray[Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    target = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(target, kind, **options)
    return target.getvalue()


def tiff_palette(levels: int) -> NDArray[np.uint16]:
    table = np.zeros((levels, 3), np.uint16)
    table[:4] = deep(PALETTE)
    return table


LAYOUTS: dict[str, tuple[Callable[[], bytes], NDArray[np.uint8], float]] = {
    # name: how to make it, the picture that is meant, levels that it may be off (lossy formats)
    "jpeg": (lambda: pil(RGB, "JPEG", quality=98, subsampling=0), RGB, 4),
    "jpeg progressive": (lambda: pil(RGB, "JPEG", quality=98, subsampling=0, progressive=True), RGB, 4),
    "jpeg grey": (lambda: pil(GREY, "JPEG", quality=98), as_grey(GREY), 4),
    "jpeg cmyk": (lambda: pil(RGB, "JPEG", "CMYK", quality=98, subsampling=0), RGB, 5),
    "jpeg rgb coded": (lambda: pil(RGB, "JPEG", quality=98, keep_rgb=True), RGB, 5),
    "png": (lambda: png(RGB, colour_type=2), RGB, 0),
    "png grey": (lambda: png(GREY, colour_type=0), as_grey(GREY), 0),
    "png grey 1 bit": (lambda: png(BINARY, bits=1, colour_type=0), as_grey(BINARY * 255), 0),
    "png grey 4 bits": (lambda: png(GREY >> 4, bits=4, colour_type=0), as_grey((GREY >> 4) * 17), 0),
    "png grey 16 bits": (lambda: png(deep(GREY), bits=16, colour_type=0), as_grey(GREY), 0),
    "png rgb 16 bits": (lambda: png(deep(RGB), bits=16, colour_type=2), RGB, 0),
    "png grey alpha": (lambda: png(GREY_ALPHA, colour_type=4), as_grey(SHOWN_GREY), 0),
    "png grey alpha 16 bits": (
        lambda: png(deep(GREY_ALPHA), bits=16, colour_type=4), as_grey(SHOWN_GREY), 0
    ),
    "png rgba": (lambda: png(RGBA, colour_type=6), SHOWN, 0),
    "png rgba 16 bits": (lambda: png(deep(RGBA), bits=16, colour_type=6), SHOWN, 0),
    "png palette": (
        lambda: png(INDEX, colour_type=3, chunks=png_chunk(b"PLTE", PALETTE.tobytes())), RGB, 0
    ),
    "png palette 2 bits": (
        lambda: png(INDEX, bits=2, colour_type=3, chunks=png_chunk(b"PLTE", PALETTE.tobytes())), RGB, 0
    ),
    "png palette alpha": (
        lambda: png(
            INDEX,
            colour_type=3,
            chunks=png_chunk(b"PLTE", PALETTE.tobytes()) + png_chunk(b"tRNS", b"\xff\xff\x00"),
        ),
        SHOWN,
        0,
    ),
    "png transparent colour": (
        lambda: png(RGB, colour_type=2, chunks=png_chunk(b"tRNS", struct.pack(">HHH", *CORNERS[2]))), SHOWN, 0
    ),
    "png transparent grey": (
        lambda: png(GREY, colour_type=0, chunks=png_chunk(b"tRNS", struct.pack(">H", 160))),
        as_grey(SHOWN_GREY),
        0,
    ),
    "png transparent grey 16 bits": (
        lambda: png(
            deep(GREY), bits=16, colour_type=0, chunks=png_chunk(b"tRNS", struct.pack(">H", 160 * 257))
        ),
        as_grey(SHOWN_GREY),
        0,
    ),
    "webp": (lambda: pil(RGB, "WEBP", quality=98), RGB, 6),
    "webp lossless": (lambda: pil(RGB, "WEBP", lossless=True), RGB, 0),
    "webp alpha": (lambda: pil(RGBA, "WEBP", lossless=True, exact=True), SHOWN, 0),
    "bmp": (lambda: pil(RGB, "BMP"), RGB, 0),
    "bmp grey": (lambda: pil(GREY, "BMP"), as_grey(GREY), 0),
    "bmp 1 bit": (lambda: pil(BINARY * 255, "BMP", "1"), as_grey(BINARY * 255), 0),
    "bmp palette": (lambda: cv2_bytes(".bmp", RGB), RGB, 0),
    "bmp unused byte": (lambda: bmp32(np.zeros_like(GREY), header=40), RGB, 0),
    "bmp unset alpha": (lambda: bmp32(np.zeros_like(GREY), header=124, mask=0xFF000000), RGB, 0),
    "bmp alpha": (lambda: bmp32(ALPHA, header=124, mask=0xFF000000), SHOWN, 0),
    "tiff": (lambda: tiff_picture(RGB), RGB, 0),
    "tiff big endian": (lambda: tiff_picture(RGB, order=">"), RGB, 0),
    "bigtiff": (lambda: tiff_picture(RGB, is_big=True), RGB, 0),
    "bigtiff long8": (lambda: tiff_picture(RGB, is_big=True, size_type=16, order=">"), RGB, 0),
    "tiff byte sizes": (lambda: tiff_picture(RGB, size_type=1), RGB, 0),
    "tiff grey": (lambda: tiff_picture(GREY), as_grey(GREY), 0),
    "tiff white is zero": (lambda: tiff_picture(255 - GREY, photometric=0), as_grey(GREY), 0),
    "tiff grey 16 bits": (lambda: tiff_picture(deep(GREY)), as_grey(GREY), 0),
    "tiff white is zero 16 bits": (
        lambda: tiff_picture(65535 - deep(GREY), photometric=0), as_grey(GREY), 0
    ),
    "tiff 1 bit": (lambda: tiff_picture(BINARY, bits=1), as_grey(BINARY * 255), 0),
    "tiff 1 bit white is zero": (
        lambda: tiff_picture(1 - BINARY, bits=1, photometric=0), as_grey(BINARY * 255), 0
    ),
    "tiff rgb 16 bits": (lambda: tiff_picture(deep(RGB), order=">"), RGB, 0),
    "tiff rgba": (lambda: tiff_picture(RGBA, extra_samples=[2]), SHOWN, 1),
    "tiff rgba 16 bits": (lambda: tiff_picture(deep(RGBA), extra_samples=[2]), SHOWN, 1),
    "tiff unused sample": (lambda: tiff_picture(RGBA, extra_samples=[0]), RGB, 0),
    "tiff cmyk": (lambda: pil(RGB, "TIFF", "CMYK"), RGB, 1),
    "tiff palette": (lambda: tiff_picture(INDEX, photometric=3, palette=tiff_palette(256)), RGB, 0),
    "tiff palette 4 bits": (
        lambda: tiff_picture(INDEX, photometric=3, palette=tiff_palette(16), bits=4), RGB, 0
    ),
    "tiff lzw": (lambda: pil(RGB, "TIFF", compression="tiff_lzw"), RGB, 0),
    "tiff jpeg": (lambda: pil(RGB, "TIFF", compression="jpeg", quality=98), RGB, 8),
    "tiff fax": (lambda: pil(BINARY * 255, "TIFF", "1", compression="group4"), as_grey(BINARY * 255), 0),
    "pgm": (lambda: b"P5\n# a camera\n64 32\n255\n" + GREY.tobytes(), as_grey(GREY), 0),
    "pgm 12 bits": (
        lambda: b"P5 64 32 4095\n" + np.round(GREY / 255 * 4095).astype(">u2").tobytes(), as_grey(GREY), 1
    ),
    "ppm": (lambda: b"P6 64 32 255\n" + RGB.tobytes(), RGB, 0),
    "ppm with CRLF": (lambda: b"P6\r\n64 32\r\n255\r\n" + RGB.tobytes(), RGB, 0),
    "ppm with a late comment": (lambda: b"P6\n64 32\n255 # camera 2\n" + RGB.tobytes(), RGB, 0),
    "ppm with a byte behind": (lambda: b"P6\n64 32\n255\n" + RGB.tobytes() + b"\n", RGB, 0),
    "ppm 16 bits": (lambda: b"P6 64 32 65535\n" + deep(RGB).astype(">u2").tobytes(), RGB, 0),
    "pbm": (lambda: b"P4 64 32\n" + np.packbits(1 - BINARY, axis=1).tobytes(), as_grey(BINARY * 255), 0),
}  # fmt: skip

REFUSED: dict[str, tuple[Callable[[], bytes], RejectReason]] = {
    "tiff float": (
        lambda: tiff_picture(RGB.astype(np.float32), sample_format=3), RejectReason.UNSUPPORTED
    ),
    "tiff signed": (lambda: tiff_picture(GREY.astype(np.int16), sample_format=2), RejectReason.UNSUPPORTED),
    "tiff 32 bits": (lambda: tiff_picture(GREY.astype(np.uint32)), RejectReason.UNSUPPORTED),
    "tiff 4 bits": (lambda: tiff_picture(GREY >> 4, bits=4), RejectReason.UNSUPPORTED),
    "tiff grey alpha": (
        lambda: tiff_picture(GREY_ALPHA, photometric=1, extra_samples=[2]), RejectReason.UNSUPPORTED
    ),
    "tiff premultiplied": (lambda: tiff_picture(RGBA, extra_samples=[1]), RejectReason.UNSUPPORTED),
    "tiff lab": (lambda: pil(RGB, "TIFF", "LAB"), RejectReason.UNSUPPORTED),
    "tiff cmyk 16 bits": (lambda: tiff_picture(deep(RGBA), photometric=5), RejectReason.UNSUPPORTED),
    "tiff 5 samples": (lambda: tiff_picture(np.dstack([RGBA, GREY])), RejectReason.UNSUPPORTED),
    "tiff two widths": (lambda: tiff_picture(RGB, more=[(256, 4, [9000])]), RejectReason.UNREADABLE),
    "tiff two orientations": (
        lambda: tiff_picture(RGB, orientation=1, more=[(274, 3, [6])]), RejectReason.UNREADABLE
    ),
    "tiff signed width": (lambda: tiff_picture(RGB, size_type=9), RejectReason.UNSUPPORTED),
    "tiff width of a directory": (lambda: tiff_picture(RGB, size_type=13), RejectReason.UNSUPPORTED),
    "tiff without colours": (
        lambda: tiff_picture(RGB).replace(b"\x06\x01\x03", b"\x05\x01\x03"), RejectReason.UNREADABLE
    ),
    "tiff of half the rows": (lambda: tiff_picture(RGB[:16], height=32), RejectReason.TRUNCATED),
    "bigtiff cut": (lambda: tiff_picture(RGB, is_big=True)[:-1], RejectReason.TRUNCATED),
    "pgm as text": (lambda: b"P2 4 4 9\n" + b"1 " * 16, RejectReason.UNSUPPORTED),
    "pgm cut": (lambda: b"P5 64 32 255\n" + GREY.tobytes()[:-1], RejectReason.TRUNCATED),
    "pgm without a level": (lambda: b"P5 64 32\n\n", RejectReason.UNREADABLE),
    "pgm of level 0": (lambda: b"P5 64 32 0\n" + GREY.tobytes(), RejectReason.UNREADABLE),
    "pgm bomb": (lambda: b"P5 999999999 999999999 255\n", RejectReason.TRUNCATED),
    "gif": (lambda: pil(RGB, "GIF"), RejectReason.UNSUPPORTED),
    "jpeg 2000": (lambda: pil(RGB, "JPEG2000"), RejectReason.UNSUPPORTED),
    "avif": (lambda: pil(RGB, "AVIF"), RejectReason.UNSUPPORTED),
}  # fmt: skip


def cv2_bytes(suffix: str, rgb: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(suffix, rgb[..., ::-1])[1].tobytes()


def bmp32(fourth: NDArray[np.uint8], *, header: int, mask: int = 0) -> bytes:
    """A BMP of 32 bits with colour masks; ``mask`` 0 declares the fourth byte to be unused."""
    body = np.dstack([RGB[..., ::-1], fourth])[::-1].tobytes()
    info = struct.pack("<IiiHHIIiiII", header, WIDTH, HEIGHT, 1, 32, 3, len(body), 0, 0, 0, 0)
    info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, mask)[: 12 if header == 40 else 16]
    info = info.ljust(header, b"\x00")
    return b"BM" + struct.pack("<IHHI", 14 + len(info) + len(body), 0, 0, 14 + len(info)) + info + body


def prepared(picture: Any, **more: Any) -> NDArray[np.uint8]:
    answer = PicturePreprocessor(SPEC).prepare(Frame("s", 1, picture, 0.0, 0.0, **more))
    assert isinstance(answer, Sample), answer
    assert answer.values is not None
    return answer.values


def levels_apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Of the corners' middles: lossy formats blur their edges."""
    rows, columns = (HEIGHT // 4, HEIGHT * 3 // 4), (WIDTH // 4, WIDTH * 3 // 4)
    at = np.ix_(rows, columns)
    return float(np.abs(one[at].astype(int) - other[at]).max())


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_the_picture_that_is_meant(name: str) -> None:
    make, expected, off = LAYOUTS[name]
    assert levels_apart(prepared(make()), expected) <= off


@pytest.mark.parametrize("name", REFUSED)
def test_every_other_layout_is_refused_before_it_is_decoded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("decoded")

    make, reason = REFUSED[name]
    data = make()
    monkeypatch.setattr("edge_runtime.inference.preprocess.decode.cv2.imdecode", fail)
    answer = PicturePreprocessor(SPEC).prepare(Frame("s", 1, data, 0.0, 0.0))
    assert isinstance(answer, Rejected)
    assert answer.reason is reason


def turned(kind: str, orientation: int) -> bytes:
    """The four corners as a camera that was held so stores them."""
    rgb, grey = store(RGB, orientation), store(GREY, orientation)
    block = exif(orientation)
    match kind:
        case "jpeg":
            data = pil(rgb, "JPEG", quality=98, subsampling=0)
            app1 = b"Exif\x00\x00" + block
            return data[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + data[2:]
        case "png":
            return png(rgb, colour_type=2, chunks=png_chunk(b"eXIf", block))
        case "png 16 bits":
            return png(deep(rgb), bits=16, colour_type=2, chunks=png_chunk(b"eXIf", block))
        case "webp":
            return pil(rgb, "WEBP", lossless=True, exif=block)
        case "tiff":
            return tiff_picture(rgb, orientation=orientation)
        case "tiff big endian":
            return tiff_picture(rgb, orientation=orientation, order=">")
        case "tiff 16 bits":
            return tiff_picture(deep(rgb), orientation=orientation)
        case "tiff rgba":
            full = np.full(rgb.shape[:2], 255, np.uint8)
            return tiff_picture(np.dstack([rgb, full]), orientation=orientation, extra_samples=[2])
        case "tiff lzw":
            return pil(rgb, "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
        case "tiff long":
            return tiff_picture(rgb, more=[(274, 4, [orientation])])
        case "tiff byte":
            return tiff_picture(rgb, more=[(274, 1, [orientation])])
        case "bigtiff":
            return tiff_picture(rgb, orientation=orientation, is_big=True)
        case "tiff white is zero":
            return tiff_picture(65535 - deep(grey), photometric=0, orientation=orientation)
        case _:
            return tiff_picture(grey, orientation=orientation)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "kind",
    ["jpeg", "png", "png 16 bits", "webp", "tiff", "tiff big endian", "tiff 16 bits", "tiff rgba", "tiff lzw",
     "tiff long", "tiff byte", "bigtiff", "tiff white is zero", "tiff grey"],
)  # fmt: skip
def test_every_orientation_is_upright_in_every_format(kind: str, orientation: int) -> None:
    expected = as_grey(GREY) if kind in ("tiff white is zero", "tiff grey") else RGB
    assert levels_apart(prepared(turned(kind, orientation)), expected) <= (4 if kind == "jpeg" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_an_orientation_that_does_not_exist_is_none(kind: str, orientation: int) -> None:
    data = turned(kind, 1)
    block = exif(1)
    if kind == "tiff":
        data = tiff_picture(RGB, orientation=orientation)
    elif kind == "png":
        data = png(RGB, colour_type=2, chunks=png_chunk(b"eXIf", exif(orientation)))
    else:
        data = data.replace(block, exif(orientation))
    assert levels_apart(prepared(data), RGB) <= 4


ON_EVERY_PATH = {
    "upright": lambda: turned("jpeg", 1), "jpeg 6": lambda: turned("jpeg", 6), "tiff 3": lambda: turned("tiff", 3),
    "tiff 5": lambda: turned("tiff", 5), "bigtiff 8": lambda: turned("bigtiff", 8),
    "png 16 bits 2": lambda: turned("png 16 bits", 2), "rgba": LAYOUTS["png rgba"][0], "pgm": LAYOUTS["pgm"][0],
    "no end marker": lambda: turned("jpeg", 1)[:-2], "cut": lambda: turned("jpeg", 1)[:-40],
    "gif": REFUSED["gif"][0], "tiff float": REFUSED["tiff float"][0], "two widths": REFUSED["tiff two widths"][0],
}  # fmt: skip


@pytest.mark.parametrize("name", ON_EVERY_PATH)
def test_every_path_gives_the_same_answer(name: str, tmp_path: Path) -> None:
    data = ON_EVERY_PATH[name]()
    preprocessor = PicturePreprocessor(SPEC)
    path = tmp_path / "one.TIF"
    path.write_bytes(data)
    message = MqttImagesSource("s")
    message.offer(data, 0.0)
    frames = [message.read(0), ImagesSource("s", tmp_path).read(0), Frame("infer", 0, path, 0.0, 0.0)]
    answers = [preprocessor.prepare(frame) for frame in frames if frame is not None]
    assert len(answers) == 3
    first = answers[0]
    if isinstance(first, Rejected):
        assert {(a.reason, a.detail) for a in answers if isinstance(a, Rejected)} == {
            (first.reason, first.detail)
        }
        with pytest.raises(ReferenceFolderError):
            read_reference_folder(tmp_path, preprocessor, (), 9)
        return
    wanted = first.tensor
    others = [answer.tensor for answer in answers if isinstance(answer, Sample)]
    others += [
        read_reference_folder(tmp_path, preprocessor, (), 9)[0][0],
        prepare_golden(SPEC, "", data).tensor,
    ]
    assert len(others) == 5
    for tensor in others:
        np.testing.assert_array_equal(tensor, wanted)


def test_the_endings_of_file_names_are_those_of_the_formats_that_are_read() -> None:
    read_here = {
        ".jpg": "jpeg", ".jpeg": "jpeg", ".jfif": "jpeg", ".png": "png", ".bmp": "bmp", ".webp": "webp", ".tif": "tiff",
        ".tiff": "tiff", ".pgm": "pgm", ".ppm": "ppm", ".pbm": "pbm", ".pnm": "pgm",
    }  # fmt: skip
    assert read_here.keys() == PICTURE_SUFFIXES
    for layout in read_here.values():
        make, expected, off = LAYOUTS[layout]
        assert levels_apart(prepared(make()), expected) <= off


@pytest.mark.parametrize("name", ["a.JPG", "b.Jfif", "c.PGM", "d.TIFF"])
def test_capital_letters_in_an_ending_are_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    frame = ImagesSource("s", tmp_path).read(0)
    assert frame is not None
    assert frame.payload == tmp_path / name
