"""Notices edits of the configuration file while the daemon runs, and hands on only good ones.

A good edit goes to ``on_change``; a bad one to ``on_error``, and the last good one stays in force. ``config.changes``
decides the meaning of an edit, not this module. One thread, woken by the kernel or, where that cannot tell, by a look
once a second.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from edge_runtime.config import Config, load_config
from edge_runtime.config.strict_yaml import MAX_BYTES
from edge_runtime.errors import ConfigError
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

DEBOUNCE_MS = 800
"""Longest time an edit is held back while more of it keeps coming; editors write in several steps."""
STEP_MS = 200
"""An edit counts as finished when nothing happened for this long; also how often watchfiles wakes up."""
STOP_S = 2.0
LOOK_MS = 1000
"""How often to compare time and size of the file and identity of its folder: what inotify does not tell
(a network file system, a replaced folder) is then still seen within the two seconds promised."""


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
    ) -> None:
        self._path, self._env = path, env
        self._current = current
        self._on_change, self._on_error = on_change, on_error
        self._digest: bytes | None = None
        self._is_refused = False
        self._checking = threading.Lock()
        self._ready = threading.Event()
        self._thread = SupervisedThread("config-watch", self._run, crashes, is_vital=False)
        self.edits = self.refused = 0
        """How many edits were handed on, or refused."""

    def start(self) -> None:
        """Watch from now on; returns at once."""
        self._thread.start()

    def wait_until_watching(self, timeout_s: float) -> bool:
        """Whether the kernel watch stands; edits made after this are seen."""
        return self._ready.wait(timeout_s)

    def stop(self) -> None:
        """End the thread; idempotent."""
        self._thread.stop()
        self._thread.join(STOP_S)

    def check_now(self, *, again: bool = False) -> None:
        """Look at the file now, as on SIGHUP. Nothing happens when its content is what it was.

        ``again`` hands it on even so: what was refused may fit by now, such as a bundle that was copied once more.
        """
        with self._checking:
            self._check(must_hand_on=again)

    def _run(self) -> None:
        for _ in self._wake_ups():
            self.check_now()
            self._thread.succeeded()

    def _wake_ups(self) -> Iterator[None]:
        """One item whenever the file may have changed, until stopped."""
        stopping = self._thread.stopping
        while not stopping.is_set():
            try:
                yield from self._bursts()
            except (OSError, RuntimeError) as err:  # the folder is gone, or the kernel has no watches left
                log.warning("configuration watch lost, looking once a second", error=str(err))
                yield
            stopping.wait(LOOK_MS / 1000)

    def _bursts(self) -> Iterator[None]:
        """One item when the watch stands, then one for every burst of changes, until stopped.

        Ends when a folder was replaced, since the kernel goes on watching the old one.
        """
        from watchfiles import watch  # 50 ms of import that the first result need not wait for

        folders = {self._path.absolute().parent, self._path.resolve().parent}
        watched = [_signature(folder)[:2] for folder in sorted(folders)]
        seen: tuple[int, ...] = ()
        bursts = watch(
            *folders,
            watch_filter=self._concerns_us,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=self._thread.stopping,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            recursive=False,
            raise_interrupt=False,
        )
        for burst in bursts:
            now = _signature(self._path)
            if burst or now != seen or not self._ready.is_set():
                seen = now
                yield
                self._ready.set()
            if [_signature(folder)[:2] for folder in sorted(folders)] != watched:
                return

    def _concerns_us(self, _: Any, changed: str) -> bool:
        """The file, what it links to, or the ``..data`` link that Kubernetes swaps; not the database next to it."""
        name = Path(changed).name
        return name in (self._path.name, self._path.resolve().name) or name.startswith("..")

    def _check(self, *, must_hand_on: bool) -> None:
        digest = self._content_digest()
        if digest == self._digest and not must_hand_on:
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
        if new != self._current or self._is_refused or must_hand_on:
            self._current, self._is_refused = new, False
            self.edits += 1
            self._on_change(new)

    def _content_digest(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                return hashlib.sha256(file.read(MAX_BYTES + 1)).digest()
        except OSError:
            return None


def _signature(path: Path) -> tuple[int, ...]:
    """Numbers that change when a file or folder is replaced (first two) or written (rest); empty when it is gone."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
