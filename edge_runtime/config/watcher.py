"""Notices edits of the configuration file while the daemon runs, and hands on only good ones.

A good edit goes to ``on_change``; a bad one to ``on_error``, and the last good one stays in force. ``config.changes``
decides the meaning of an edit, not this module. One thread looks at the file four times a second: that works on every
file system, and for every way of replacing a file, a link or a folder.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_runtime.config import Config, load_config
from edge_runtime.config.strict_yaml import MAX_BYTES
from edge_runtime.errors import ConfigError
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

LOOK_S = 0.25
"""Between two looks. Editors write in several steps: an edit is finished when two looks in a row saw the same."""
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
        is_refused: The file as it is now was refused already, and ``current`` is an earlier one.
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
        is_refused: bool = False,
    ) -> None:
        self._path, self._env = path, env
        self._current = current
        self._on_change, self._on_error = on_change, on_error
        self._digest = self._content_digest() if is_refused else b""  # of no content yet
        self._is_refused = is_refused
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

    def check_now(self, *, again: bool = False) -> None:
        """Look at the file now, as on SIGHUP. Nothing happens when its content is what it was.

        ``again`` hands it on even so: what was refused may fit by now, such as a bundle that was copied once more.
        """
        with self._checking:
            digest = self._content_digest()
            if digest == self._digest and not again:
                return
            self._digest = digest
            try:
                new = load_config(self._path, self._env)
            except ConfigError as err:
                self.refused += 1
                self._is_refused = True
                self._on_error(err)
                return
            # Back at what is in force is an edit too: it ends the refusal.
            if new != self._current or self._is_refused or again:
                self._current, self._is_refused = new, False
                self.edits += 1
                self._on_change(new)

    def _run(self) -> None:
        checked: tuple[int, ...] | None = None
        before = _signature(self._path)
        while not self._thread.stopping.wait(LOOK_S):
            now = _signature(self._path)
            if now == before and now != checked:
                checked = now
                self.check_now()
            before = now
            self._thread.succeeded()

    def _content_digest(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                return hashlib.sha256(file.read(MAX_BYTES + 1)).digest()
        except OSError:
            return None


def _signature(path: Path) -> tuple[int, ...]:
    """Numbers that change when the file behind a path is replaced or written; empty when it is gone."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
