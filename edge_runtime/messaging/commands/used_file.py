"""The transactions of changes that were obeyed, in a file of fixed size: a kill does not make one new again.

```
commands.used   slots of 64 bytes: a magic, then SLOTS times
                sequence u64 | transaction 24 bytes | request 24 bytes | crc32 u32 | expires u32
```
Transaction and request are the first bytes of a SHA-256. Slot ``sequence % SLOTS`` is written over, so that the newest
are known, whatever the clock says. A signed request holds until it expires (POSIX time, 0 for others): one that has not
is stepped over, or a copy of it could be obeyed again; where all hold, new ones are refused. The latest expiry of all
that were written over is kept (the last 8 bytes of the magic): what expires no later may be a copy by a clock that was
set back, and is refused. The file has its full size from the first command on: a full disk does not stop later ones. A
damaged slot costs what it holds, and is counted. The answers are in memory only.
"""

import contextlib
import errno
import hashlib
import os
import stat
import struct
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import orjson
import structlog

from calibration.stats import atomic_file
from edge_runtime.errors import StateError
from edge_runtime.messaging.commands.records import DIGEST_BYTES, Used
from edge_runtime.messaging.commands.request import Transaction
from edge_runtime.system.rfc3339 import format_rfc3339

log = structlog.get_logger()

SLOTS = 4096
OWNERS_SHARE = 16
"""One of so many slots is left for what only an owner may command: nobody else must be able to keep the owner out."""
KEPT_ANSWERS = 256
LARGEST_ANSWER_BYTES = 64 * 1024
_MAGIC = b"edge-runtime used transactions 1\n".ljust(64, b"\0")
_SLOT = struct.Struct("<Q24s24sII")
_LAST_SEQUENCE = 2**62
_LAST_SECOND = 2**32 - 1
_FLOOR_AT = 56
"""In the magic: until when those hold that were written over, u32, and its crc32."""
FILE_BYTES = _SLOT.size * (SLOTS + 1)
# Without O_NONBLOCK a pipe of this name would wait for its other end.
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True, order=True)
class _Slot:
    sequence: int
    transaction: bytes
    request: bytes
    expires_s: int

    @classmethod
    def unpack(cls, data: bytes) -> "_Slot | None":
        """None where it is damaged."""
        if len(data) != _SLOT.size:
            return None
        sequence, transaction, request, _, expires_s = _SLOT.unpack(data)
        found = cls(sequence, transaction, request, expires_s)
        return found if data == found.pack() and sequence < _LAST_SEQUENCE else None

    def pack(self) -> bytes:
        """With its checksum."""
        parts = self.sequence, self.transaction, self.request
        crc = zlib.crc32(_SLOT.pack(*parts, 0, self.expires_s))
        return _SLOT.pack(*parts, crc, self.expires_s)


