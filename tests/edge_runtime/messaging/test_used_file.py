"""Used transactions on disk: known after a kill, bounded, and a damaged file costs what it holds and nothing else."""

import os
import random
import subprocess
import sys

import pytest

from edge_runtime.errors import StateError
from edge_runtime.messaging.commands import used_file
from edge_runtime.messaging.commands.used_file import FILE_BYTES, UsedFile

REQUEST, OTHER = b"r" * 24, b"o" * 24


@pytest.fixture
def path(tmp_path):
    return tmp_path / "commands.used"


def fill(path, count):
    used = UsedFile(path)
    for number in range(count):
        used.begin(number, REQUEST)
    used.close()


def known(path, count):
    used = UsedFile(path)
    found = [number for number in range(count) if used.find(number) is not None]
    used.close()
    return found


def test_a_used_transaction_is_known_with_its_answer_and_after_a_restart_without(path):
    used = UsedFile(path)
    assert used.find("a") is None
    used.begin("a", REQUEST)
    assert (used.find("a").request, used.find("a").answer) == (REQUEST, None)
    used.finish("a", b"done")
    assert used.find("a").answer == b"done"
    again = UsedFile(path)
    assert (again.find("a").request, again.find("a").answer) == (REQUEST, None)
    assert again.find("b") is None
    assert (path.stat().st_mode & 0o777, path.stat().st_size) == (0o600, FILE_BYTES)
    used.close()


def test_nothing_is_made_before_the_first_command(path):
    UsedFile(path).close()
    assert not path.exists()


@pytest.mark.integration
def test_a_kill_right_after_noting_forgets_nothing(path):
    program = (
        "import os, sys; from pathlib import Path\n"
        "from edge_runtime.messaging.commands.used_file import UsedFile\n"
        "used = UsedFile(Path(sys.argv[1]))\n"
        "for number in range(50): used.begin(number, b'r' * 24)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert known(path, 60) == list(range(50))


def test_the_newest_are_known_and_the_file_does_not_grow(path, monkeypatch):
    monkeypatch.setattr(used_file, "SLOTS", 8)
    monkeypatch.setattr(used_file, "FILE_BYTES", 9 * 64)
    fill(path, 20)
    assert known(path, 30) == list(range(12, 20))
    fill_from = UsedFile(path)
    fill_from.begin("next", OTHER)
    assert [number for number in range(30) if fill_from.find(number)] == list(range(13, 20))
    fill_from.close()
    assert path.stat().st_size == 9 * 64


def test_answers_are_bounded(path, monkeypatch):
    monkeypatch.setattr(used_file, "KEPT_ANSWERS", 2)
    monkeypatch.setattr(used_file, "LARGEST_ANSWER_BYTES", 10)
    used = UsedFile(path)
    for number, answer in enumerate((b"a", b"b" * 11, b"c", b"d")):
        used.begin(number, REQUEST)
        used.finish(number, answer)
    assert [used.find(number).answer for number in range(4)] == [None, None, b"c", b"d"]
    used.close()


def flip(data):
    data[64 * 3 + 20] ^= 1


DAMAGES = {
    "empty": lambda data: data.clear(),
    "one byte": lambda data: data.__delitem__(slice(1, None)),
    "half": lambda data: data.__delitem__(slice(64 * 6, None)),
    "torn slot": lambda data: data.__delitem__(slice(64 * 5 + 7, None)),
    "one bit": flip,
    "magic": lambda data: data.__setitem__(slice(0, 64), bytes(64)),
    "zeros": lambda data: data.__setitem__(slice(0, None), bytes(len(data))),
    "ones": lambda data: data.__setitem__(slice(0, None), b"\xff" * len(data)),
    "text": lambda data: data.__setitem__(slice(0, None), b"not a slot " * 1000),
    "appended": lambda data: data.extend(b"x" * 1000),
    "shifted": lambda data: data.insert(64, 1),
    "random": lambda data: data.__setitem__(slice(0, None), random.Random(1).randbytes(len(data))),
}
KEPT = {
    "half": range(5),
    "torn slot": range(4),
    "one bit": [0, 1, *range(3, 10)],
    "magic": range(10),
    "appended": range(10),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_costs_what_it_holds_and_goes_on(path, damage):
    fill(path, 10)
    data = bytearray(path.read_bytes())
    DAMAGES[damage](data)
    path.write_bytes(data)
    assert known(path, 10) == list(KEPT.get(damage, []))
    used = UsedFile(path)
    assert used.damaged > 0
    used.begin("next", OTHER)
    used.close()
    assert UsedFile(path).find("next").request == OTHER
    assert known(path, 10) == list(KEPT.get(damage, []))


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "link to nothing"])
def test_what_is_no_file_is_moved_away(path, kind, tmp_path):
    match kind:
        case "folder":
            (path / "full").mkdir(parents=True)
        case "pipe":
            os.mkfifo(path)
        case "link":
            (tmp_path / "foreign").write_bytes(b"foreign")
            path.symlink_to(tmp_path / "foreign")
        case _:
            path.symlink_to(tmp_path / "foreign")
    used = UsedFile(path)
    used.begin("a", REQUEST)
    used.close()
    assert UsedFile(path).find("a").request == REQUEST
    assert path.is_file()
    assert not path.is_symlink()
    if kind == "link":
        assert (tmp_path / "foreign").read_bytes() == b"foreign"


