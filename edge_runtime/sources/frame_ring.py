"""Frames in memory shared by a capture process (the one writer) and the daemon (the one reader).

The memory is an anonymous file (``memfd``): it has no name, so when both processes are gone, however they died, it is
gone. It is sparse: room for the largest allowed frame is reserved, but only bytes that were written cost memory, so a
camera that comes back with another resolution needs no new ring.

A slot belongs to exactly one side at a time (free, writing, ready, reading); ownership changes hands under a record
lock, which the kernel drops when its holder dies, so torn frames are impossible and a killed writer blocks no reader.
Standard library only, because each capture process loads it: numpy, which the reader has, takes 6 MiB.
"""

import ctypes
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HEADER_BYTES = 4096
_SLOTS_AT = 512
_BEAT_AT = 256
_INTERVAL_AT = 264
_ENCODED = 0  # channels of a slot that holds the bytes of a picture file
# The critical sections take some 10 us; longer means that the writer is stopped inside one.
_LOCK_TIMEOUT_S = 0.005


class _Counts(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int64)
        for name in ("slots", "slot_bytes", "grabbed", "skipped", "overwritten", "tickets")
    )
    slots: int
    slot_bytes: int
    grabbed: int
    skipped: int
    overwritten: int
    tickets: int


class _Slot(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("state", "ticket", "height", "width", "channels", "position")),
        *((name, ctypes.c_double) for name in ("captured_at_s", "captured_at_wall_s", "decode_ms")),
    )
    state: int
    ticket: int
    height: int
    width: int
    channels: int
    position: int
    captured_at_s: float
    captured_at_wall_s: float
    decode_ms: float


MAX_SLOTS = (_HEADER_BYTES - _SLOTS_AT) // ctypes.sizeof(_Slot)


class _State(IntEnum):
    FREE = 0
    WRITING = 1
    READY = 2
    READING = 3


class RingCounts(NamedTuple):
    """Counters of the writer; exact also after it was killed."""

    grabbed: int
    """Frames the device gave."""
    skipped: int
    """Of these, not copied: above the fps limit, or video that cannot be decoded."""
    overwritten: int
    """Of these, copied and then replaced by a newer one before they were read."""
    tickets: int
    """Of these, copied into the ring and handed over."""


class FrameNote(NamedTuple):
    """Facts about a frame, from the writer."""

    position: int
    """Frames of the file before this one, in this pass; for cameras the number since opening."""
    captured_at_s: float
    captured_at_wall_s: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class TakenFrame:
    """A frame in the reader's hands until its next ``take``."""

    ticket: int
    """Running number of frames handed over by this writer, from 0; a gap is a frame that was overwritten."""
    data: memoryview
    """Its bytes; a view into the ring."""
    shape: tuple[int, ...]
    """(H,W,3) or (H,W,4), (H,W) for one channel, or (N,) for the bytes of a picture file."""
    note: FrameNote

    @property
    def pixels(self) -> "NDArray[np.uint8]":
        """The bytes as an array of that shape; a view into the ring."""
        import numpy as np

        return np.frombuffer(self.data, np.uint8).reshape(self.shape)


