"""Takes an edit back that cut the box off from who made it.

An edit by command that changes how the box is reached is on trial: when the broker was not reached, or the commands
were not subscribed to, within a minute, the text of before is put back. A marker in the state directory carries that
over a kill; an edit that counts from the next start on is tried then. Before an edit that ended safe mode there was a
text that cannot be used: putting it back leads into safe mode again.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from calibration.stats.regular_file import read_regular
from edge_runtime.config import Changes, Config, changes, must_start_anew, parse_config
from edge_runtime.config.last_good import holds_password, read_last_good, restore_last_good
from edge_runtime.config.load import resolve_links
from edge_runtime.config.safe_mode import make_safe_config
from edge_runtime.config.secret_values import holds_secret
from edge_runtime.config.strict_yaml import MAX_BYTES
from edge_runtime.config.watcher import ConfigWatcher
from edge_runtime.daemon.edit_under_way import Commanded, CommandedEdit
from edge_runtime.errors import CommandError, EdgeRuntimeError
from edge_runtime.messaging.commands.callers import Door
from edge_runtime.messaging.events import ConfigUndone
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()

GRACE_S = 60.0
MARKER = "config-trial.json"
BY_UNDO = "undone"
"""Who made a configuration be in force, where it was this module."""
SECTIONS = frozenset({"mqtt", "commands", "device"})
"""They decide how the box is reached over the broker."""


@dataclass(frozen=True, slots=True)
class Trial:
    """An edit on trial."""

    before: str
    after_sha256: str
    by: str
    changed: tuple[str, ...]
    waits_for_restart: bool
    was_safe_mode: bool = False
    last_good: str | None = None
    """What was in force last before safe mode; None when nothing was, or it was no safe mode."""


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
        self._path, self._env, self._state_dir, self._marker = path, env, state_dir, state_dir / MARKER
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
    def check(before: Config, after: Config, door: Door = "mqtt") -> None:
        """Refuse an edit that nobody could take back on the way it came, or whose text of before may not be kept.

        Raises:
            CommandError: it is so.
        """
        plan = changes(before, after)
        if (
            door == "http"
            and any(key.split(".")[0] == "http" for key in plan)
            and not _has_owner_over_http(after)
        ):
            raise CommandError(
                "nobody could command this box as owner over HTTP afterwards (http.enabled, http.commands, "
                "http.tokens); make this edit in the file on the box"
            )
        if not _reaches(plan):
            return
        if door == "mqtt" and not _has_owner_over_broker(after):
            raise CommandError(
                "nobody could command this box as owner afterwards (mqtt.commands, commands); make this edit in the "
                "file on the box"
            )
        if _is_tried(after) and not before.is_safe_mode and holds_password(before):
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
        is_tried = bool(_reaches(plan)) and _is_tried(edited)
        trial = self._make_trial(before, text_before, edited, by, plan) if is_tried else None
        if trial is None:
            self._watch.write(text_before, edited)
            return
        write_atomically(self._marker, orjson.dumps(asdict(trial)))  # first: a kill may come in between
        try:
            self._watch.write(text_before, edited)
        except EdgeRuntimeError:
            self._end()
            raise
        self._trial, self._deadline_s = trial, None

    def _make_trial(
        self, before: Config, text_before: bytes, edited: Config, by: str, plan: Changes
    ) -> Trial | None:
        """None: what would be put back must not be kept."""
        text, last_good = before.text.decode("utf-8-sig", "replace"), None
        if before.is_safe_mode:
            text = text_before.decode("utf-8-sig", "replace")
            last_good = read_last_good(self._path, self._state_dir)
            if holds_secret(text):
                log.warning("the file held a password: this edit stays even if it cuts the box off", by=by)
                return None
        reaching = _reaches(plan)
        return Trial(
            text,
            hashlib.sha256(edited.text).hexdigest(),
            by,
            reaching,
            must_start_anew(before, plan) or any(key in plan.needs_restart for key in reaching),
            before.is_safe_mode,
            None if last_good is None else last_good.decode("utf-8-sig", "replace"),
        )

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

    def describe(self, now_s: float) -> dict[str, Any] | None:
        """The edit on trial; None where there is none. Safe from any thread."""
        trial, deadline_s = self._trial, self._deadline_s
        if trial is None:
            return None
        return {
            "by": trial.by,
            "changed": trial.changed,
            "waits_for_restart": trial.waits_for_restart,
            "ends_in_s": None if deadline_s is None else max(0.0, deadline_s - now_s),
        }

    def _undo(self, trial: Trial) -> None:
        if not self._is_in_file(trial):  # a person is there
            self._end()
            return
        now = self._read()
        try:
            loaded = self._read_before(trial)
        except EdgeRuntimeError as err:
            self._give_up(err)
            return
        log.error("edit taken back: it cut the box off", by=trial.by, changed=trial.changed)
        edit = CommandedEdit(self._adjust(loaded), BY_UNDO, lambda: self._put_back(trial, now, loaded))
        self._commanded.put(edit)
        self._undoing = trial, edit.done

    def _read_before(self, trial: Trial) -> Config:
        """The configuration of before.

        Raises:
            ConfigError: it cannot be used now.
        """
        if trial.was_safe_mode:
            return make_safe_config(trial.before.encode(), _encode(trial.last_good), self._path, self._env)
        target, source = resolve_links(self._path), f"{self._path} (before the edit)"
        return parse_config(trial.before, source, self._env, base=target.parent, own_file=target)

    def _put_back(self, trial: Trial, now: bytes, before: Config) -> None:
        """With what was in force before safe mode: a start would else take the edit for the last good one."""
        if trial.was_safe_mode:
            restore_last_good(self._path, self._state_dir, _encode(trial.last_good))
        self._watch.write(now, before)

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


def _encode(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _has_owner_over_broker(config: Config) -> bool:
    roles = {one.role for one in config.commands.keys.values()} | {config.commands.unsigned_role}
    return _is_tried(config) and "owner" in roles


def _has_owner_over_http(config: Config) -> bool:
    http = config.http
    return http.enabled and http.commands and any(one.role == "owner" for one in http.tokens.values())


def _is_tried(config: Config) -> bool:
    """Whether it is to be reached over the broker at all; who turns that off over HTTP is not cut off."""
    return config.mqtt is not None and config.mqtt.commands


def _reaches(plan: Changes) -> tuple[str, ...]:
    """The changed keys that decide how the box is reached."""
    return tuple(key for key in plan if key.split(".")[0] in SECTIONS)
