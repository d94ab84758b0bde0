"""Writes rows to a bounded file of JSON lines on this device."""

import errno
import os
import stat
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import orjson
import structlog

from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.publisher import DeliveryReport

log = structlog.get_logger()

KEEP = 2
"""Rotated files that are kept next to the file itself."""
GATHER_S = 0.01
"""Lines that come within this time are written and synced together, before the outbox writes them, which it does 20 ms
after they were put."""
UNWRITTEN_BYTES = 8 * 2**20
"""Lines are written when so much of them is in memory."""
QUICK_SYNC_S = 0.005
"""A sync that takes longer keeps no row out of the outbox's file, which is written 20 ms after a row was put."""


class FileSink:
    """Appends ``{"topic": …, "payload": {…}}`` lines to a file and keeps it bounded.

    At ``max_bytes`` the file becomes ``name.1`` (and so on, ``KEEP`` old ones). Lines can be read at once; rows count
    as delivered once they are synced: at once while the disk is quick, else at most a second later.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        sync_every_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is opened before the first row. ``sync_every_s``: on a disk whose syncs are slow."""
        self._path, self._max_bytes = path, max_bytes
        self._sync_every_s, self._monotonic = sync_every_s, monotonic
        self._is_quick = False
        self._file: FileIO | None = None
        self._size = self._synced_size = 0
        self._lines: list[bytes] = []
        self._unwritten_bytes = 0
        self._ids: list[int] = []
        self._synced_at_s = float("-inf")
        self._retry_at_s = float("-inf")
        self._failures = 0
        self.problem: str | None = None
        """The last write error, until a write works again."""

    @property
    def epoch(self) -> object:
        """Number of failures; None until the next try after one."""
        return None if self._monotonic() < self._retry_at_s else self._failures

    def capacity(self) -> int:
        """A batch at a time; fewer while rows wait for the sync."""
        return max(0, 2048 - len(self._ids)) if self._unwritten_bytes < UNWRITTEN_BYTES else 0

    def send(self, row: Row) -> bool:
        """Take the row; it is written by the next :meth:`poll`."""
        try:
            payload: object = orjson.Fragment(row.payload) if orjson.loads(row.payload) is not None else None
        except orjson.JSONDecodeError:
            payload = row.payload.decode(errors="replace")
        self._lines.append(orjson.dumps({"topic": row.topic, "payload": payload}) + b"\n")
        self._unwritten_bytes += len(self._lines[-1])
        self._ids.append(row.id)
        return True

    def poll(self) -> DeliveryReport:
        """Write the rows that were sent, sync when it is time."""
        return self._deliver(must_sync=False) if self._ids else DeliveryReport()

    def _deliver(self, *, must_sync: bool) -> DeliveryReport:
        """Rows that are synced are delivered, also when the rotation after it fails."""
        delivered: list[int] = []
        try:
            self._write()
            is_time = self._is_quick or self._monotonic() - self._synced_at_s >= self._sync_every_s
            if must_sync or is_time or len(self._ids) >= 1024:
                delivered = self._sync()
                self._rotate_if_full()
        except OSError as err:
            self._fail(err)
        return DeliveryReport(delivered=delivered)

    def _write(self) -> None:
        if not self._lines:
            return
        if self._file is not None and not self._is_at_its_path(self._file):
            os.fsync(self._file.fileno())  # its last lines count as delivered with the next sync
            self._close_file()  # it was removed or renamed (logrotate): go on under the configured name
        if self._file is None:
            self._open()
            self._rotate_if_full()  # where the last rotation failed: before anything is added
        if self._file is None:
            self._open()
        assert self._file is not None, "_open opens or raises"
        data = memoryview(b"".join(self._lines))
        while data:  # an unbuffered write may take only a part, on a disk that is getting full
            written = self._file.write(data)
            self._size += written
            data = data[written:]
        self._lines.clear()
        self._unwritten_bytes = 0

    def _is_at_its_path(self, file: FileIO) -> bool:
        """Whether the path still names the open file."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False

    def _sync(self) -> list[int]:
        began_s = self._monotonic()
        if self._file is not None:
            os.fsync(self._file.fileno())
        self._synced_at_s, self._synced_size = self._monotonic(), self._size
        self._is_quick = self._synced_at_s - began_s < QUICK_SYNC_S
        ids, self._ids = self._ids, []
        self.problem = None
        return ids

    def _open(self) -> None:
        """Open for appending; a half line left by a power cut is cut off, its row comes again."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(self._path, "a+", opener=_open_regular)
        size = file.seek(0, os.SEEK_END)
        tail_start = max(0, size - 2**20)
        file.seek(tail_start)
        tail = file.read(2**20)
        if tail and not tail.endswith(b"\n"):
            size = tail_start + tail.rfind(b"\n") + 1
            file.truncate(size)
        self._file, self._size, self._synced_size = file, size, size

    def _rotate_if_full(self) -> None:
        if self._size < self._max_bytes:
            return
        self._close_file()
        for number in range(KEEP - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _fail(self, err: OSError) -> None:
        """Forget the rows that are not synced (the outbox has them), cut them off the file, retry in a second."""
        if self.problem is None:
            log.error("results file cannot be written, results wait in the outbox", reason=str(err))
        self.problem = f"{self._path}: {err.strerror or err}"
        self._lines, self._ids, self._unwritten_bytes = [], [], 0
        self._failures += 1
        self._retry_at_s = self._monotonic() + 1.0
        if self._file is not None:
            try:
                self._file.truncate(self._synced_size)
            except OSError:
                log.warning("lines of the results file may appear twice", path=str(self._path))
            self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        self._size = self._synced_size = 0
        if file is not None:
            file.close()

    def hurry(self) -> None:
        """Sync at every poll from now on."""
        self._sync_every_s = 0.0

    def listen(self, listener: Callable[[], None]) -> None:
        """Do nothing: a file has nothing new to report between two polls."""

    def close(self, timeout_s: float) -> DeliveryReport:  # noqa: ARG002 - a file cannot be hurried
        """Write, sync and close; the sync takes as long as the disk needs."""
        try:
            return self._deliver(must_sync=True)
        finally:
            self._close_file()


def _open_regular(path: str, flags: int) -> int:
    """Never waits: a pipe or a device can neither be cut nor synced, so no row in it would count as delivered."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "no regular file, but a pipe or a device")
    return handle
