"""A partial edit changes the keys that it names, and leaves every other line as it was."""

import pytest
import yaml

from edge_runtime.config.edit import edit_keys
from edge_runtime.errors import ConfigError

TEXT = """\
# the box at the belt
device: box   # part of every topic

models:
  # the first
  parts: {bundle: x, threads: 2}   # short
  other:
    bundle: y
    rollout:
      shadow: {frames: 3}
      # inside

  # third comes
  third: {bundle: z}
cameras:
  belt:
    path: a
    fps: 3 # slow
mqtt: {host: b, password: "{EDGE_X}"}
"""


def edit(values=None, remove=(), text=TEXT):
    return edit_keys(text.encode(), "box.yaml", values or {}, remove).decode()


def lines_of(before, after):
    """(lines that are gone, lines that are new)"""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_value_is_replaced_in_its_line():
    assert lines_of(TEXT, edit({"cameras.belt.fps": 5})) == (["    fps: 3 # slow"], ["    fps: 5 # slow"])


def test_a_section_is_taken_out_with_what_is_in_it_and_nothing_else():
    gone, new = lines_of(TEXT, edit(remove=["models.other.rollout"]))
    assert gone == ["    rollout:", "      shadow: {frames: 3}", "      # inside"]
    assert new == []


def test_a_key_of_a_short_section_is_taken_out():
    assert yaml.safe_load(edit(remove=["mqtt.password"]))["mqtt"] == {"host": "b"}


def test_the_only_key_of_a_section_leaves_an_empty_section():
    text = "cameras:\n  belt:\n    fps: 3\n"
    assert yaml.safe_load(edit(remove=["cameras.belt.fps"], text=text)) == {"cameras": {"belt": {}}}


def test_missing_sections_are_made_also_in_an_empty_file():
    assert yaml.safe_load(edit({"log.level": "debug"}, text="")) == {"log": {"level": "debug"}}
    assert yaml.safe_load(edit({"log.level": "debug"}))["log"] == {"level": "debug"}


@pytest.mark.parametrize("value", ["yes", "null", "1e3", "0o7", "12:30", "", "a: b", "# x", "2026-01-01", "1.5", 0.25,
                                   3, True, None, ["a", "no"], {"path": "on", "size": [1, 2]}])  # fmt: skip
def test_every_value_comes_back_as_it_was_given(value):
    assert yaml.safe_load(edit({"cameras.gate": value}))["cameras"]["gate"] == value


@pytest.mark.parametrize("key", ["cameras.gate", "cameras.belt.fps.x", "nothing"])
def test_what_is_not_in_the_file_cannot_be_taken_out(key):
    with pytest.raises(ConfigError) as caught:
        edit(remove=[key])
    assert caught.value.problems[0].where == key


def test_a_value_is_not_replaced_by_a_section():
    with pytest.raises(ConfigError) as caught:
        edit({"cameras.belt.fps.most": 5})
    assert [(one.where, one.line) for one in caught.value.problems] == [("cameras.belt.fps", 18)]


def test_a_file_that_is_no_yaml_is_refused_with_its_line():
    with pytest.raises(ConfigError) as caught:
        edit({"device": "x"}, text="device: box\ncameras: {\n  belt: [\n")
    assert caught.value.problems[0].line is not None


def test_line_ends_of_windows_stay():
    after = edit({"cameras.belt.fps": 5}, ["models.other.rollout"], TEXT.replace("\n", "\r\n"))
    assert after.count("\r\n") == after.count("\n") == TEXT.count("\n") - 3
