"""The history of a configuration file: who, when, what changed, and the way back."""

import json

import pytest
from click.testing import CliRunner

from edge_runtime.cli.main import cli
from edge_runtime.config import ConfigHistory, load_config
from edge_runtime.config.history import KEPT
from edge_runtime.errors import CommandError, ConfigError

TEXT = """
device: box
state_dir: state
models: {m: {bundle: parts}}
cameras: {belt: {path: pictures, model: m, fps: %d}}
"""


class Box:
    def __init__(self, folder):
        self.file, self.state = folder / "box.yaml", folder / "state"
        self.history = ConfigHistory(self.file, self.state)

    def bring_into_force(self, text, by="file", **changed):
        self.file.write_text(text)
        return self.history.note(load_config(self.file, {}), by, changed)

    def run(self, *arguments):
        return CliRunner().invoke(cli, ["config", *map(str, arguments)], standalone_mode=False)


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path)


def test_entries_come_back_in_their_order_with_who_when_and_what(box):
    box.bring_into_force(TEXT % 1, "start")
    box.bring_into_force(TEXT % 2, "anna", **{"cameras.belt.fps": "reopen_camera"})
    first, second = box.history.entries()
    assert (first.number, first.by, first.text) == (1, "start", TEXT % 1)
    assert (second.number, second.by, second.changed) == (2, "anna", {"cameras.belt.fps": "reopen_camera"})
    assert first.at.endswith("Z")


def test_what_is_in_force_already_is_no_new_entry_and_keeps_who_set_it(box):
    box.bring_into_force(TEXT % 1, "anna")
    assert box.bring_into_force(TEXT % 1, "start").by == "anna"
    assert len(box.history.entries()) == 1


def test_only_the_newest_are_kept(box):
    for fps in range(1, KEPT + 4):
        box.bring_into_force(TEXT % fps)
    assert [entry.number for entry in box.history.entries()] == list(range(4, KEPT + 4))


def test_a_text_with_a_password_is_not_kept_and_nowhere_in_the_state(box):
    text = TEXT % 1 + "mqtt: {host: b, user: u, password: hunter2-xyz}\n"
    assert box.bring_into_force(text, "start").text is None
    box.bring_into_force(text, "start")
    assert len(box.history.entries()) == 1
    assert not any(b"hunter2-xyz" in file.read_bytes() for file in box.state.rglob("*") if file.is_file())
    with pytest.raises(CommandError):
        box.history.get(1)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b'{"number": 1}', b"\xff" * 9])
def test_a_damaged_entry_is_left_out_and_the_next_one_gets_a_new_number(box, damage):
    box.bring_into_force(TEXT % 1)
    box.bring_into_force(TEXT % 2)
    first, second = sorted(box.state.rglob("*.json"))
    first.write_bytes(damage)
    assert [entry.number for entry in box.history.entries()] == [2]
    second.write_bytes(damage)
    assert box.bring_into_force(TEXT % 3).number == 3


def test_it_is_found_for_a_file_that_is_broken_or_gone(box, monkeypatch):
    box.bring_into_force(TEXT % 1)
    box.file.write_text("device: [")
    found = ConfigHistory.find(box.file, {"STATE_DIRECTORY": str(box.state)})
    assert found.find_before(box.file.read_bytes()).number == 1


def test_the_commands_list_compare_and_put_back(box):
    box.bring_into_force(TEXT % 1, "start")
    box.bring_into_force(TEXT % 2, "anna")
    assert [row["by"] for row in json.loads(box.run("history", box.file, "--json").output)["entries"]] == [
        "start",
        "anna",
    ]
    assert len(box.run("history", box.file).output.splitlines()) == 3
    assert "-cameras: {belt: {path: pictures, model: m, fps: 1}}" in box.run("diff", box.file, 1, 2).output
    assert box.run("diff", box.file).output == ""
    assert json.loads(box.run("undo", box.file, "--json").output)["number"] == 1
    assert box.file.read_text() == TEXT % 1
    assert "+cameras: {belt: {path: pictures, model: m, fps: 1}}" in box.run("diff", box.file, 2).output
    assert isinstance(box.run("undo", box.file, 9).exception, CommandError)


def test_the_state_of_a_file_that_is_no_yaml_any_more_can_be_named(box, tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "elsewhere"))
    box.bring_into_force(TEXT % 1)
    box.file.write_text("device: box\n\tmqtt: {\n")
    for command in ("history", "diff", "undo"):
        assert isinstance(box.run(command, box.file).exception, CommandError)
    named = ("--state-dir", box.state)
    assert len(box.run("history", box.file, *named).output.splitlines()) == 2
    assert "+\tmqtt: {" in box.run("diff", box.file, *named).output
    assert box.run("undo", box.file, *named).exception is None
    assert box.file.read_text() == TEXT % 1


def test_what_cannot_be_used_any_more_is_not_put_back(box, tmp_path):
    key = tmp_path / "anna.pub"
    key.write_text("x")
    box.bring_into_force(TEXT % 1 + f"trust: {{keys: [{key}]}}\n")
    box.bring_into_force(TEXT % 2)
    key.unlink()
    assert isinstance(box.run("undo", box.file).exception, ConfigError)
    assert box.file.read_text() == TEXT % 2