class UsedFile:
    """See the module; may be shared by threads. Implements ``protocol.UsedTransactions``."""

    def __init__(self, path: Path) -> None:
        """Read what is there. Never raises: a file that cannot be used is tried again when one must be written."""
        self._path = path
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._requests: dict[bytes, bytes] = {}
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._under_way: set[bytes] = set()
        """Begun by this process and not finished."""
        self._next = 0
        self._places: dict[int, bytes] = {}
        """The transaction in each slot."""
        self._expires: dict[int, int] = {}
        """By slot, of those that hold until a moment, POSIX seconds."""
        self._forgotten_until_s = 0
        """The latest such moment of all that were written over."""
        self._undone: set[_Slot] = set()
        """Slots that may be in the file although the disk refused them: nothing was done for these."""
        self._damaged = 0
        with contextlib.suppress(StateError):
            self._open(is_new_wanted=False)

    @property
    def damaged(self) -> int:
        """The most slots that an opening could not read: so many used transactions may not be recognised."""
        return self._damaged

    def find(self, transaction: Transaction) -> Used | None:
        """A transaction that was begun; None for a new one."""
        key = _digest(transaction)
        with self._lock:
            request = self._requests.get(key)
            return None if request is None else Used(request, self._answers.get(key), key in self._under_way)

    def begin(
        self,
        transaction: Transaction,
        request: bytes,
        expires_wall_s: float | None = None,
        now_wall_s: float = 0.0,
        *,
        for_owners: bool = False,
    ) -> None:
        """Note it durably.

        Raises:
            StateError: the disk refuses, or all that are known still hold.
        """
        key, expires_s = _digest(transaction), ceil(min(expires_wall_s or 0.0, _LAST_SECOND))
        with self._lock:
            handle = self._open(is_new_wanted=True)
            self._require_new(expires_s)
            self._step_over_held(now_wall_s, SLOTS if for_owners else SLOTS - SLOTS // OWNERS_SHARE)
            lost_s = self._expires.get(self._next % SLOTS, 0)
            slot = _Slot(self._next, key, request, expires_s)
            at = _SLOT.size * (1 + self._next % SLOTS)
            try:
                if lost_s > self._forgotten_until_s:
                    os.pwrite(handle, _pack_floor(lost_s), _FLOOR_AT)
                os.pwrite(handle, slot.pack(), at)
                os.fdatasync(handle)
            except OSError as err:
                self._undone.add(slot)
                with contextlib.suppress(OSError):  # else a restart would take it for used
                    os.pwrite(handle, bytes(_SLOT.size), at)
                self._close()
                raise self._error(err) from err
            self._forgotten_until_s = max(self._forgotten_until_s, lost_s)
            self._take(slot)
            self._under_way.add(key)
            self._next += 1
            self._undone.clear()  # they had this slot

    def _require_new(self, expires_s: int) -> None:
        """Refuse what may be a copy of one that was written over: by a clock that was set back it holds again."""
        if 0 < expires_s <= self._forgotten_until_s:
            raise StateError(
                f"commands that expire before {format_rfc3339(self._forgotten_until_s)} are not remembered any more; "
                "send one that expires later, and look at the device's clock"
            )

    def _step_over_held(self, now_wall_s: float, most: int) -> None:
        """Go on to the next slot whose command has expired, where fewer than ``most`` have not."""
        held = sorted(expires_s for expires_s in self._expires.values() if expires_s > now_wall_s)
        if len(held) >= most:
            raise StateError(
                f"{len(held)} commands that have not expired are remembered already; there is room from "
                f"{format_rfc3339(held[len(held) - most])} on; send commands that hold for a shorter time"
            )
        while self._expires.get(self._next % SLOTS, 0) > now_wall_s:
            self._next += 1

    def _take(self, slot: "_Slot") -> None:
        """Know what is in a slot now, and no more what was."""
        place = slot.sequence % SLOTS
        before = self._places.get(place)
        if before is not None:
            self._requests.pop(before, None)
        self._places[place] = slot.transaction
        self._requests[slot.transaction] = slot.request
        self._expires.pop(place, None)
        if slot.expires_s:
            self._expires[place] = slot.expires_s

    def finish(self, transaction: Transaction, answer: bytes) -> None:
        """Keep the answer in memory, as long as there is room."""
        key = _digest(transaction)
        with self._lock:
            self._under_way.discard(key)
            if len(answer) <= LARGEST_ANSWER_BYTES:
                self._answers[key] = answer
            while len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)

    def close(self) -> None:
        """Free the file; idempotent."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self, *, is_new_wanted: bool) -> int:
        """The open file; what it holds is added to what is known. Not kept open unless it is to be written."""
        if self._handle is not None:
            return self._handle
        try:
            if is_new_wanted:
                self._set_aside()
            if is_new_wanted and not self._path.exists():
                atomic_file.write_atomically(self._path, _MAGIC.ljust(FILE_BYTES, b"\0"), new_mode=0o600)
            handle = os.open(self._path, _FLAGS)
            try:
                self._read(handle)
                if is_new_wanted:
                    _complete(handle)
            except OSError:
                os.close(handle)
                raise
        except OSError as err:
            if not isinstance(err, FileNotFoundError):
                log.error("used transactions cannot be read", path=str(self._path), reason=err.strerror)
            raise self._error(err) from err
        if is_new_wanted:
            self._handle = handle
        else:
            os.close(handle)
        return handle

    def _set_aside(self) -> None:
        """Move away what is no regular file: a folder, a link, a pipe."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(self._path).st_mode):
                self._path.replace(self._path.with_name(f"{self._path.name}.damaged"))
                log.error("used transactions are in no regular file; it was moved away", path=str(self._path))

    def _read(self, handle: int) -> None:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        data = os.pread(handle, FILE_BYTES, 0)
        damaged = int(status.st_size != FILE_BYTES or data[:_FLOOR_AT] != _MAGIC[:_FLOOR_AT])
        found = []
        for at in range(_SLOT.size, len(data), _SLOT.size):
            slot = data[at : at + _SLOT.size]
            if slot.strip(b"\0"):
                read = _Slot.unpack(slot)
                damaged += read is None
                found += [read] if read is not None else []
        for one in sorted(set(found) - self._undone):
            self._next = max(self._next, one.sequence + 1)
            if one.transaction not in self._requests:
                self._take(one)
        self._forgotten_until_s = max(self._forgotten_until_s, _unpack_floor(data[_FLOOR_AT : _SLOT.size]))
        if damaged > self._damaged:
            text = "used transactions damaged: some may not be recognised"
            log.error(text, path=str(self._path), slots=damaged)
        self._damaged = max(damaged, self._damaged)

    def _error(self, err: OSError) -> StateError:
        return StateError(
            f"cannot note the transaction in {self._path}: {err.strerror}; check space and permissions"
        )


def _complete(handle: int) -> None:
    """Give a damaged file its size and its magic."""
    if os.fstat(handle).st_size != FILE_BYTES:
        os.ftruncate(handle, FILE_BYTES)
    os.pwrite(handle, _MAGIC[:_FLOOR_AT], 0)


def _pack_floor(expires_s: int) -> bytes:
    """With its checksum."""
    number = expires_s.to_bytes(4, "little")
    return number + zlib.crc32(number).to_bytes(4, "little")


def _unpack_floor(data: bytes) -> int:
    """0 where there is none, or it is damaged."""
    expires_s = int.from_bytes(data[:4], "little")
    return expires_s if data == _pack_floor(expires_s) else 0


def _digest(transaction: Transaction) -> bytes:
    return hashlib.sha256(orjson.dumps(transaction)).digest()[:DIGEST_BYTES]
