"""Archives of torch: zip files that two readers could read differently."""

import io
import struct
import warnings
import zipfile
from collections.abc import Callable

import pytest

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.safe_form import torch_archive
from calibration.targets.safe_form.decide import make_safe
from calibration.targets.safe_form.torch_archive import NotTorchScript, check_archive

MEMBERS = {
    "m/data.pkl": b"\x80\x02.",
    "m/constants.pkl": b"\x80\x02).",
    "m/version": b"3\n",
    "m/data/0": bytes(64),
}
CODE = "m/code/__torch__/net.py"


def archive(changes: dict[str, bytes | None] | None = None, packed: tuple[str, ...] = ()) -> bytes:
    """An archive of the members that torch writes, with some of them changed or taken away."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in {**MEMBERS, CODE: b"x = 1\n" * 99, **(changes or {})}.items():
            if data is not None:
                kind = zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED
                target.writestr(zipfile.ZipInfo(name), data, kind)
    return buffer.getvalue()


def twice(name: str) -> bytes:
    buffer = io.BytesIO(archive())
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as target:
        warnings.simplefilter("ignore")
        target.writestr(name, b"other")
    return buffer.getvalue()


def renamed(data: bytes, old: bytes, new: bytes, which: int) -> bytes:
    """Another name in the directory (1) or before the member (0) than in the other place."""
    at = data.index(old) if which == 0 else data.rindex(old)
    return data[:at] + new + data[at + len(old) :]


def test_archives_as_torch_writes_them_pass() -> None:
    check_archive(archive())
    check_archive(archive(packed=(CODE,)))
    check_archive(archive({"m/version": None, "m/.data/version": b"10\n"}))  # with gelu, for one
    assert make_safe(ModelFiles(archive()), declared="torchscript").format == "torchscript"


_PLAIN_FLAGS, _ENCRYPTED_FLAGS = b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0"

REFUSED: dict[str, Callable[[], bytes]] = {
    "no bytes": lambda: b"",
    "only its start": lambda: b"PK\x03\x04",
    "cut": lambda: archive()[:-30],
    "bytes before it": lambda: b"PK\x03\x04" + archive(),
    "bytes behind it": lambda: archive() + b"x",
    "another archive behind it": lambda: archive() + archive({"m/data/0": b"other"}),
    "a comment": lambda: archive()[:-2] + struct.pack("<H", 3) + b"abc",
    "bytes before the end record": lambda: archive()[:-22] + bytes(9) + archive()[-22:],
    "a second directory": lambda: archive()[:-22] + b"PK\x06\x07" + bytes(16) + archive()[-22:],
    "no constants": lambda: archive({"m/constants.pkl": None}),
    "no weights": lambda: archive({"m/data.pkl": None}),
    "two folders": lambda: archive({"other/data.pkl": b""}),
    "a path that goes up": lambda: archive({"m/../../x": b""}),
    "an absolute path": lambda: archive({"/m/x": b""}),
    "a backslash": lambda: archive({"m/a\\b": b""}),
    "a member twice": lambda: twice("m/data.pkl"),
    "packed weights": lambda: archive({"m/data/0": bytes(9999)}, packed=("m/data/0",)),
    "a packed pickle": lambda: archive({"m/data.pkl": bytes(9999)}, packed=("m/data.pkl",)),
    "another name in the directory": lambda: renamed(archive(), b"m/data/0", b"m/data/1", 1),
    "another name at the member": lambda: renamed(archive(), b"m/data/0", b"m/data/1", 0),
    "a flag of encryption": lambda: archive().replace(_PLAIN_FLAGS, _ENCRYPTED_FLAGS, 1),
    "a member without a folder": lambda: archive({"m": b""}),
    "a packed member without a folder": lambda: archive({"m": bytes(999)}, packed=("m",)),
    "a folder as a member": lambda: archive({"m/": b""}),
    "another member without a folder": lambda: archive({"x": bytes(99)}, packed=("x",)),
    "a name of nothing": lambda: archive({"": b""}),
    "a name of a slash": lambda: archive({"/": b""}),
    "a name of spaces": lambda: archive({" ": b""}, packed=(" ",)),
    "code without a folder": lambda: archive({"code": bytes(999)}, packed=("code",)),
    "members without a folder only": lambda: archive({**dict.fromkeys((*MEMBERS, CODE)), "m": b"", "n": b""}),
    "no members": lambda: archive(dict.fromkeys((*MEMBERS, CODE))),
    "a long name": lambda: archive({"m/" + "x" * 2000: b""}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_archives_that_leave_a_choice_are_refused(name: str) -> None:
    with pytest.raises(NotTorchScript):
        check_archive(REFUSED[name]())


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = archive({CODE: bytes(torch_archive.MAX_CODE_BYTES + 1)}, packed=(CODE,))
    assert len(bomb) < 100_000
    with pytest.raises(NotTorchScript, match="program of"):
        check_archive(bomb)


@pytest.mark.parametrize("declared", ["onnx", "openvino"])
def test_an_archive_under_another_format_is_refused(declared: str) -> None:
    with pytest.raises(ModelError, match="TorchScript by its bytes"):
        make_safe(ModelFiles(archive()), "model", declared)  # type: ignore[arg-type]
