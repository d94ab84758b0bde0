"""Edits of the configuration file by command: read it, change a part of it, and say what became of that.

For the threads of the commands. The main thread opens what an edit needs and writes it, in ``reload``: so a text that
is refused, also by the running system, is never in the file.
"""

import hashlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calibration.stats.regular_file import read_regular
from edge_runtime.config import Changes, Config, ConfigHistory, changes, must_start_anew, parse_config
from edge_runtime.config.hidden_lines import put_secrets_back
from edge_runtime.config.load import resolve_links
from edge_runtime.config.secret_values import ADVICE, hide_secrets
from edge_runtime.config.strict_yaml import MAX_BYTES
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon.edit_trial import EditTrial
from edge_runtime.daemon.edit_under_way import Commanded, CommandedEdit
from edge_runtime.daemon.running import Running
from edge_runtime.deployment.open_bundle import load_model_bundle, name_model_in_errors
from edge_runtime.errors import CommandError, ConfigError, EdgeRuntimeError, StateError
from edge_runtime.messaging.commands.callers import Door
from edge_runtime.messaging.commands.later import Progress
from edge_runtime.messaging.commands.request import EditArguments, SetConfigArguments, UndoConfigArguments
from edge_runtime.messaging.commands.under_way import wait_for
from edge_runtime.system.camera_path import look_at_path
from edge_runtime.system.redaction import PROCESS

UNSIGNED = "unsigned"
BROKER_S = 3.0
"""How long a dry run waits for the address of a broker."""