class FrameRing:
    """Both ends of the ring, which owns the anonymous file; each process uses one half of the methods."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        """The anonymous file, to hand to the writer."""
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)
        self._counts = _Counts.from_buffer(self._map)
        self._beat = ctypes.c_double.from_buffer(self._map, _BEAT_AT)
        self._interval = ctypes.c_double.from_buffer(self._map, _INTERVAL_AT)
        count, self.slot_bytes = self._counts.slots, self._counts.slot_bytes
        self._slots = (_Slot * count).from_buffer(self._map, _SLOTS_AT)
        whole = memoryview(self._map)[_HEADER_BYTES:]
        self._bytes = [whole[k * self.slot_bytes :][: self.slot_bytes] for k in range(count)]
        self._reading: int | None = None
        self.was_busy = False
        """The last ``take`` got nothing because the writer was inside a hand-over: ask again in a moment."""

    @classmethod
    def create(cls, slots: int, max_frame_bytes: int) -> "FrameRing":
        """A new ring of ``slots`` frames of at most ``max_frame_bytes`` each.

        Raises:
            ValueError: fewer than 3 slots (one to write, one ready, one being read) or too many.
        """
        if not 3 <= slots <= MAX_SLOTS:
            raise ValueError(f"a ring of {slots} slots; expected 3 to {MAX_SLOTS}")
        slot_bytes = -(-max_frame_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        fd = os.memfd_create("edge-frames", os.MFD_CLOEXEC)
        os.ftruncate(fd, _HEADER_BYTES + slots * slot_bytes)
        os.pwrite(fd, bytes(_Counts(slots, slot_bytes)), 0)
        return cls(fd)

    def close(self) -> None:
        """Give the file back; frames already taken stay readable, their memory goes with the last of them."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # --- the writer's half -------------------------------------------------------------------------------------

    def beat(self, now_s: float) -> None:
        """Show life."""
        self._beat.value = now_s

    def note_interval(self, interval_s: float) -> None:
        """So long it may take from frame to frame."""
        self._interval.value = interval_s

    def count_grab(self, now_s: float) -> None:
        """The device gave a frame."""
        self._counts.grabbed += 1
        self._beat.value = now_s

    def count_skip(self) -> None:
        """The frame just grabbed is not wanted or not decodable."""
        self._counts.skipped += 1

    def reserve(self, *, may_overwrite: bool) -> int | None:
        """A slot to write into: a free one, else (if allowed) the oldest unread one; None when there is none."""
        with self._lock():
            for number, slot in enumerate(self._slots):
                if slot.state in (_State.FREE, _State.WRITING):
                    slot.state = _State.WRITING
                    return number
            oldest = self._oldest_ready() if may_overwrite else None
            if oldest is not None:
                # Counted before it is taken: a writer killed in between has not lost a frame uncounted.
                self._counts.overwritten += 1
                self._slots[oldest].state = _State.WRITING
            return oldest

    def room(self, slot: int) -> memoryview:
        """The memory of a reserved slot."""
        return self._bytes[slot]

    def commit(self, slot: int, shape: tuple[int, ...], note: FrameNote) -> None:
        """Hand a written slot to the reader; a shape (N,) says that it holds the bytes of a picture file."""
        height, width, channels = (1, *shape, _ENCODED) if len(shape) == 1 else (*shape, 1)[:3]
        with self._lock():
            record, ticket = self._slots[slot], self._counts.tickets
            record.ticket = ticket
            record.height, record.width, record.channels = height, width, channels
            for name, value in note._asdict().items():
                setattr(record, name, value)
            record.state = _State.READY  # last: a writer killed half-way has not handed anything over
            self._counts.tickets = ticket + 1

    # --- the reader's half -------------------------------------------------------------------------------------

    def beat_at_s(self) -> float:
        """When the writer last showed life; 0 before it did."""
        return self._beat.value

    def interval_s(self) -> float:
        """How long it may take from frame to frame as the writer sees it; 0 where it does not say."""
        return self._interval.value

    def counts(self) -> RingCounts:
        """Counters so far; callable from any thread."""
        counts = self._counts
        return RingCounts(counts.grabbed, counts.skipped, counts.overwritten, counts.tickets)

    def take(self) -> TakenFrame | None:
        """The oldest unread frame, giving back the one taken before; None when there is none.

        Also None, with ``was_busy`` set, when the writer lost the processor or was stopped inside a hand-over.

        Raises:
            ValueError: the writer described a frame that cannot be in its slot.
        """
        with self._try_lock() as is_mine:
            self.was_busy = not is_mine
            if not is_mine:
                return None
            if self._reading is not None:
                self._slots[self._reading].state = _State.FREE
            slot = self._reading = self._oldest_ready()
            if slot is None:
                return None
            self._slots[slot].state = _State.READING
            record = _Slot.from_buffer_copy(self._slots[slot])
        return self._read_slot(slot, record)

    def _read_slot(self, slot: int, record: _Slot) -> TakenFrame:
        height, width, channels = record.height, record.width, record.channels
        is_encoded = channels == _ENCODED and height == 1
        size = height * width * (1 if is_encoded else channels)
        is_possible = width >= 0 if is_encoded else min(height, width) >= 1 and channels in (1, 3, 4)
        if not is_possible or size > self.slot_bytes:
            raise ValueError(f"the capture process handed over a frame of {height}x{width}x{channels}")
        shape: tuple[int, ...] = (height, width, channels)
        if is_encoded:
            shape = (width,)
        elif channels == 1:
            shape = (height, width)
        note = FrameNote(*(getattr(record, name) for name in FrameNote._fields))
        return TakenFrame(record.ticket, self._bytes[slot][:size], shape, note)

    # --- both --------------------------------------------------------------------------------------------------

    def _oldest_ready(self) -> int | None:
        ready = [number for number, slot in enumerate(self._slots) if slot.state == _State.READY]
        return min(ready, key=lambda number: self._slots[number].ticket, default=None)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # Record locks belong to the process, not to the descriptor, so they exclude parent and child from each other.
        fcntl.lockf(self.fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.fd, fcntl.LOCK_UN)

    @contextmanager
    def _try_lock(self) -> Iterator[bool]:
        give_up_at_s, is_mine = time.monotonic() + _LOCK_TIMEOUT_S, False
        while not is_mine:
            try:
                fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_mine = True
            except BlockingIOError:
                if time.monotonic() >= give_up_at_s:
                    break
                time.sleep(0.0002)
        try:
            yield is_mine
        finally:
            if is_mine:
                fcntl.lockf(self.fd, fcntl.LOCK_UN)
