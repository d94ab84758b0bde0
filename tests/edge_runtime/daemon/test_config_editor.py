"""Edits by command: what is checked before, what is written, and what the caller hears."""

import os
import threading
from functools import partial

import pytest

from edge_runtime.config import ConfigHistory, changes, load_config, parse_config
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon import config_editor
from edge_runtime.daemon.config_editor import ConfigEditor
from edge_runtime.daemon.edit_trial import GRACE_S, EditTrial
from edge_runtime.daemon.edit_under_way import Commanded
from edge_runtime.daemon.running import Running
from edge_runtime.errors import CommandError, ConfigError, StateError
from edge_runtime.messaging.commands.request import check_arguments
from edge_runtime.system.redaction import Redactor
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import WAIT_S, until

TEXT = """\
device: box
state_dir: {folder}/state
models:
  parts: {{bundle: demo:efficientnet-lite0}}
cameras:
  belt: {{path: demo:conveyor, model: parts, fps: 3}}   # slow
mqtt: {{host: 127.0.0.1, port: {port}, commands: true, user: u, password: "{{EDGE_P}}"}}
commands: {{unsigned: owner}}
"""
SECRET = "hunter2-the-password"


class Box:
    """The file, the editor, and a main thread that brings every edit into force, or refuses it."""

    def __init__(self, folder, monkeypatch):
        monkeypatch.setattr(config_editor, "PROCESS", Redactor([SECRET]))
        self.env = {"EDGE_P": SECRET}
        self.file = folder / "box.yaml"
        self.file.write_text(TEXT.format(folder=folder, port=1))
        config = load_config(self.file, self.env)
        self.running, self.commanded, self.seen = Running(config), Commanded(), []
        self.history = ConfigHistory(self.file, config.state_dir)
        self.watch = ConfigWatcher(
            self.file,
            self.env,
            current=config,
            on_change=self.seen.append,
            on_error=self.seen.append,
            crashes=Crashes(),
        )
        self.undone, self.restarts = [], []
        self.trial = self.make_trial()
        self.editor = ConfigEditor(
            self.file,
            self.env,
            self.running,
            self.commanded,
            self.watch,
            lambda config: config,
            self.history,
            self.trial,
        )
        self.refusal = None
        self.history.note(config, "start", {})
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def make_trial(self):
        """As a start makes it."""
        state, keep = self.running.config.state_dir, lambda config: config
        restart = partial(self.restarts.append, 1)
        return EditTrial(
            self.file, self.env, state, self.commanded, self.watch, keep, self.undone.append, restart
        )

    def serve(self):
        while (edit := self.commanded.get()) is not None:
            if not edit.done.set_running_or_notify_cancel():
                continue
            try:
                if self.refusal is not None:
                    raise self.refusal
                edit.write()
            except (CommandError, StateError) as err:
                edit.done.set_exception(CommandError(str(err)))
            else:
                plan, self.running.config = changes(self.running.config, edit.config), edit.config
                self.history.note(edit.config, edit.by, plan)
                edit.done.set_result(plan)

    def set(self, **arguments):
        return self.editor.set(check_arguments("set-config", arguments), "anna")

    def undo(self, **arguments):
        return self.editor.undo(check_arguments("undo-config", arguments), "olga")

    def close(self):
        self.commanded.put(None)
        self.thread.join(WAIT_S)


@pytest.fixture
def box(tmp_path, monkeypatch):
    box = Box(tmp_path, monkeypatch)
    yield box
    box.close()


def test_an_edit_is_in_the_file_and_in_force_and_is_not_handed_on_once_more(box):
    before = box.file.read_text()
    answer = box.set(set={"cameras.belt.fps": 5})
    assert answer == {
        "outcome": "in_force",
        "changed": {"cameras.belt.fps": "reopen_camera"},
        "after_restart": [],
    }
    assert box.file.read_text() == before.replace("fps: 3", "fps: 5")
    box.watch.check_now()
    assert box.seen == []


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
    }
    assert box.file.read_bytes() == before


