"""The configuration of safe mode: each section by itself, and no right that the texts do not give."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_runtime.config import (
    Config,
    ConfigHistory,
    find_last_good,
    find_safe_config,
    keep_last_good,
    load_config,
    parse_config,
)
from edge_runtime.config.safe_mode import NO_NAME
from edge_runtime.errors import ConfigError

WHOLE = """
device: box
state_dir: state
http: {port: 8099}
mqtt: {host: broker, commands: true}
commands: {keys: {anna: {file: anna.pub, role: owner}, otto: {file: otto.pub, role: viewer}}, groups: [line]}
trust: {min_version: {parts: 3}}
log: {level: warning}
outbox: {max_mib: 7}
models: {m: {bundle: parts}}
cameras: {belt: {path: pictures, model: m, fps: 3}}
"""
BROKEN = WHOLE.replace("fps: 3", "fps: soon")
NO_YAML = "state_dir: state\nmodels: {\n"
OTHERS = ("http", "trust", "log", "outbox", "drift", "pictures", "bundles", "recalibration")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for name in ("anna", "otto"):
        (tmp_path / f"{name}.pub").touch()
    return tmp_path / "box.yaml"


def find(path: Path, text: str | bytes, before: str | None = None) -> Config:
    if before is not None:
        path.write_text(before)
        keep_last_good(load_config(path, {}), path)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = find_safe_config(path, {"STATE_DIRECTORY": str(path.parent / "state")})
    assert found.is_safe_mode
    assert (found.models, found.cameras, found.text) == ({}, {}, path.read_bytes())
    return found


def rights(config: Config) -> dict[str, str | None] | None:
    """Who may command; None when nobody may."""
    if config.mqtt is None or not config.mqtt.commands:
        return None
    named: dict[str, str | None] = {name: one.role for name, one in config.commands.keys.items()}
    return {**named, "": config.commands.unsigned_role}


@pytest.mark.parametrize("before", [None, WHOLE.replace("8099", "9000").replace("broker", "other")])
@pytest.mark.parametrize(
    "text", [WHOLE, BROKEN, BROKEN + "cameros: {}\n", WHOLE.replace("parts}", "par ts}")]
)
def test_every_section_is_what_the_file_says_wherever_it_is_wrong(
    path: Path, text: str, before: str | None
) -> None:
    found = find(path, text, before)
    path.write_text(WHOLE)
    right = load_config(path, {})
    assert [getattr(found, name) for name in OTHERS] == [getattr(right, name) for name in OTHERS]
    assert (found.device, found.state_dir, found.mqtt) == (right.device, right.state_dir, right.mqtt)
    assert found.commands == right.commands


def test_no_text_gives_a_configuration_without_models() -> None:
    for text in ("device: box\n", "device: box\nmodels: {}\ncameras: {}\n"):
        with pytest.raises(ConfigError):
            parse_config(text, "box.yaml", {})


@pytest.mark.parametrize(
    "text",
    [
        NO_YAML,
        b"\xff\xfe\x00",
        "",
        "- a\n",
        WHOLE + WHOLE,
        WHOLE.replace("device: box", "device: a/b").replace(", commands: true", "").replace("8099", "no"),
    ],
)
def test_without_anything_to_go_by_it_is_this_machine_only_and_nobody_commands(
    path: Path, text: str | bytes
) -> None:
    found = find(path, text)
    assert (found.device, found.mqtt, rights(found)) == (NO_NAME, None, None)
    assert found.http.is_loopback
    assert found.state_dir in (path.parent / "state", Config.model_fields["state_dir"].default)


@pytest.mark.parametrize("text", [NO_YAML, b"\xff\xfe\x00", "", WHOLE + WHOLE])
def test_a_file_that_is_no_yaml_leaves_what_was_in_force_last(path: Path, text: str | bytes) -> None:
    found = find(path, text, WHOLE)
    assert (found.device, found.state_dir, found.http.port) == ("box", path.parent / "state", 8099)
    assert rights(found) == {"anna": "owner", "otto": "viewer", "": None}
    assert found.trust.min_version == {"parts": 3}


@pytest.mark.parametrize("before", [None, WHOLE])
@pytest.mark.parametrize(
    ("old", "new", "alone", "with_before"),
    [
        ("http: {port: 8099}", "http: {port: 8099, host: 0.0.0.0}", ("http", "port", 8080), 8099),
        ("http: {port: 8099}", "http: 7", ("http", "host", "127.0.0.1"), "127.0.0.1"),
        ("log: {level: warning}", "log: {level: loud}", ("log", "level", "info"), "warning"),
        ("max_mib: 7", "max_mib: much", ("outbox", "max_mib", 256), 7),
        ("{parts: 3}", "{parts: -3}", ("trust", "min_version", {}), {"parts": 3}),
    ],
)
def test_a_section_that_is_wrong_is_the_one_before_or_its_default(
    path: Path, old: str, new: str, alone: tuple[str, str, object], with_before: object, before: str | None
) -> None:
    section, key, otherwise = alone
    assert old in WHOLE
    found = find(path, WHOLE.replace(old, new), before)
    assert getattr(getattr(found, section), key) == (otherwise if before is None else with_before)
    assert found.device == "box"


COMMANDS = WHOLE[WHOLE.index("commands: {keys") : WHOLE.index("trust:")]
BOTH: dict[str, str | None] = {"anna": "owner", "otto": "viewer", "": None}


@pytest.mark.parametrize(
    ("commands", "alone", "with_before"),
    [
        (COMMANDS, BOTH, BOTH),
        ("commands: {keys: 7}\n", None, BOTH),
        ("commands: {unsigned: everybody}\n", None, BOTH),
        ("commands: {keys: {anna: {file: anna.pub, role: king}}}\n", None, BOTH),
        ("commands: {unsigned: owner}\n", {"": "owner"}, {"": "none"}),
        ("commands:\n", {"": "viewer"}, {"": "none"}),
        ("", {"": "viewer"}, {"": "none"}),
        ("commands: {groups: [line]}\n", {"": "viewer"}, {"": "none"}),  # cut off behind it
        (COMMANDS.replace("role: viewer", "role: owner"), {**BOTH, "otto": "owner"}, BOTH),
        (
            COMMANDS.replace("role: owner", "role: viewer"),
            {**BOTH, "anna": "viewer"},
            {**BOTH, "anna": "viewer"},
        ),
        (COMMANDS.replace("otto.pub", "gone.pub"), {"anna": "owner", "": None}, {"anna": "owner", "": None}),
        ("commands: {keys: {eve: {file: gone.pub}}}\n", {"": None}, {"": None}),
    ],
)
@pytest.mark.parametrize("before", [None, WHOLE])
def test_nobody_gets_a_right_that_the_texts_do_not_give(
    path: Path,
    commands: str,
    alone: dict[str, str | None] | None,
    with_before: dict[str, str | None],
    before: str | None,
) -> None:
    found = rights(find(path, BROKEN.replace(COMMANDS, commands), before))
    expected = alone if before is None else with_before
    assert _without_none(found) == _without_none(expected)


@pytest.mark.parametrize(("commands", "expected"), [
    (COMMANDS, BOTH), ("commands: {keys: 7}\n", None), ("commands:\n", {"": "viewer"}), ("", {"": "viewer"}),
])  # fmt: skip
@pytest.mark.parametrize("before", [
    WHOLE.replace("mqtt: {host: broker, commands: true}\n", ""),
    WHOLE.replace("commands: true", "commands: false"),
    WHOLE.replace(", commands: true}\n" + COMMANDS, "}\n"),
])  # fmt: skip
def test_rights_of_a_time_when_no_command_was_obeyed_are_none(
    path: Path, commands: str, expected: dict[str, str | None] | None, before: str
) -> None:
    """The file turns commands on, and cannot be read there."""
    found = rights(find(path, BROKEN.replace(COMMANDS, commands), before))
    assert _without_none(found) == _without_none(expected)


def _without_none(found: dict[str, str | None] | None) -> dict[str, str] | None:
    """A caller without a right is as one that is not named."""
    return (
        None if found is None else {name: role for name, role in found.items() if role not in (None, "none")}
    )


@pytest.mark.parametrize("is_used", [True, False])
def test_without_the_memory_of_commands_that_were_obeyed_none_is(path: Path, is_used: bool) -> None:
    if is_used:
        ConfigHistory(path, path.parent / "state").note(
            parse_config(WHOLE, "", {}, check_files=False), "start", {}
        )
    found = find(path, BROKEN.replace("state_dir: state", "state_dir: 7"))
    assert found.state_dir == path.parent / "state"
    assert rights(found) == (BOTH if is_used else None)


def test_a_broker_whose_password_is_not_in_the_environment_is_not_used(path: Path) -> None:
    text = BROKEN.replace("host: broker", 'host: broker, user: u, password: "{EDGE_GONE}"')
    assert find(path, text).mqtt is None


def test_a_sink_at_a_path_is_left_out_since_only_cameras_and_models_tell_whether_it_is_free(
    path: Path,
) -> None:
    assert find(path, f"{BROKEN}sink: {{path: pictures/results.jsonl}}\n").sink is None
    found = find(path, f"{BROKEN}sink: {{max_mib: 3}}\n").sink
    assert found is not None
    assert found.max_mib == 3


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path.name)], ids=["folder", "pipe", "circle"]
)
def test_a_file_that_cannot_be_read_is_as_one_that_says_nothing(
    path: Path, make: Callable[[Path], None]
) -> None:
    make(path)
    assert find_last_good(path, {}) is None
    assert find_safe_config(path, {}).mqtt is None
