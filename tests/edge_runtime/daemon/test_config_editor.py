"""Edits by command: what is checked before, what is written, and what the caller hears."""

import os
import threading

import pytest

from edge_runtime.config import find_safe_config, load_config, merge_in_force, parse_config
from edge_runtime.daemon import config_editor
from edge_runtime.errors import CommandError, ConfigError
from tests.support.edited_box import SECRET, EditedBox
from tests.support.waiting import WAIT_S


@pytest.fixture
def box(tmp_path, monkeypatch):
    box = EditedBox(tmp_path, monkeypatch)
    yield box
    box.close()


def test_an_edit_is_in_the_file_and_in_force_and_is_not_handed_on_once_more(box):
    before = box.file.read_text()
    answer = box.set(set={"cameras.belt.fps": 5})
    assert answer == {
        "outcome": "in_force",
        "changed": {"cameras.belt.fps": "reopen_camera"},
        "after_restart": [],
        "warnings": [],
    }
    assert box.file.read_text() == before.replace("fps: 3", "fps: 5")
    box.watch.check_now()
    assert box.seen == []


def test_what_a_person_must_know_of_an_edit_is_in_the_answer_and_in_that_of_a_dry_run(box):
    box.warnings = ["models.parts: the next start does not open it"]
    for dry_run in (True, False):
        assert box.set(set={"cameras.belt.fps": 5}, dry_run=dry_run)["warnings"] == box.warnings
    assert box.undo()["warnings"] == box.warnings


def test_the_file_keeps_its_mode_and_a_link_to_it_stays_one(box, tmp_path):
    box.file.chmod(0o640)
    real = tmp_path / "real.yaml"
    box.file.rename(real)
    box.file.symlink_to(real)
    box.set(set={"device": "other"})
    assert box.file.is_symlink()
    assert (real.stat().st_mode & 0o777, "device: other" in real.read_text()) == (0o640, True)


@pytest.mark.parametrize("arguments", [
    {"set": {"cameras.belt.fps": "soon"}}, {"set": {"cameras.belt.fsp": 3}}, {"remove": ["models.parts"]},
    {"set": {"cameras.gate": {"path": "mqtt", "model": "prats"}}}, {"remove": ["cameras.gate"]},
    {"text": "device: [\n"},
    {"set": {"mqtt.password": "{EDGE_MISSING}"}},
])  # fmt: skip
def test_a_refused_edit_is_not_written_and_the_refusal_names_key_or_line(box, arguments):
    before = box.file.read_bytes()
    with pytest.raises(ConfigError) as caught:
        box.set(**arguments)
    assert all(one.where or one.line for one in caught.value.problems)
    assert box.file.read_bytes() == before


def test_what_the_running_system_refuses_is_not_written(box):
    before, box.refusal = box.file.read_bytes(), CommandError("its bundle is damaged")
    with pytest.raises(CommandError, match="damaged"):
        box.set(set={"models.parts.threads": 1})
    assert box.file.read_bytes() == before


def test_an_edit_by_hand_in_between_is_not_lost(box, monkeypatch):
    def check_while_a_person_edits(*arguments, **options):
        box.file.write_text(box.file.read_text().replace("fps: 3", "fps: 7"))
        return parse_config(*arguments, **options)

    monkeypatch.setattr(config_editor, "parse_config", check_while_a_person_edits)
    with pytest.raises(CommandError):
        box.set(set={"device": "other"})
    assert "fps: 7" in box.file.read_text()
    assert "device: box" in box.file.read_text()


def test_a_dry_run_says_what_would_change_and_writes_nothing(box):
    before = box.file.read_bytes()
    answer = box.set(set={"cameras.belt.fps": 5, "device": "other"}, dry_run=True)
    assert answer == {
        "outcome": "checked",
        "changed": {"device": "restart", "cameras.belt.fps": "reopen_camera"},
        "after_restart": ["device"],
        "warnings": [],
    }
    assert box.file.read_bytes() == before


@pytest.mark.parametrize(("key", "value"), [
    ("models.parts.bundle", "gone"), ("cameras.belt", {"path": "/nowhere/clip.mp4", "model": "parts"}),
    ("mqtt.port", 2), ("commands.keys", {"olga": {"file": "box.yaml", "role": "owner"}}),
])  # fmt: skip
def test_a_dry_run_finds_a_bundle_a_camera_and_a_broker_that_are_not_there(box, key, value):
    with pytest.raises(CommandError, match=r"line \d+: "):
        box.set(set={key: value}, dry_run=True)


def test_a_secret_is_refused_in_every_way_and_never_repeated(box):
    for arguments in (
        {"set": {"mqtt.password": SECRET}},
        {"set": {"cameras.belt.path": f"rtsp://u:{SECRET}@h/1"}},
        {"set": {"device": SECRET}},
        {"set": {"mqtt": {"host": "b", "user": "u", "password": SECRET}}},
        {"text": f"device: b\nmqtt: {{host: b, user: u, password: {SECRET}}}\n"},
        {"text": f"device: [{SECRET}\n"},
    ):
        with pytest.raises(CommandError) as caught:
            box.set(**arguments)
        assert SECRET not in str(caught.value)
        assert SECRET not in box.file.read_text()


def test_a_text_with_hidden_lines_keeps_the_secrets_of_the_file(box):
    box.file.write_text(box.file.read_text().replace('"{EDGE_P}"', '"a-literal-one"'))
    shown = box.editor.read()["text"]
    assert "a-literal-one" not in shown
    box.set(text=shown.replace("fps: 3", "fps: 5"))
    assert 'password: "a-literal-one"' in box.file.read_text()
    assert "fps: 5" in box.file.read_text()
    with pytest.raises(CommandError, match=r"line \d+: "):
        box.set(text=shown.replace('"***"', '"***and-more"'))


