"""Takes an edit back that cut the box off from who made it.

An edit by command that changes how the box is reached is on trial: when the broker was not reached, or the commands
were not subscribed to, within a minute, the text of before is put back. A marker in the state directory carries that
over a kill; an edit that counts from the next start on is tried then.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
import structlog

from calibration.stats.regular_file import read_regular
from edge_runtime.config import Changes, Config, changes, parse_config
from edge_runtime.config.last_good import holds_password
from edge_runtime.config.strict_yaml import MAX_BYTES
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon.edit_under_way import Commanded, CommandedEdit
from edge_runtime.errors import CommandError, EdgeRuntimeError
from edge_runtime.messaging.events import ConfigUndone
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()

GRACE_S = 60.0
MARKER = "config-trial.json"
BY_UNDO = "undone"
"""Who made a configuration be in force, where it was this module."""
SECTIONS = frozenset({"mqtt", "commands", "device"})


@dataclass(frozen=True, slots=True)
class Trial:
    """An edit on trial."""

    before: str
    after_sha256: str
    by: str
    changed: tuple[str, ...]
    waits_for_restart: bool


class EditTrial:
    """For the main thread; ``check`` may be called from any."""

    def __init__(
        self,
        path: Path,
        env: Mapping[str, str],
        state_dir: Path,
        commanded: Commanded,
        watch: ConfigWatcher,
        adjust: Callable[[Config], Config],
        emit: Callable[[ConfigUndone], None],
        restart: Callable[[], object],
    ) -> None:
        """Find an edit whose trial was cut short by a kill.

        Args:
            path: The configuration file.
            env: As for ``load_config``.
            state_dir: Where the marker is.
            commanded: Takes the edit that puts the text of before back.
            watch: Writes the file.
            adjust: Applied to every configuration of the file.
            emit: Publishes that an edit was taken back.
            restart: Ends the process for a start with the text of before; raises CommandError where nobody starts it.
        """
        self._path, self._env, self._marker = path, env, state_dir / MARKER
        self._commanded, self._watch, self._adjust = commanded, watch, adjust
        self._emit, self._restart = emit, restart
        self._deadline_s: float | None = None
        self._undoing: tuple[Trial, Future[Changes]] | None = None
        self._trial = self._find()

    def _find(self) -> Trial | None:
        try:
            content = orjson.loads(read_regular(self._marker, 4 * MAX_BYTES))
            trial = Trial(**{**content, "changed": tuple(content["changed"]), "waits_for_restart": False})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return trial if self._is_in_file(trial) else None

    @staticmethod
    def check(before: Config, after: Config) -> None:
        """Refuse an edit that nobody could take back by command, or whose text of before may not be kept.

        Raises:
            CommandError: it is so.
        """
        if not _reaches(changes(before, after)):
            return
        roles = {one.role for one in after.commands.keys.values()} | {after.commands.unsigned_role}
        if after.mqtt is None or not after.mqtt.commands or "owner" not in roles:
            raise CommandError(
                "nobody could command this box as owner afterwards (mqtt.commands, commands); make this edit in the "
                "file on the box"
            )
        if holds_password(before):
            raise CommandError(
                "the file holds a password, so its text could not be kept and put back if this edit cut the box off; "
                "write {EDGE_NAME} for it first"
            )

    def write(self, before: Config, text_before: bytes, edited: Config, by: str) -> None:
        """Put an edit into the file, and on trial where it needs that.

        Raises:
            CommandError, StateError: nothing was done.
        """
        plan = changes(before, self._adjust(edited))
        if not (reaching := _reaches(plan)):
            self._watch.write(text_before, edited)
            return
        waits = any(key in plan.needs_restart for key in reaching)
        digest = hashlib.sha256(edited.text).hexdigest()
        trial = Trial(before.text.decode("utf-8-sig"), digest, by, reaching, waits)
        write_atomically(
            self._marker, orjson.dumps(asdict(trial))
        )  # before the file: a kill may come in between
        try:
            self._watch.write(text_before, edited)
        except EdgeRuntimeError:
            self._end()
            raise
        self._trial, self._deadline_s = trial, None

    def observe(self, is_reached: bool, now_s: float) -> None:
        """Decide about the edit on trial.

        Args:
            is_reached: The broker takes the box, and has subscribed it to its commands.
            now_s: Monotonic.
        """
        if self._undoing is not None:
            self._follow_undo(*self._undoing)
            return
        trial = self._trial
        if trial is None or trial.waits_for_restart:
            return
        if self._deadline_s is None:
            self._deadline_s = now_s + GRACE_S
        if is_reached:
            self._end()
        elif now_s >= self._deadline_s:
            self._undo(trial)

    def _undo(self, trial: Trial) -> None:
        if not self._is_in_file(trial):  # a person is there
            self._end()
            return
        target, now = self._path.resolve(), self._read()
        try:
            source = f"{self._path} (before the edit)"
            loaded = parse_config(trial.before, source, self._env, base=target.parent, own_file=target)
        except EdgeRuntimeError as err:
            self._give_up(err)
            return
        log.error("edit taken back: it cut the box off", by=trial.by, changed=trial.changed)
        edit = CommandedEdit(self._adjust(loaded), BY_UNDO, lambda: self._watch.write(now, loaded))
        self._commanded.put(edit)
        self._undoing = trial, edit.done

    def _follow_undo(self, trial: Trial, done: Future[Changes]) -> None:
        if not done.done():
            return
        self._undoing = None
        error = done.exception()
        if isinstance(error, EdgeRuntimeError):
            self._give_up(error)
            return
        self._end()
        reason = f"the broker was not reached, or the commands not subscribed to, within {GRACE_S:g} s"
        self._emit(ConfigUndone(trial.by, trial.changed, reason))
        if done.result().needs_restart:
            try:
                self._restart()
            except CommandError as err:
                log.warning(
                    "the process must be restarted to be what it was before the edit", reason=str(err)
                )

    def _give_up(self, error: EdgeRuntimeError) -> None:
        """Try again after another minute: it may be for a file that is not there just now."""
        log.error("an edit that cut the box off cannot be taken back", reason=str(error))
        self._deadline_s = time.monotonic() + GRACE_S

    def _end(self) -> None:
        self._trial = self._deadline_s = None
        with suppress(OSError):
            self._marker.unlink(missing_ok=True)

    def _is_in_file(self, trial: Trial) -> bool:
        return hashlib.sha256(self._read()).hexdigest() == trial.after_sha256

    def _read(self) -> bytes:
        with suppress(OSError):
            return read_regular(self._path, MAX_BYTES + 1)
        return b""


def _reaches(plan: Changes) -> tuple[str, ...]:
    """The changed keys that decide how the box is reached."""
    return tuple(key for key in plan if key.split(".")[0] in SECTIONS)