@pytest.mark.parametrize(("key", "value"), [
    ("models.parts.bundle", "gone"), ("cameras.belt", {"path": "/nowhere/clip.mp4", "model": "parts"}),
    ("mqtt.port", 2),
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
        box.set(set={"device": "b"})
    caller.join(WAIT_S)
    assert answers[0]["outcome"] == "waits"
    go_on.set()


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


def let_pass(box, trial, *, is_reached):
    """A minute."""
    trial.observe(is_reached, 0.0)
    trial.observe(is_reached, GRACE_S - 1.0)
    trial.observe(is_reached, GRACE_S)


def is_undone(box, trial):
    return until(lambda: trial.observe(False, 2 * GRACE_S) or box.undone)


def test_an_edit_that_cuts_the_box_off_is_taken_back_after_a_minute_and_said(box):
    before = box.file.read_text()
    box.set(set={"mqtt.host": "elsewhere", "cameras.belt.fps": 5})
    let_pass(box, box.trial, is_reached=False)
    assert is_undone(box, box.trial)
    assert box.file.read_text() == before
    assert [(fact.by, fact.undone) for fact in box.undone] == [("anna", ("mqtt.host",))]
    assert box.history.entries()[-1].by == "undone"
    assert box.restarts == []
    assert not list(box.running.config.state_dir.glob("config-trial*"))


@pytest.mark.parametrize("arguments", [{"mqtt.keepalive_s": 30}, {"cameras.belt.fps": 5}])
def test_an_edit_that_leaves_the_box_within_reach_stays(box, arguments):
    box.set(set=arguments)
    after = box.file.read_text()
    let_pass(box, box.trial, is_reached="mqtt.keepalive_s" in arguments)
    box.trial.observe(False, 3 * GRACE_S)
    assert (box.file.read_text(), box.undone) == (after, [])
    assert not list(box.running.config.state_dir.glob("config-trial*"))


def test_a_kill_within_the_minute_does_not_save_the_edit(box):
    before = box.file.read_text()
    box.set(set={"mqtt.host": "elsewhere"})
    box.trial.observe(False, 0.0)
    restarted = box.make_trial()
    let_pass(box, restarted, is_reached=False)
    assert is_undone(box, restarted)
    assert box.file.read_text() == before


def test_a_new_name_of_the_box_is_tried_from_the_next_start_on_and_taken_back_with_another_start(box):
    before = box.file.read_text()
    box.set(set={"device": "other"})
    let_pass(box, box.trial, is_reached=True)
    assert "device: other" in box.file.read_text()
    restarted = box.make_trial()
    let_pass(box, restarted, is_reached=False)
    assert is_undone(box, restarted)
    assert (box.file.read_text(), box.restarts) == (before, [1])


def test_an_edit_by_hand_meanwhile_ends_the_trial(box):
    box.set(set={"mqtt.host": "elsewhere"})
    by_hand = box.file.read_text().replace("elsewhere", "another")
    box.trial.observe(False, 0.0)
    box.file.write_text(by_hand)
    box.trial.observe(False, GRACE_S)
    box.trial.observe(False, 3 * GRACE_S)
    assert (box.file.read_text(), box.undone) == (by_hand, [])
    assert box.make_trial().observe(False, GRACE_S) is None


@pytest.mark.parametrize("arguments", [
    {"remove": ["mqtt"]}, {"set": {"mqtt.commands": False}}, {"set": {"commands.unsigned": "operator"}},
])  # fmt: skip
def test_an_edit_after_which_no_owner_could_command_the_box_is_refused(box, arguments):
    before = box.file.read_bytes()
    with pytest.raises(CommandError):
        box.set(**arguments)
    assert box.file.read_bytes() == before


def test_a_file_with_a_password_cannot_be_put_back_so_its_reach_is_not_edited_by_command(box):
    text = box.file.read_text().replace("{EDGE_P}", "literal-pass")
    box.file.write_text(text)
    box.running.config = load_config(box.file, box.env)
    with pytest.raises(CommandError):
        box.set(set={"mqtt.host": "elsewhere"})
    assert box.set(set={"cameras.belt.fps": 5})["outcome"] == "in_force"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"null"])
def test_a_damaged_marker_is_no_trial(box, damage):
    before = box.file.read_text()
    marker = box.running.config.state_dir / "config-trial.json"
    marker.parent.mkdir(exist_ok=True)
    marker.write_bytes(damage)
    let_pass(box, box.make_trial(), is_reached=False)
    assert (box.file.read_text(), box.undone) == (before, [])
