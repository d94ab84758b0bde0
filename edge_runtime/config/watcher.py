"""Notices edits of the configuration file while the daemon runs, and hands on only good ones.

A good edit goes to ``on_change``; a bad one to ``on_error``, and the last good one stays in force. ``config.changes``
decides the meaning of an edit, not this module. Of a bad one only what takes rights away counts: a revoked key does not
wait for the correction of another section. One thread looks at the file four times a second: that works on every
file system, and for every way of replacing a file, a link or a folder.

An edit is finished when two looks in a row saw the same, and no program has the file open for writing as far as that
can be seen. What cannot be read just now (too many open files, a share that is away) is read again at the next look.
The file of the broker's password is watched as well. A file that was refused is looked at again now and then: what it
named may be there by now.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from calibration.stats.regular_file import read_regular
from edge_runtime.config import Config, load_config
from edge_runtime.config.load import resolve_links
from edge_runtime.config.parts import restrict_by_refused
from edge_runtime.config.strict_yaml import MAX_BYTES
from edge_runtime.errors import CommandError, ConfigError, ConfigUnreadable, EdgeRuntimeError, Problem
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.regular_file import Marks, is_being_written, read_marks
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

LOOK_S = 0.25
"""Between two looks."""
OPEN_S = 10.0
"""A file that is still for this long is read although a program has it open for writing."""
AGAIN_S = 30.0
"""Between two looks at a file that was refused and did not change."""
UNREADABLE_LOOKS = 8
"""After so many looks in a row it is said that the file cannot be read just now."""
STOP_S = 2.0


class ConfigWatcher:
    """Watches one configuration file.

    Args:
        path: The file; it may be a symbolic link, and it may be replaced instead of written.
        env: As for ``load_config``.
        on_change: Called in the watch's thread with every valid configuration that differs from the last one or
            follows a refusal.
        on_error: Called in the watch's thread with what is wrong; the last good configuration counts on.
        current: The configuration in force when the watch starts.
        crashes: Counts failures of the thread, such as those of ``on_change``. They never end the daemon.
        refused: Why the file as it is now was refused already; ``current`` is not what it says.
    """

    def __init__(
        self,
        path: Path,
        env: Mapping[str, str],
        *,
        current: Config,
        on_change: Callable[[Config], None],
        on_error: Callable[[ConfigError], None],
        crashes: Crashes,
        refused: EdgeRuntimeError | None = None,
    ) -> None:
        self._path, self._env = path, env
        self._current = current
        self._on_change, self._on_error, self._crashes = on_change, on_error, crashes
        self._digest = b"" if refused is None else self._compute_digest()  # of no content yet
        self._is_refused, self._said = refused is not None, "" if refused is None else str(refused)
        self._unreadable = 0
        self._checking = threading.Lock()
        self._thread = SupervisedThread("config-watch", self._run, crashes, is_vital=False)
        self.edits = self.refused = 0
        """How many edits were handed on, or refused."""

    def start(self) -> None:
        """Watch from now on; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; idempotent."""
        self._thread.stop()
        self._thread.join(STOP_S)

    def check_now(self, *, again: bool = False) -> bool:
        """Look at the file now, as on SIGHUP. Nothing happens when its content is what it was.

        ``again`` hands it on even so: what was refused may fit by now, such as a bundle that was copied once more.
        False when it could not be read just now, and must be looked at again.
        """
        with self._checking:
            return self._check(is_asked=again, is_repeated=False)

    def look_again(self) -> None:
        """The file could not be used for what it names: hand it on once more in a while, by itself."""
        self._is_refused = True

    def write(self, before: bytes, edited: Config) -> None:
        """Replace the file by the text of an edit that is in force from now on; a link is followed.

        Args:
            before: What the edit was made from.
            edited: Not handed on once more.

        Raises:
            CommandError: the file is another one by now.
            StateError: it cannot be written.
        """
        target = resolve_links(self._path)
        with self._checking:
            try:
                is_same = read_regular(target, MAX_BYTES + 1) == before
            except OSError:
                is_same = False
            if not is_same:
                raise CommandError(
                    "the file was changed by another edit meanwhile; nothing was done, send it again"
                )
            write_atomically(target, edited.text)
            self._current, self._is_refused, self._said = edited, False, ""
            self._digest = self._compute_digest()
        self.edits += 1

    def _check(self, *, is_asked: bool, is_repeated: bool) -> bool:
        """``is_repeated``: without an edit, since what was refused may fit by now; an equal refusal is not repeated."""
        digest = self._compute_digest()
        if digest is not None and digest == self._digest and not (is_asked or is_repeated):
            return True
        new = self._load()
        if isinstance(new, ConfigUnreadable):
            return self._note_unreadable(new)
        self._digest, self._unreadable = digest, 0
        if isinstance(new, ConfigError):
            self._refuse(new, is_repeated=is_repeated)
            return True
        self._said = ""
        # Back at what is in force is an edit too: it ends the refusal.
        if new != self._current or self._is_refused or is_asked:
            self._current, self._is_refused = new, False
            self.edits += 1
            self._on_change(new)
        return True

    def _load(self) -> Config | ConfigError:
        """The configuration of now, or why the file is refused; a failure that no check foresaw refuses it too."""
        with self._crashes.contain("config-watch") as failure:
            try:
                return load_config(self._path, self._env)
            except ConfigError as err:
                return err
        found = f"failed unexpectedly: {failure.error!r}"[:300]
        return ConfigError(str(self._path), (Problem("", None, found, "a file that can be read"),))

    def _note_unreadable(self, err: ConfigUnreadable) -> bool:
        self._unreadable += 1
        if self._unreadable == UNREADABLE_LOOKS:
            self._refuse(err, is_repeated=False)
        return False

    def _refuse(self, err: ConfigError, *, is_repeated: bool) -> None:
        self._is_refused = True
        if is_repeated and str(err) == self._said:
            return
        self._said = str(err)
        self.refused += 1
        restricted = restrict_by_refused(self._path, self._env, self._current)
        if restricted != self._current:
            self._current = restricted
            self._on_change(restricted)
        self._on_error(err)

    def _run(self) -> None:
        checked: Marks | None = None
        before, still_s, since_check_s = self._look(), 0.0, 0.0
        while not self._thread.stopping.wait(LOOK_S):
            now = self._look()
            still_s, since_check_s = (still_s + LOOK_S if now == before else 0.0), since_check_s + LOOK_S
            before = now
            is_new, is_due = now != checked, self._is_refused and since_check_s >= AGAIN_S
            if still_s > 0 and (is_new or is_due) and (still_s >= OPEN_S or not is_being_written(self._path)):
                since_check_s = 0.0
                checked = now  # also when it fails unexpectedly: the next edit is another one
                with self._checking:
                    if not self._check(is_asked=False, is_repeated=not is_new):
                        checked = None
            self._thread.succeeded()

    def _files(self) -> tuple[Path, ...]:
        """Those whose content makes the configuration."""
        mqtt = self._current.mqtt
        return (self._path, *([mqtt.password_file] if mqtt and mqtt.password_file else []))

    def _look(self) -> Marks:
        return read_marks(*self._files())

    def _compute_digest(self) -> bytes | None:
        """Of all files; None when one cannot be read, which the loading puts into words."""
        found = hashlib.sha256()
        for path in self._files():
            try:
                found.update(hashlib.sha256(read_regular(path, MAX_BYTES + 1)).digest())
            except OSError:
                return None
        return found.digest()