def test_a_text_of_a_file_that_is_another_one_by_now_is_refused(box):
    shown = box.editor.read()
    box.set(set={"cameras.belt.fps": 7})
    edit = {"text": shown["text"].replace("slow", "fast"), "before_sha256": shown["sha256"]}
    for dry_run in (True, False):
        with pytest.raises(CommandError):
            box.set(**edit, dry_run=dry_run)
    assert "fps: 7" in box.file.read_text()
    box.set(**{**edit, "before_sha256": box.editor.read()["sha256"]})
    assert "# fast" in box.file.read_text()


def test_the_file_is_shown_without_secrets_and_with_what_is_wrong(box):
    shown = box.editor.read()
    assert (shown["in_force"], shown["problem"], shown["text"]) == (True, None, box.file.read_text())
    box.file.write_text(
        f"mqtt: {{password: {SECRET}}} # other-secret\ncameras: {{c: {{path: 'rtsp://a:b-c-d@h/1'}}}}\n"
    )
    box.running.config_problem = "line 1: device: missing"
    shown = box.editor.read()
    assert (shown["in_force"], shown["problem"]) == (False, "line 1: device: missing")
    assert not any(secret in shown["text"] for secret in (SECRET, "b-c-d"))


def test_the_file_is_shown_with_the_keys_that_wait_for_a_restart(box):
    assert box.editor.read()["after_restart"] == []
    box.file.write_text(
        box.file.read_text().replace("device: box", "device: other").replace("fps: 3", "fps: 4")
    )
    box.running.config = merge_in_force(box.running.config, load_config(box.file, box.env))
    shown = box.editor.read()
    assert (shown["in_force"], shown["after_restart"]) == (True, ["device"])
    box.file.write_text("device: [")
    assert box.editor.read()["after_restart"] == []


def test_an_edit_that_mends_a_file_only_partly_is_refused_with_all_that_is_left_and_safe_mode_goes_on(box):
    broken = (
        box.file.read_text().replace("fps: 3", "fps: soon").replace("parts, fps", "pats, fps") + "log: 7\n"
    )
    box.file.write_text(broken)
    box.running.config = find_safe_config(box.file, box.env)
    assert not box.editor.read()["in_force"]
    with pytest.raises(ConfigError) as caught:
        box.set(set={"cameras.belt.fps": 5})
    assert [one.where for one in caught.value.problems] == ["cameras.belt.model", "log"]
    assert (box.file.read_text(), box.running.config.is_safe_mode) == (broken, True)
    mended = box.set(set={"cameras.belt.fps": 5, "cameras.belt.model": "parts", "log": {}})
    assert (mended["outcome"], mended["after_restart"]) == ("in_force", [])
    assert (box.editor.read()["in_force"], box.running.config.is_safe_mode) == (True, False)


def test_a_mended_file_that_counts_from_the_next_start_on_is_said_to_be_written(box):
    box.file.write_text(box.file.read_text().replace("device: box", "device: a/b"))
    box.running.config = find_safe_config(box.file, box.env)
    answer = box.set(set={"device": "box"})
    assert (answer["outcome"], answer["after_restart"]) == ("written", ["device"])


def test_the_caller_hears_that_it_waits_and_that_another_edit_is_under_way(box):
    begun, go_on = threading.Event(), threading.Event()
    write = box.watch.write

    def slow(*arguments):
        begun.set()
        go_on.wait(WAIT_S)
        write(*arguments)

    box.watch.write = slow
    answers = []
    caller = threading.Thread(target=lambda: answers.append(box.set(set={"device": "a"}, timeout_s=0.5)))
    caller.start()
    assert begun.wait(WAIT_S)
    with pytest.raises(CommandError):
        box.set(set={"device": "b"}, timeout_s=0.1)
    caller.join(WAIT_S)
    assert answers[0]["outcome"] == "waits"
    go_on.set()


def test_an_edit_that_has_not_begun_when_the_daemon_ends_is_never_begun(box):
    box.close()
    box.progress.is_ending = True
    with pytest.raises(CommandError):
        box.set(set={"device": "late"})
    edit = box.commanded.get()
    assert not edit.done.set_running_or_notify_cancel()


def test_a_folder_that_may_not_be_written_is_named(box, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, os.strerror(13), "x")

    monkeypatch.setattr("calibration.stats.atomic_file.tempfile.mkstemp", refuse)
    before = box.file.read_bytes()
    box.refusal = None
    with pytest.raises(CommandError, match="permissions"):
        box.set(set={"device": "other"})
    assert box.file.read_bytes() == before


def test_an_undo_puts_the_text_of_before_back_and_can_be_undone(box):
    first = box.file.read_text()
    box.set(set={"cameras.belt.fps": 5})
    second = box.file.read_text()
    assert box.undo()["number"] == 1
    assert box.file.read_text() == first
    assert box.undo()["number"] == 2
    assert box.file.read_text() == second
    rows = box.editor.list_history()["entries"]
    assert [(row["number"], row["by"]) for row in rows] == [
        (1, "start"),
        (2, "anna"),
        (3, "olga"),
        (4, "olga"),
    ]
    assert rows[1]["changed"] == {"cameras.belt.fps": "reopen_camera"}


def test_an_undo_of_a_broken_file_puts_back_what_is_in_force(box):
    box.set(set={"cameras.belt.fps": 5})
    good = box.file.read_text()
    box.file.write_text("device: [")
    assert box.undo(dry_run=True)["outcome"] == "checked"
    assert box.undo()["changed"] == {}
    assert box.file.read_text() == good


def test_an_undo_needs_a_text_that_was_kept(box):
    with pytest.raises(CommandError):
        box.undo()
    with pytest.raises(CommandError):
        box.undo(number=7)
