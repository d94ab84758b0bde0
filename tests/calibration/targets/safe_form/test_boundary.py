"""All that a parser raises about a file comes out as the declared error."""

import struct
import zipfile
import zlib

import pytest

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.safe_form import decide
from calibration.targets.safe_form.decide import make_safe, safe_onnx

SURPRISES = [
    ValueError("x"), IndexError("x"), KeyError("x"), struct.error("x"), RecursionError(), OverflowError(),
    ZeroDivisionError(), EOFError(), MemoryError(), NotImplementedError(), zipfile.BadZipFile("x"),
    zipfile.LargeZipFile("x"), zlib.error("x"), UnicodeDecodeError("utf-8", b"x", 0, 1, "x"),
]  # fmt: skip
FILES = {
    "read_onnx": ModelFiles(b"x"),
    "rewrite_ir": ModelFiles(b"<net/>", b""),
    "check_archive": ModelFiles(b"PK\x03\x04"),
}


def fail_with(error: Exception) -> object:
    def parse(*_: object) -> None:
        raise error

    return parse


@pytest.mark.parametrize("error", SURPRISES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("parser", FILES)
def test_a_surprise_of_a_parser_is_a_model_error(
    parser: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, parser, fail_with(error))
    with pytest.raises(ModelError) as caught:
        make_safe(FILES[parser], "name.x")
    assert caught.value.model == "name.x"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [TypeError("x"), AttributeError("x"), AssertionError()])
def test_a_mistake_of_ours_is_not_said_to_be_the_files(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, "read_onnx", fail_with(error))
    with pytest.raises(type(error)):
        safe_onnx(b"x")
