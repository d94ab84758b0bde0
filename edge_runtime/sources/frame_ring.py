"""Frames in memory shared by a capture process (the one writer) and the daemon (the one reader).

The memory is an anonymous file (``memfd``): it has no name, so when both processes are gone, however they died, it is
gone. It is sparse: room for the largest allowed frame is reserved, but only bytes that were written cost memory, so a
camera that comes back with another resolution needs no new ring.

A slot belongs to exactly one side at a time (free, writing, ready, reading); ownership changes hands under a record
lock, which the kernel drops when its holder dies, so torn frames are impossible and a killed writer blocks no reader.
Imports only the standard library and numpy.
"""

import fcntl
import math
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES = 4096
_SLOTS_AT = 512
_COUNTS = np.dtype(
    [(name, "<i8") for name in ("slots", "slot_bytes", "grabbed", "skipped", "overwritten", "tickets")]
)
_BEAT_AT = 256
_SLOT = np.dtype(
    [(name, "<i8") for name in ("state", "ticket", "height", "width", "channels", "position")]
    + [(name, "<f8") for name in ("captured_at_s", "captured_at_wall_s", "decode_ms")]
)
_ENCODED = 0  # channels of a slot that holds the bytes of a picture file
MAX_SLOTS = (_HEADER_BYTES - _SLOTS_AT) // _SLOT.itemsize
# The critical sections take some 10 us; longer means that the writer is stopped inside one.
_LOCK_TIMEOUT_S = 0.005


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
    pixels: NDArray[np.uint8]
    """uint8 (H,W,3) or (H,W) for one channel, or (N,) for the bytes of a picture file; a view into the ring."""
    note: FrameNote


class FrameRing:
    """Both ends of the ring, which owns the anonymous file; each process uses one half of the methods."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        """The anonymous file, to hand to the writer."""
        self._map = mmap.mmap(fd, os.fstat(fd).st_size)
        whole = np.frombuffer(self._map, np.uint8)
        self._counts: NDArray[np.void] = whole[: _COUNTS.itemsize].view(_COUNTS)
        self._beat: NDArray[np.float64] = whole[_BEAT_AT : _BEAT_AT + 8].view(np.float64)
        count, self.slot_bytes = int(self._counts["slots"][0]), int(self._counts["slot_bytes"][0])
        self._slots: NDArray[np.void] = whole[_SLOTS_AT : _SLOTS_AT + count * _SLOT.itemsize].view(_SLOT)
        first = _HEADER_BYTES
        self._pixels = [whole[first + k * self.slot_bytes :][: self.slot_bytes] for k in range(count)]
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
        head = np.zeros(1, _COUNTS)
        head["slots"], head["slot_bytes"] = slots, slot_bytes
        os.pwrite(fd, head.tobytes(), 0)
        return cls(fd)

    def close(self) -> None:
        """Give the file back; frames already taken stay readable, their memory goes with the last of them."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # --- the writer's half -------------------------------------------------------------------------------------

    def beat(self, now_s: float) -> None:
        """Show life."""
        self._beat[0] = now_s

    def count_grab(self, now_s: float) -> None:
        """The device gave a frame."""
        self._counts["grabbed"][0] += 1
        self._beat[0] = now_s

    def count_skip(self) -> None:
        """The frame just grabbed is not wanted or not decodable."""
        self._counts["skipped"][0] += 1

    def reserve(self, *, may_overwrite: bool) -> int | None:
        """A slot to write into: a free one, else (if allowed) the oldest unread one; None when there is none."""
        with self._lock():
            states = self._slots["state"]
            for slot in range(len(states)):
                if states[slot] in (_State.FREE, _State.WRITING):
                    states[slot] = _State.WRITING
                    return slot
            oldest = self._oldest_ready() if may_overwrite else None
            if oldest is not None:
                # Counted before it is taken: a writer killed in between has not lost a frame uncounted.
                self._counts["overwritten"][0] += 1
                states[oldest] = _State.WRITING
            return oldest

    def room(self, slot: int, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """The memory of a reserved slot as an array of this shape; None when the frame is too large."""
        size = math.prod(shape)
        return self._pixels[slot][:size].reshape(shape) if size <= self.slot_bytes else None

    def commit(self, slot: int, shape: tuple[int, ...], note: FrameNote) -> None:
        """Hand a written slot to the reader; a shape (N,) says that it holds the bytes of a picture file."""
        height, width, channels = (1, *shape, _ENCODED) if len(shape) == 1 else (*shape, 1)[:3]
        with self._lock():
            ticket = int(self._counts["tickets"][0])
            record = self._slots[slot : slot + 1]
            record["ticket"] = ticket
            record["height"], record["width"], record["channels"] = height, width, channels
            for name, value in note._asdict().items():
                record[name] = value
            record["state"] = _State.READY  # last: a writer killed half-way has not handed anything over
            self._counts["tickets"][0] = ticket + 1

    # --- the reader's half -------------------------------------------------------------------------------------

    def beat_at_s(self) -> float:
        """When the writer last showed life; 0 before it did."""
        return float(self._beat[0])

    def counts(self) -> RingCounts:
        """Counters so far; callable from any thread."""
        _, _, *counts = self._counts[0].item()  # in the order of _COUNTS
        return RingCounts(*counts)

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
                self._slots["state"][self._reading] = _State.FREE
            slot = self._reading = self._oldest_ready()
            if slot is None:
                return None
            self._slots["state"][slot] = _State.READING
            record = self._slots[slot].copy()
        return self._read_slot(slot, record)

    def _read_slot(self, slot: int, record: Any) -> TakenFrame:
        _, ticket, height, width, channels, *note = record.item()  # in the order of _SLOT
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
        return TakenFrame(ticket, self._pixels[slot][:size].reshape(shape), FrameNote(*note))

    # --- both --------------------------------------------------------------------------------------------------

    def _oldest_ready(self) -> int | None:
        ready = [k for k, state in enumerate(self._slots["state"].tolist()) if state == _State.READY]
        return min(ready, key=lambda k: int(self._slots["ticket"][k])) if ready else None

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
