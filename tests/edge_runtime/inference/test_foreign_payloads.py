"""A payload that is no picture here is named, in bounded words, and nothing of its content is shown."""

import base64
import json
import os
import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.datatypes import Frame, Rejected, RejectReason
from edge_runtime.inference.flaw import MOST_WORDS
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.specs import PictureSpec

SPEC = PictureSpec(
    colour="rgb", width=8, height=8, geometry="stretch", filter="area", mean=(0, 0, 0), std=(1, 1, 1)
)
JPEG = cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()


def rejected(picture: Any, preprocessor: PicturePreprocessor | None = None) -> Rejected:
    answer = (preprocessor or PicturePreprocessor(SPEC)).prepare(
        Frame("s", 1, picture, 0.0, 0.0, colour=None)
    )
    assert isinstance(answer, Rejected)
    assert len(answer.detail) <= MOST_WORDS
    return answer


def npz() -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.npy", b"x")
    return target.getvalue()


@pytest.mark.parametrize(("payload", "word"), [
    (base64.b64encode(JPEG), "base64 text of a JPEG"),
    (base64.encodebytes(PNG), "base64 text of a PNG"),
    (base64.urlsafe_b64encode(bytes(range(256))), "base64"),
    (b"data:image/jpeg;base64," + base64.b64encode(JPEG), "data URI"),
    (json.dumps({"image": base64.b64encode(JPEG).decode(), "ts": 1}).encode(), "JSON"),
    (b" [0.1, 0.2, null]", "JSON"),
    (JPEG.hex().encode(), "hexadecimal"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    (b"0.1,0.2,0.3\n0.4,0.5,0.6\n", "text"),
    (b"GIF89a" + bytes(50), "GIF"),
    (b"\x00\x00\x00\x18ftypheic" + bytes(64), "HEIC"),
    (b"\x00\x00\x00\x18ftypavif" + bytes(64), "AVIF"),
    (b"\x00\x00\x00\x18ftypisom" + bytes(64), "MP4"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(64), "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(64), "JPEG XL"),
    (npz(), "zip"),
    (pickle.dumps(np.zeros(3)), "pickle"),
    (b"%PDF-1.7" + bytes(9), "PDF"),
    (b"P2 2 2 9\n1 2 3 4", "netpbm written as text"),
    (np.zeros((3, 8, 8), np.float32).tobytes(), "no known kind"),
    (bytes(range(256)), "no known kind"),
])  # fmt: skip
def test_what_it_is_is_said(payload: bytes, word: str) -> None:
    found = rejected(payload)
    assert found.reason is RejectReason.UNSUPPORTED
    assert word in found.detail


SECRET = "root:$6$saltsalt$hashhash:19000:0:99999:7:::"


@pytest.mark.parametrize(
    "content",
    [SECRET.encode(), b"\x93NUMPY\x01\x00\x10\x00" + SECRET.encode(), b"P5 " + SECRET.encode(), b"BM" + SECRET.encode(),
     b"II*\x00" + SECRET.encode(), b"\xff\xd8\xff" + SECRET.encode(), b"RIFF1234WEBP" + SECRET.encode(),
     b"{" + SECRET.encode()],
)  # fmt: skip
def test_a_link_to_a_foreign_file_shows_nothing_of_it(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_bytes(content)
    (tmp_path / "a.jpg").symlink_to(tmp_path / "shadow")
    found = rejected(tmp_path / "a.jpg")
    for part in (SECRET[:4], SECRET[5:12], SECRET.encode()[:4].hex(), SECRET.encode()[:4].hex(" ")):
        assert part not in found.detail


def test_a_long_file_name_is_shortened(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(6):
        deep /= "x" * 200
    os.makedirs(deep, exist_ok=True)  # noqa: PTH103 - so that the names are in one place
    assert rejected(deep / "missing.jpg").reason is RejectReason.UNREADABLE


@pytest.mark.parametrize("error", [
    TypeError("'<' not supported"), MemoryError(), RecursionError("maximum"), OverflowError("int too large"),
    ValueError("x" * 5000), KeyError(1), cv2.error("Unknown C++ exception"), ZeroDivisionError(), UnicodeDecodeError(
        "utf-8", b"\xff", 0, 1, "invalid"), AssertionError(), SystemError("null"),
], ids=lambda error: type(error).__name__)  # fmt: skip
def test_any_exception_of_a_parser_is_a_rejection_that_is_noted(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: bytes) -> None:
        raise error

    noted: list[Exception] = []
    monkeypatch.setattr("edge_runtime.inference.preprocess.decode.read_header", fail)
    found = rejected(JPEG, PicturePreprocessor(SPEC, note_failure=noted.append))
    assert found.reason is RejectReason.UNREADABLE
    assert type(error).__name__ in found.detail
    assert noted == [error]


def test_a_foreseen_flaw_is_not_noted() -> None:
    noted: list[Exception] = []
    rejected(b"GIF89a", PicturePreprocessor(SPEC, note_failure=noted.append))
    assert noted == []
