"""A configuration file, its editor, and a main thread that brings every edit into force, or refuses it."""

import threading
from functools import partial

from edge_runtime.config import ConfigHistory, changes, load_config
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon import config_editor
from edge_runtime.daemon.config_editor import ConfigEditor
from edge_runtime.daemon.edit_trial import EditTrial
from edge_runtime.daemon.edit_under_way import Commanded
from edge_runtime.daemon.running import Running
from edge_runtime.daemon.wiring.messaging import make_callers
from edge_runtime.errors import CommandError, StateError
from edge_runtime.messaging.commands.request import check_arguments
from edge_runtime.system.redaction import Redactor
from edge_runtime.system.supervised_thread import Crashes
from tests.support.progress import Heard
from tests.support.waiting import WAIT_S

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


class EditedBox:
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
        self.undone, self.restarts, self.warnings = [], [], []
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
            warn_before=lambda config: self.warnings,
            read_keys=make_callers,
        )
        self.refusal, self.progress = None, Heard()
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
        return self.editor.set(check_arguments("set-config", arguments), "anna", self.progress)

    def undo(self, **arguments):
        return self.editor.undo(check_arguments("undo-config", arguments), "olga", self.progress)

    def close(self):
        self.commanded.put(None)
        self.thread.join(WAIT_S)
