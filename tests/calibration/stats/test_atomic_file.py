import os
import stat
from pathlib import Path

import pytest

from calibration.stats.atomic_file import write_atomically


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_may_be_read_by_all_unless_another_mode_is_given(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"1")
    write_atomically(tmp_path / "b", b"2", new_mode=0o600)
    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (0o644, 0o600)


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    """A private baseline must not become readable by all because it is renewed."""
    path = tmp_path / "baseline"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_atomically(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


@pytest.mark.parametrize("target", ["/dev/zero", "file", "absent"])
def test_a_link_to_no_regular_file_is_replaced_by_a_private_file(tmp_path: Path, target: str) -> None:
    path = tmp_path / "file"
    path.symlink_to(target)
    write_atomically(path, b"new", new_mode=0o600)
    assert (path.read_bytes(), path.is_symlink(), mode(path)) == (b"new", False, 0o600)


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_is_left_of_an_interrupted_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(handle: int) -> None:
        raise reason

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(reason)) as caught:
        write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(path)