class ConfigEditor:
    """See the module. One edit at a time, which the turn of the commands sees to (``later.Later``)."""

    def __init__(
        self,
        path: Path,
        env: Mapping[str, str],
        running: Running,
        commanded: Commanded,
        watch: ConfigWatcher,
        adjust: Callable[[Config], Config],
        history: ConfigHistory,
        trial: EditTrial,
        warn_before: Callable[[Config], Sequence[str]],
        read_keys: Callable[[Config], object],
    ) -> None:
        """Say what the editor works on; nothing is read yet.

        Args:
            path: The file that the daemon was started with.
            env: Fills ``{EDGE_NAME}``.
            running: What is in force.
            commanded: Where edits wait for the main thread.
            watch: Must not take a commanded edit for one by hand.
            adjust: Applied to every configuration of the file, as to edits that a person makes.
            history: What was in force.
            trial: Puts back an edit that cuts the box off.
            warn_before: What a person must know of an edit to this configuration.
            read_keys: Reads the keys of callers, for a dry run; raises ConfigError where one cannot be used.
        """
        self._path, self._env, self._running = path, env, running
        self._commanded, self._watch, self._adjust, self._history = commanded, watch, adjust, history
        self._trial, self._warn_before, self._read_keys = trial, warn_before, read_keys

    def read(self) -> dict[str, Any]:
        """The file as it is now, without secrets, and whether it is in force.

        Raises:
            StateError: it cannot be read.
        """
        text, running = self._read(), self._running
        return {
            "file": str(self._path),
            "text": _show(text.decode("utf-8", "replace")),
            "sha256": hashlib.sha256(text).hexdigest(),
            "in_force": text == running.config.text and not running.config.is_safe_mode,
            "after_restart": self._find_waiting(text),
            "problem": running.config_problem,
            "trial": self._trial.describe(time.monotonic()),
        }

    def _find_waiting(self, text: bytes) -> list[str]:
        """Keys whose values in the file wait for a restart; none of a file that is refused."""
        target = resolve_links(self._path)
        try:
            loaded = parse_config(text, str(self._path), self._env, base=target.parent, own_file=target)
        except ConfigError:
            return []
        return list(changes(self._running.config, self._adjust(loaded)).needs_restart)

    def set(
        self, given: SetConfigArguments, by: str | None, progress: Progress, door: Door = "mqtt"
    ) -> dict[str, Any]:
        """Change keys of the file, or all of it; gives what changed once it is in force.

        Args:
            given: What to change.
            by: Who wants it, for the history.
            progress: Hears how far it is.
            door: The way on which it came, and on which the box must stay within reach.

        Raises:
            CommandError, ConfigError, StateError: nothing was done, and why.
        """
        if PROCESS.knows(repr(given.values)) or PROCESS.knows(given.text or ""):
            raise CommandError(f"a value is a secret that this box knows; expected {ADVICE}")
        before = self._read()
        if given.before_sha256 not in (None, hashlib.sha256(before).hexdigest()):
            raise CommandError(
                "the file is another one than was edited: it was changed meanwhile; read it again (get-config)"
            )
        source = f"{self._path} (as it would be)"
        if given.text is None:
            from edge_runtime.config.edit import edit_keys  # ruamel: at the first edit, not at every start

            text = edit_keys(before, source, given.values, given.remove)
        else:
            text = put_secrets_back(before.decode("utf-8", "replace"), _show, given.text).encode()
        return self._bring_into_force(before, text, source, given, by, progress, door)

    def list_history(self) -> dict[str, Any]:
        """What was in force, oldest first."""
        return {"entries": [entry.as_row() for entry in self._history.entries()]}

    def undo(
        self, given: UndoConfigArguments, by: str | None, progress: Progress, door: Door = "mqtt"
    ) -> dict[str, Any]:
        """Put an earlier text back: the one that was in force before, or the one with a number. An edit like any other.

        The arguments are those of :meth:`set`.

        Raises:
            CommandError, ConfigError, StateError: nothing was done, and why.
        """
        before = self._read()
        kept, number = self._history, given.number
        entry = kept.find_before(before) if number is None else kept.get(number)
        source = f"{self._path} (as of {entry.number})"
        text = (entry.text or "").encode()
        answer = self._bring_into_force(before, text, source, given, by, progress, door)
        return {"number": entry.number, **answer}

    def _bring_into_force(
        self,
        before: bytes,
        text: bytes,
        source: str,
        given: EditArguments,
        by: str | None,
        progress: Progress,
        door: Door,
    ) -> dict[str, Any]:
        """Check a text that is to follow ``before``, and have it applied, or only tried."""
        target = resolve_links(self._path)
        loaded = parse_config(text, source, self._env, base=target.parent, own_file=target)
        config = self._adjust(loaded)
        in_force, who = self._running.config, by or UNSIGNED
        self._trial.check(in_force, config, door)
        warnings = list(self._warn_before(config))
        if given.dry_run:
            return {"outcome": "checked", **self._try_out(config), "warnings": warnings}
        edit = CommandedEdit(config, who, lambda: self._trial.write(in_force, before, loaded, who))
        return {**self._apply(edit, in_force, given.timeout_s, progress), "warnings": warnings}

    def _apply(
        self, edit: CommandedEdit, in_force: Config, timeout_s: float, progress: Progress
    ) -> dict[str, Any]:
        self._commanded.put(edit)

        def describe() -> dict[str, Any]:
            return {"phase": "opening" if edit.done.running() else "waiting"}

        try:
            plan = wait_for(edit.done, timeout_s, progress, describe)
            outcome = "written" if must_start_anew(in_force, plan) else "in_force"
            return {"outcome": outcome, **_describe(plan)}
        except TimeoutError as err:
            if edit.done.cancel():
                raise CommandError(
                    "the daemon is busy with another edit; nothing was done, send it again"
                ) from err
        finally:
            edit.done.cancel()  # one that has not begun when the daemon ends is never begun
        return {
            "outcome": "waits",
            "hint": "its parts are still being opened; get-config says whether it is in force",
        }

    def _try_out(self, config: Config) -> dict[str, Any]:
        """What an edit would change, and what can be known of it without harm.

        Raises:
            CommandError: it would be refused, or not work; with all problems.
        """
        plan, problems = changes(self._running.config, config), list[str]()
        for name in sorted(plan.models & config.models.keys()):
            try:
                with name_model_in_errors(config, name):
                    load_model_bundle(config, name)
            except EdgeRuntimeError as err:
                problems.append(str(err))
        for name in sorted(plan.streams & config.streams.keys()):
            problem = look_at_path(config.streams[name].address)
            if problem is not None:
                section = config.section_of(name)
                line = config.line_of(section, name, "path")
                problems.append(
                    f"line {line}: {section}.{name}.path: {problem.found}; expected {problem.expected}"
                )
        if any(key.startswith("commands") for key in plan):
            try:
                self._read_keys(config)
            except ConfigError as err:
                problems += map(str, err.problems)
        if config.mqtt is not None and any(key.startswith("mqtt") for key in plan):
            host, port = config.mqtt.host, config.mqtt.effective_port
            try:
                socket.create_connection((host, port), BROKER_S).close()
            except OSError as err:
                line = config.line_of("mqtt", "host")
                problems.append(f"line {line}: mqtt.host: {host}:{port} cannot be reached ({err})")
        if problems:
            raise CommandError("\n".join([f"{len(problems)} problem(s), nothing was done", *problems]))
        return _describe(plan)

    def _read(self) -> bytes:
        try:
            return read_regular(self._path, MAX_BYTES + 1)
        except OSError as err:
            raise StateError(
                f"cannot read {self._path}: {err.strerror}; expected a readable YAML file"
            ) from err


def _show(text: str) -> str:
    """Without secrets."""
    return PROCESS.text(hide_secrets(text))


def _describe(plan: Changes) -> dict[str, Any]:
    return {
        "changed": {key: str(effect) for key, effect in plan.items()},
        "after_restart": list(plan.needs_restart),
    }