def test_a_disk_that_refuses_is_a_state_error_and_tried_again(path, monkeypatch):
    used = UsedFile(path)
    used.begin("a", REQUEST)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", refuse)
        for _ in range(2):
            with pytest.raises(StateError, match="No space left"):
                used.begin("b", REQUEST)
    assert used.find("b") is None
    used.begin("b", REQUEST)
    assert used.find("a").request == REQUEST
    used.close()


@pytest.fixture
def refused(path, monkeypatch):
    """Three transactions, after one that was noted, whose slots were written but not flushed."""
    used = UsedFile(path)
    used.begin("a", REQUEST)

    def refuse(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", refuse)
        for one in ("b", "c", 4):
            with pytest.raises(StateError):
                used.begin(one, REQUEST)
    yield used
    used.close()


def test_what_was_refused_after_it_was_written_is_not_used(path, refused):
    refused.begin("other", REQUEST)
    assert [refused.find(one) for one in ("b", "c", 4)] == [None] * 3
    refused.begin("b", OTHER)
    refused.close()
    again = UsedFile(path)
    assert [again.find(one).request for one in ("a", "other", "b")] == [REQUEST, REQUEST, OTHER]
    assert [again.find(one) for one in ("c", 4)] == [None, None]


def test_what_was_refused_is_not_used_after_a_restart(path, refused):
    again = UsedFile(path)
    assert [again.find(one) for one in ("b", "c", 4)] == [None] * 3
    assert again.find("a").request == REQUEST


def test_a_slot_that_could_not_be_taken_back_is_not_read_again(path, monkeypatch):
    used = UsedFile(path)
    used.begin("a", REQUEST)
    write = os.pwrite

    def refuse(*_):
        raise OSError(5, "Input/output error")

    def write_then_refuse(handle, data, at):
        if not data.strip(b"\0"):
            raise OSError(5, "Input/output error")
        return write(handle, data, at)

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", write_then_refuse)
        broken.setattr(os, "fdatasync", refuse)
        with pytest.raises(StateError):
            used.begin("b", REQUEST)
    used.begin("other", REQUEST)
    assert (used.find("b"), used.find("other").request) == (None, REQUEST)
    used.close()


def test_the_count_of_what_a_damage_cost_does_not_go_down(path):
    fill(path, 5)
    content = bytearray(path.read_bytes())
    content[64:192] = b"\xff" * 128
    path.write_bytes(content)
    used = UsedFile(path)
    assert used.damaged == 2
    path.write_bytes(bytes(content[:64] + bytes(128) + content[192:]))
    used.begin("new", REQUEST)
    assert used.damaged == 2
    used.close()


def test_a_folder_that_is_gone_is_a_state_error(path):
    used = UsedFile(path.parent / "gone" / "commands.used")
    with pytest.raises(StateError):
        used.begin("a", REQUEST)
