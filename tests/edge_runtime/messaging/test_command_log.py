"""The log of commands: whole over kills and full disks, bounded, and broken by every change."""

import os

import orjson
import pytest
from click.testing import CliRunner

from edge_runtime.cli.main import cli
from edge_runtime.messaging.commands import command_log
from edge_runtime.messaging.commands.command_log import LOG_FILE, CommandLog, read_log
from edge_runtime.messaging.commands.records import Entry


def entry(number, by="anna"):
    return Entry(1_795_448_459.0 + number, by, "rollback", {"model": "parts"}, f"t{number}", "ok")


@pytest.fixture
def path(tmp_path):
    return tmp_path / LOG_FILE


@pytest.fixture
def log(path):
    log = CommandLog(path)
    yield log
    log.close()


def fill(log, count, first=0):
    for number in range(first, first + count):
        log.note(entry(number))


def transactions(path):
    found = read_log(path)
    assert found.problem is None
    return [one["transaction"] for one in found.entries]


def test_every_entry_is_read_back_in_order(log, path):
    fill(log, 3)
    found = read_log(path).entries
    assert [one["number"] for one in found] == [1, 2, 3]
    assert found[0]["by"] == "anna"
    assert found[0]["arguments"] == {"model": "parts"}
    assert found[0]["at"] == "2026-11-23T15:40:59.000Z"


def test_nothing_was_commanded(path):
    assert read_log(path).entries == ()


def test_it_goes_on_after_a_restart(log, path):
    fill(log, 2)
    again = CommandLog(path)
    assert again.describe() == log.describe()
    fill(again, 2, first=2)
    again.close()
    assert transactions(path) == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize("left", [1, 10, 100])
def test_a_line_that_a_kill_left_unfinished_is_cut_off(log, path, left):
    fill(log, 3)
    log.close()
    text = path.read_bytes()
    path.write_bytes(text[: len(text) - left])
    assert transactions(path) == ["t0", "t1"]
    fill(CommandLog(path), 1, first=3)
    assert transactions(path) == ["t0", "t1", "t3"]


def test_it_keeps_two_files(log, path, monkeypatch):
    monkeypatch.setattr(command_log, "MAX_BYTES", 2000)
    fill(log, 30)
    found = read_log(path).entries
    assert [one["number"] for one in found] == list(range(31 - len(found), 31))
    assert 6 < len(found) < 20
    assert sum(file.stat().st_size for file in path.parent.iterdir()) <= 4000
    assert sorted(file.name for file in path.parent.iterdir()) == [LOG_FILE, f"{LOG_FILE}.1"]


def change(lines):
    return [lines[0], lines[1].replace(b"rollback", b"remove"), *lines[2:]]


def put_in(lines):
    return [*lines[:2], orjson.dumps({**orjson.loads(lines[1]), "number": 3}), *lines[2:]]


@pytest.mark.parametrize(
    ("meddle", "kept"),
    [
        (change, 2),
        (put_in, 2),
        (lambda lines: [lines[0], *lines[2:]], 1),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [b"{}", *lines], 0),
        (lambda lines: [b"[]", *lines], 0),
        (lambda lines: [b"\xff", *lines], 0),
        (lambda lines: [*lines[:3], b"", lines[3]], 3),
    ],
)
def test_every_change_breaks_the_chain(log, path, meddle, kept):
    fill(log, 4)
    path.write_bytes(b"\n".join([*meddle(path.read_bytes().splitlines()), b""]))
    found = read_log(path)
    assert found.problem is not None
    assert len(found.entries) == kept


def test_a_new_chain_has_another_head(log, path, tmp_path):
    fill(log, 3)
    forged = CommandLog(tmp_path / "forged")
    for number in range(3):
        forged.note(entry(number, by="mallory"))
    forged.close()
    assert forged.describe()["head"] != log.describe()["head"]


def test_a_disk_that_refuses_is_counted_and_the_next_entry_goes_on(log, path, monkeypatch):
    fill(log, 1)
    with monkeypatch.context() as patched:
        patched.setattr(
            os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        log.note(entry(1))
    assert log.describe()["unwritten"] == 1
    fill(log, 1, first=2)
    assert transactions(path)[-1] == "t2"


@pytest.mark.parametrize(
    "make",
    [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("/etc/hostname")],
)
def test_what_is_no_file_costs_the_entries_and_nothing_else(path, make):
    make(path)
    log = CommandLog(path)
    log.note(entry(0))
    assert log.describe()["unwritten"] == 1


def test_the_command_line_shows_it_and_says_when_it_was_changed(path, log):
    config = path.parent / "box.yaml"
    config.write_text(
        f"device: d\nstate_dir: {path.parent}\nmodels: {{parts: {{bundle: p}}}}\n"
        "cameras: {c: {path: pictures, model: parts}}\n"
    )
    fill(log, 2)
    good = CliRunner().invoke(cli, ["command-log", str(config)], standalone_mode=False)
    assert good.return_value == 0
    assert "anna" in good.output
    path.write_bytes(path.read_bytes().replace(b"anna", b"otto"))
    bad = CliRunner().invoke(cli, ["command-log", str(config), "--json"], standalone_mode=False)
    assert bad.return_value == 65
    assert len(orjson.loads(bad.stdout)["entries"]) == 1


def test_a_head_that_was_noted_is_found_until_its_lines_are_gone(path, log):
    config = path.parent / "box.yaml"
    config.write_text(
        f"device: d\nstate_dir: {path.parent}\nmodels: {{parts: {{bundle: p}}}}\n"
        "cameras: {c: {path: pictures, model: parts}}\n"
    )

    def check(head):
        command = ["command-log", str(config), "--head", head]
        return CliRunner().invoke(cli, command, standalone_mode=False).return_value

    fill(log, 2)
    early = log.describe()["head"]
    fill(log, 2, first=2)
    late = log.describe()["head"]
    assert read_log(path).hashes[-1] == late
    assert (check(early), check(late), check(command_log.BEGINNING)) == (0, 0, 0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    assert (check(early), check(late)) == (0, 65)
