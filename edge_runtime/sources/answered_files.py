"""Which files of a watched folder were answered, across restarts, edits and power cuts.

A file is known by name, size and time of change, as one number of 64 bits. Another number under the same name is
another picture. So is one whose inode *and* time of status change are both others (a copy that kept the time of the
original). Each of the two alone also changes for the same picture: FAT and network shares give new inodes at every
mount, and ``chmod`` sets the time. No clock of this machine is used.

It is recorded once the answer is safe in the outbox, so after a kill the files of the last second or so may be answered
twice, and none is lost. On disk: a header, then records of 20 bytes that are only ever appended. The file is written
anew when most of it is about files that are gone, which are remembered for a while: a share may be away.
"""

import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import structlog

from calibration.stats.regular_file import read_whole
from edge_runtime.errors import StateError
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()

SAVE_EVERY_S = 1.0
MAX_ABSENT = 10_000
"""Answered files that are not in the folder any more, before they are forgotten: 1.5 MiB of memory."""
MOST_FILE_BYTES = 2**28
"""13 million records; such a folder cannot be looked through in time."""
_HEADER = b"edge-answered-1\n"
_RECORD = struct.Struct("<QQI")  # key, identity, CRC-32 of the two
_PAIR = struct.Struct("<QQ")
_LOW = 0xFFFF_FFFF


class FileStamp(NamedTuple):
    """One file at one look. 100,000 of them take 20 MiB."""

    name: str
    """Relative to the folder."""
    key: int
    """Name, size and time of change, as 64 bits."""
    identity: int
    """Inode and time of status change, 32 bits of each."""
    modified_at_wall_s: float

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> "FileStamp":
        """The stamp of a file."""
        facts = b"%b/%d/%d" % (os.fsencode(name), status.st_size, status.st_mtime_ns)
        identity = (_fold(status.st_ino) << 32) | _fold(status.st_ctime_ns)
        key = int.from_bytes(blake2b(facts, digest_size=8).digest(), "little")
        return cls(name, key, identity, status.st_mtime)


def _fold(number: int) -> int:
    return (number ^ (number >> 32)) & _LOW


def _is_same(one: int, other: int) -> bool:
    """Whether inode or time of status change are equal."""
    return one >> 32 == other >> 32 or one & _LOW == other & _LOW


class AnsweredFiles:
    """The answered files of one folder. Safe from any thread."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        mark: Callable[[], Any] = lambda: None,
        is_kept: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        """Read what is known.

        Args:
            path: Where it is kept; None keeps it in memory only.
            mark: How far results are delivered now.
            is_kept: Whether the results before such a mark would survive a kill.
        """
        self._path, self._mark, self._is_kept = path, mark, is_kept
        self._lock = threading.Lock()
        """Of what is in memory; held for moments, because inference waits for it."""
        self._writing = threading.Lock()
        """Of the file; taken before the other."""
        self._known: dict[int, int] = {}
        self._waiting: deque[tuple[Any, int, int]] = deque()
        """Settled files whose results are not safe yet: mark, key, identity."""
        self._size_bytes, self._saved_at_s = 0, 0.0
        self._must_rewrite = False
        if path is not None:
            self._load(path)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, stamp: FileStamp) -> bool:
        known = self._known.get(stamp.key)
        return known is not None and _is_same(known, stamp.identity)

    def settle(self, stamp: FileStamp) -> None:
        """A file was answered, rejected or lost: it does not come again."""
        with self._lock:
            self._known[stamp.key] = stamp.identity
            self._waiting.append((self._mark(), stamp.key, stamp.identity))

    def forget_absent(self, present: Iterable[int]) -> None:
        """Forget files that are gone, when they are many; an empty folder may be a share that is away.

        Args:
            present: The keys of all files of the folder, from a look that saw the whole of it.
        """
        with self._lock:
            if len(self._known) <= MAX_ABSENT:
                return
            kept = {key: self._known[key] for key in present if key in self._known}
            if kept and len(self._known) - len(kept) > MAX_ABSENT:
                self._known, self._must_rewrite = kept, True

    def save(self, now_s: float) -> None:
        """Record what is safe by now, at most once a second (monotonic)."""
        with self._lock:
            is_due = now_s - self._saved_at_s >= SAVE_EVERY_S
            if is_due:
                self._saved_at_s = now_s
        if is_due:
            self._save()

    def close(self) -> None:
        """Record what is safe."""
        self._save()

    # --- disk ----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        with self._writing:
            safe, everything = self._take_safe()
            if self._path is None:
                return
            try:
                if everything is not None:
                    self._rewrite(self._path, everything)
                elif safe:
                    self._append(self._path, safe)
            except (OSError, StateError) as err:
                # All of it is in memory and is tried again; a kill until then brings these files twice.
                self._must_rewrite = True
                log.error("answered files not recorded", path=str(self._path), waiting=len(safe),
                          reason=str(err))  # fmt: skip

    def _take_safe(self) -> tuple[list[tuple[int, int]], dict[int, int] | None]:
        """What became safe since the last time; and all that is safe, when the file is to be written anew."""
        with self._lock:
            safe = []
            while self._waiting and self._is_kept(self._waiting[0][0]):
                safe.append(self._waiting.popleft()[1:])
            records = (self._size_bytes - len(_HEADER)) / _RECORD.size + len(safe)
            is_first = bool(safe) and not self._size_bytes
            if not (is_first or self._must_rewrite or records > 2 * len(self._known) + 1000):
                return safe, None
            self._must_rewrite = False
            everything = dict(self._known)
            for _, key, _ in self._waiting:
                everything.pop(key, None)
            return safe, everything

    def _rewrite(self, path: Path, everything: dict[int, int]) -> None:
        content = _encode(everything.items())
        write_atomically(path, _HEADER + content)
        self._size_bytes = len(_HEADER) + len(content)

    def _append(self, path: Path, safe: list[tuple[int, int]]) -> None:
        content = _encode(safe)
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # At the known end: a write that a full disk cut short is written over.
            written = os.pwrite(descriptor, content, self._size_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if written != len(content):
            raise OSError(f"{written} of {len(content)} bytes written")
        self._size_bytes += written

    def _load(self, path: Path) -> None:
        try:
            content = read_whole(path, MOST_FILE_BYTES)
        except FileNotFoundError:
            return
        except OSError as err:
            log.error("answered files cannot be read, all of the folder are answered again", path=str(path),
                      reason=str(err))  # fmt: skip
            self._must_rewrite = True
            return
        damaged = 0 if content.startswith(_HEADER) else 1
        whole = len(content) - (len(content) - len(_HEADER)) % _RECORD.size
        for key, identity, check in _RECORD.iter_unpack(content[len(_HEADER) : whole]):
            if crc32(_PAIR.pack(key, identity)) == check:
                self._known[key] = identity
            else:
                damaged += 1
        self._size_bytes = whole
        if damaged or whole < len(_HEADER):
            self._must_rewrite = True
            log.error("answered files damaged, some are answered again", path=str(path), damaged=damaged,
                      kept=len(self._known))  # fmt: skip


def _encode(pairs: Iterable[tuple[int, int]]) -> bytes:
    parts = bytearray()
    for key, identity in pairs:
        pair = _PAIR.pack(key, identity)
        parts += pair + struct.pack("<I", crc32(pair))
    return bytes(parts)
