"""The configuration that was in force last is found again, whatever the file became."""

from pathlib import Path

import pytest

from edge_runtime.config import find_last_good, keep_last_good, load_config
from edge_runtime.errors import StateError

GOOD = """
device: box
state_dir: state
models: {m: {bundle: parts}}
cameras: {belt: {path: pictures, model: m, fps: %d}}
"""
BAD = [
    "",
    "device: [",
    "\x00",
    "- a list",
    "state_dir: state\nmodels: {",
    GOOD.replace("%d", "soon"),
    GOOD.replace("bundle: parts", "bundel: parts") % 1,
    GOOD.replace("model: m", "model: other") % 1,
    GOOD.replace("state_dir: state", "state_dir: [state]") % 1,
    GOOD.replace("device: box", "device: box\ndevice: box") % 1,
    GOOD.replace("path: pictures", "path: rtsp://user:{EDGE_MISSING}@host/1") % 1,
    GOOD % 1 + "recalibration: {margin: much}\n",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "box.yaml"
    path.write_text(GOOD % 3)
    keep_last_good(load_config(path, {}), path)
    return path


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_cannot_be_used_leaves_the_one_before(path: Path, text: str) -> None:
    path.write_text(text)
    found = find_last_good(path, {"STATE_DIRECTORY": str(path.parent / "state")})
    assert found is not None
    assert found.cameras["belt"].fps == 3
    assert found.cameras["belt"].path == str(path.parent / "pictures")  # counted from the file's own folder


@pytest.mark.parametrize("is_removed", [True, False])
def test_the_state_directory_is_the_one_of_the_file_as_far_as_it_can_be_read(
    path: Path, is_removed: bool
) -> None:
    path.write_text(GOOD.replace("%d", "soon"))
    if is_removed:
        path.unlink()
    assert (find_last_good(path, {}) is None) is is_removed


def test_a_later_one_replaces_it_and_only_the_user_may_read_it(path: Path) -> None:
    path.write_text(GOOD % 5)
    keep_last_good(load_config(path, {}), path)
    path.write_text("")
    found = find_last_good(path, {"STATE_DIRECTORY": str(path.parent / "state")})
    assert found is not None
    assert found.cameras["belt"].fps == 5
    (copy,) = (path.parent / "state" / "last-good").iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600


def test_values_of_variables_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "box.yaml"
    path.write_text(GOOD.replace("path: pictures", "path: 'rtsp://user:{EDGE_CAMERA}@host/1'") % 1)
    keep_last_good(load_config(path, {"EDGE_CAMERA": "swordfish"}), path)
    (copy,) = (tmp_path / "state" / "last-good").iterdir()
    assert b"swordfish" not in copy.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        ("path: pictures", "path: 'rtsp://user:swordfish@host/1'"),
        ("path: pictures", "path: 'http://user:swordfish@host/snap.jpg'"),
        ("path: pictures", "path: 'rtsp://user:sword%2Ffish@host/1'"),
        ("device: box", "device: box\nmqtt: {host: broker, user: box, password: swordfish}"),
        ("device: box", 'device: box\nmqtt: {host: broker, user: box, password: "sword\\x66ish"}'),
        ("device: box", 'device: box\nmqtt: {host: broker, user: box, password: "sword\\\n  fish"}'),
        ("path: pictures", 'path: "rtsp://user:swordfish\\x40host/1"'),
    ],
)
def test_a_text_with_a_password_is_not_kept_and_no_older_one_is_left(
    path: Path, change: tuple[str, str]
) -> None:
    path.write_text(GOOD.replace("%d", "4").replace(*change))
    with pytest.raises(StateError):
        keep_last_good(load_config(path, {}), path)
    assert [one for one in (path.parent / "state").rglob("*") if one.is_file()] == []


def test_a_damaged_copy_is_no_configuration(path: Path) -> None:
    (copy,) = (path.parent / "state" / "last-good").iterdir()
    copy.write_bytes(b"\xff\xfe")
    assert find_last_good(path, {}) is None


def test_another_file_with_the_same_state_directory_has_its_own(path: Path) -> None:
    other = path.with_name("other.yaml")
    other.write_text(GOOD.replace("%d", "soon"))
    assert find_last_good(other, {}) is None


REVOKED = "a" * 64


@pytest.mark.parametrize("fps", ["3", "soon"])
def test_a_key_that_was_revoked_since_stays_revoked(path: Path, fps: str) -> None:
    path.write_text(GOOD.replace("%d", fps) + f"trust: {{revoked: [{REVOKED}]}}\n")
    found = find_last_good(path, {})
    assert found is not None
    assert found.cameras["belt"].fps == 3
    assert found.trust.revoked == (REVOKED,)


def test_a_trust_that_cannot_be_read_leaves_the_one_before(path: Path) -> None:
    path.write_text(GOOD % 3 + f"trust: {{revoked: [{REVOKED}]}}\n")
    keep_last_good(load_config(path, {}), path)
    path.write_text(GOOD % 3 + "trust: {revoked: all}\n")
    found = find_last_good(path, {})
    assert found is not None
    assert found.trust.revoked == (REVOKED,)


KEYS = """commands:
  keys: {anna: {file: anna.pub, role: owner}, otto: {file: otto.pub, role: operator}}
"""


@pytest.fixture
def keyed(tmp_path: Path) -> Path:
    path = tmp_path / "box.yaml"
    for name in ("anna", "otto"):
        (tmp_path / f"{name}.pub").touch()
    path.write_text(GOOD % 3 + KEYS)
    keep_last_good(load_config(path, {}), path)
    return path


@pytest.mark.parametrize(
    ("commands", "left", "unsigned"),
    [
        (KEYS, {"anna": "owner", "otto": "operator"}, None),
        (KEYS.replace("anna: {file: anna.pub, role: owner}, ", ""), {"otto": "operator"}, None),
        (KEYS.replace("role: owner", "role: viewer"), {"anna": "viewer", "otto": "operator"}, None),
        (KEYS.replace("role: operator", "role: owner"), {"anna": "owner", "otto": "operator"}, None),
        (KEYS.replace("anna.pub", "other.pub"), {"otto": "operator"}, None),
        (KEYS + "  unsigned: owner\n", {"anna": "owner", "otto": "operator"}, None),
        ("", {}, None),
        ("commands: {unsigned: owner}\n", {}, None),
        ("commands: [broken\n", {"anna": "owner", "otto": "operator"}, None),
        ("commands: {keys: {anna: 7}}\n", {"anna": "owner", "otto": "operator"}, None),
    ],
)
def test_a_refused_file_takes_rights_to_command_away_and_gives_none(
    keyed: Path, commands: str, left: dict[str, str], unsigned: str | None
) -> None:
    keyed.write_text(GOOD.replace("%d", "soon") + commands)
    (keyed.parent / "anna.pub").unlink()
    if "anna" in left:
        (keyed.parent / "anna.pub").touch()
    found = find_last_good(keyed, {"STATE_DIRECTORY": str(keyed.parent / "state")})
    assert found is not None
    assert {name: key.role for name, key in found.commands.keys.items()} == left
    assert found.commands.unsigned_role == unsigned
