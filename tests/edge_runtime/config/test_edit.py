import os
from pathlib import Path

import pytest

from edge_runtime.config import load_config
from edge_runtime.config.edit import edit_model, edit_text
from edge_runtime.errors import ConfigError, StateError
from tests.support.paths import DEMO, ROOT

HERE = Path("box.yaml")
TEXT = """\
# yaml-language-server: $schema=edge-runtime.schema.json
device: box            # part of every topic

models:
  parts:               # the belt
    bundle: "demo:efficientnet-lite0"
    version: latest    # or a number

  other: {bundle: demo:efficientnet-lite0}   # short

cameras:
  belt: {path: "demo:conveyor", model: parts}
mqtt: {host: broker, user: box, password: "{EDGE_SECRET}"}
"""
ENV = {"EDGE_SECRET": "secret-word"}


def box(folder: Path, text: str = TEXT) -> Path:
    path = folder / "box.yaml"
    path.write_text(text)
    return path


def added(before: str, after: str) -> list[str]:
    """Lines that are new; fails when an old one is gone."""
    old, new = before.splitlines(), after.splitlines()
    rest = iter(new)
    assert all(line in rest for line in old), f"a line was lost or changed:\n{after}"
    return [line for line in new if line not in old]


def test_sets_values_and_leaves_every_line_as_it_was(tmp_path: Path) -> None:
    path = box(tmp_path)
    edit_model(path, ENV, "parts", {"threads": 2, "engine.runtime": "openvino"})
    assert added(TEXT, path.read_text()) == ["    threads: 2", "    engine:", "      runtime: openvino"]
    model = load_config(path, ENV).models["parts"]
    assert (model.threads, model.engine.runtime) == (2, "openvino")
    assert "secret-word" not in path.read_text()


def test_a_short_model_stays_short(tmp_path: Path) -> None:
    path = box(tmp_path)
    edit_model(path, ENV, "other", {"threads": "latency", "engine.runtime": "openvino"})
    line = "  other: {bundle: demo:efficientnet-lite0, threads: latency, engine: {runtime: openvino}} # short"
    assert line.split() in [one.split() for one in path.read_text().splitlines()]


def test_a_value_that_is_there_is_replaced_beside_its_comment() -> None:
    text = TEXT.replace(
        "    version: latest",
        "    threads: 1  # by hand\n    engine: {pin_threads: true}\n    version: latest",
    )
    after = edit_text(text, HERE, "parts", {"threads": 4, "engine.runtime": "openvino"})
    assert "    threads: 4  # by hand\n    engine: {pin_threads: true, runtime: openvino}\n" in after


@pytest.mark.parametrize("indent", [2, 3, 4])
def test_keeps_the_indentation_of_the_file(indent: int) -> None:
    text = TEXT.replace("  ", " " * indent) + "list:\n" + " " * indent + "- 1   # one\n"
    after = edit_text(text, HERE, "parts", {"threads": 2})
    assert added(text, after) == [" " * indent * 2 + "threads: 2"]


def test_keeps_the_line_ends_of_the_file() -> None:
    text = TEXT.replace("\n", "\r\n")
    after = edit_text(text, HERE, "parts", {"threads": 2})
    assert after.count("\r\n") == after.count("\n") == text.count("\n") + 1


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (DEMO / "demo.yaml", "photos"),
        (ROOT / "configs" / "example-camera.yaml", "parts"),
        (ROOT / "configs" / "example-folder.yaml", "parts"),
    ],
    ids=lambda value: getattr(value, "stem", value),
)
def test_the_examples_can_be_edited(path: Path, model: str) -> None:
    text = path.read_text()
    after = edit_text(text, HERE, model, {"threads": 2})
    assert len(set(after.splitlines()) ^ set(text.splitlines())) in (1, 2)  # one added or one replaced


def test_permissions_stay_and_a_link_stays_a_link(tmp_path: Path) -> None:
    path = box(tmp_path)
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    edit_model(link, ENV, "parts", {"threads": 2})
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_uid == os.getuid()
    assert load_config(path, ENV).models["parts"].threads == 2


@pytest.mark.parametrize(
    ("model", "edits", "words"),
    [
        ("nobody", {"threads": 2}, "'nobody'"),
        ("parts", {"threads": 0}, "threads: 0"),
        ("parts", {"engine.runtime": "tensorflow"}, "tensorflow"),
        ("parts", {"queue_frames": 9}, "values"),
    ],
)
def test_what_would_not_be_right_changes_nothing(
    tmp_path: Path, model: str, edits: dict[str, object], words: str
) -> None:
    path = box(tmp_path)
    with pytest.raises(ConfigError, match=words):
        edit_model(path, ENV, model, edits)
    assert path.read_text() == TEXT
    assert [file.name for file in tmp_path.iterdir()] == ["box.yaml"]


def test_a_bad_file_is_not_made_worse(tmp_path: Path) -> None:
    path = box(tmp_path, TEXT + "device: again\n")
    with pytest.raises(ConfigError) as caught:
        edit_model(path, ENV, "parts", {"threads": 2})
    assert [problem.where for problem in caught.value.problems] == ["device"]
    with pytest.raises(StateError):
        edit_model(tmp_path / "none.yaml", ENV, "parts", {"threads": 2})
