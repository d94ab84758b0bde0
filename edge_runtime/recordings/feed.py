"""Lets one taker have the frames of a running daemon and the answers to them, without ever delaying the daemon.

While nobody takes, a frame and an answer cost one look each. Otherwise they wait in a queue that is bounded in bytes:
a frame that does not fit is left out and counted, raw outputs that do not fit are left out of their answer. A frame is
offered before it is answered, so an answer always finds its frame.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.stats.regular_file import read_whole
from edge_runtime.datatypes import Frame, Rejected, Result
from edge_runtime.errors import CommandError

QUEUE_BYTES = 64 * 2**20
MOST_RAW_BYTES = 256 * 1024
"""Of the raw outputs of one frame; those of a detector may be as large as its picture, and are not kept."""
MOST_WAITING = 4096
"""Frames whose answers are waited for; of those that were dropped no answer comes."""
MOST_FILE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class TakenAnswer:
    """A result with the raw outputs, which are None where they are large or did not fit."""

    result: Result
    raw: Mapping[str, NDArray[Any]] | None


@dataclass(frozen=True, slots=True)
class TakenRejection:
    """A frame that has no result."""

    model: str
    rejected: Rejected


Taken = Frame | TakenAnswer | TakenRejection
"""The picture of a frame is an array that nobody else writes to, or bytes."""


class Taking:
    """The part of one taker. The daemon's threads offer, the taker's thread takes."""

    def __init__(
        self,
        streams: frozenset[str],
        least_gap_s: float,
        is_allowed: Callable[[str], bool],
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        """``least_gap_s``: of two frames of a stream. ``is_allowed`` is asked for the stream of every frame."""
        self._streams, self._least_gap_s, self._is_allowed = streams, least_gap_s, is_allowed
        self.room_bytes = queue_bytes
        """Of the queue, for pictures and outputs that still fit."""
        self._has_more = threading.Condition()
        self._queue: deque[tuple[Taken, int]] = deque()
        self._waiting: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._due_s: dict[str, float] = {}
        self._takes_frames = True
        self.frames = 0
        """Frames that were queued."""
        self.left_out = 0
        """Frames that did not fit, or whose file could not be read."""

    def offer_frame(self, frame: Frame) -> None:
        """A frame was captured; called by the one worker of the stream."""
        if not (self._takes_frames and frame.stream in self._streams and self._is_allowed(frame.stream)):
            return
        if frame.flaw is not None:  # nothing came that could be kept
            return
        due_s = self._due_s.get(frame.stream, frame.captured_at_s)
        if frame.captured_at_s < due_s:
            return
        # From when it was due, so that frames that come a little early or late keep the pace.
        self._due_s[frame.stream] = max(due_s, frame.captured_at_s - self._least_gap_s) + self._least_gap_s
        kept = self._keep(frame)
        with self._has_more:
            if kept is None:
                self.left_out += 1
                return
            self.frames += 1
            self._waiting[frame.stream, frame.seq] = None
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
            self._queue.append((kept, _size_bytes(kept)))
            self._has_more.notify()

    def note_result(self, result: Result, outputs: Mapping[str, NDArray[Any]]) -> None:
        """A frame was answered; passed over where the frame was not taken, or its answer does not fit."""
        key = result.stream, result.seq
        if key not in self._waiting:
            return
        size, raw_bytes = _sum_bytes(result.outputs or {}), _sum_bytes(outputs)
        keeps_raw = raw_bytes <= MOST_RAW_BYTES and self._reserve(size + raw_bytes)
        if keeps_raw:
            size += raw_bytes
        elif not self._reserve(size):
            self._put(key, None, 0)
            return
        raw = {name: np.array(array) for name, array in outputs.items()} if keeps_raw else None
        if result.outputs is not None:  # they may be parts of the same memory
            result = replace(result, outputs={name: np.array(one) for name, one in result.outputs.items()})
        self._put(key, TakenAnswer(result, raw), size)

    def note_rejection(self, model: str, rejected: Rejected) -> None:
        """A frame will have no result; passed over where it was not taken."""
        self._put((rejected.stream, rejected.seq), TakenRejection(model, rejected), 0)

    def take(self, timeout_s: float) -> Taken | None:
        """The oldest one; None: none came in time."""
        with self._has_more:
            if not self._has_more.wait_for(lambda: self._queue, timeout_s):
                return None
            taken, size = self._queue.popleft()
            self.room_bytes += size
            return taken

    def stop_frames(self) -> None:
        """Take no more frames; answers to those that were taken still come."""
        self._takes_frames = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing waits, neither here nor for an answer."""
        with self._has_more:
            return not self._queue and not self._waiting

    def _keep(self, frame: Frame) -> Frame | None:
        """The frame with a picture that stays, and its room in the queue; None where there is none."""
        picture = frame.payload
        if isinstance(picture, Path):
            try:
                picture = read_whole(picture, MOST_FILE_BYTES)
            except OSError:
                return None
        if not self._reserve(_size_bytes(replace(frame, payload=picture))):
            return None
        return replace(frame, payload=picture.copy() if isinstance(picture, np.ndarray) else picture)

    def _reserve(self, size: int) -> bool:
        with self._has_more:
            if size > self.room_bytes:
                return False
            self.room_bytes -= size
            return True

    def _put(self, key: tuple[str, int], answer: TakenAnswer | TakenRejection | None, size: int) -> None:
        """An answer, which has this room in the queue already; None: the frame gets none."""
        with self._has_more:
            if self._waiting.pop(key, self) is self or answer is None:
                self.room_bytes += size
                return
            self._queue.append((answer, size))
            self._has_more.notify()


class Feed:
    """Between the daemon's threads and at most one :class:`Taking`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taking: Taking | None = None

    def begin(self, taking: Taking) -> None:
        """Give it what comes from now on.

        Raises:
            CommandError: another one has it.
        """
        with self._lock:
            if self._taking is not None:
                raise CommandError("another recording is under way; wait for its end, or end it")
            self._taking = taking

    def end(self) -> None:
        """Give it nothing more."""
        with self._lock:
            self._taking = None

    def offer_frame(self, frame: Frame) -> None:
        """A frame was captured; returns after a copy of it at most."""
        if (taking := self._taking) is not None:
            taking.offer_frame(frame)

    def note_result(self, result: Result, outputs: Mapping[str, NDArray[Any]]) -> None:
        """A frame was answered; ``outputs`` are overwritten afterwards."""
        if (taking := self._taking) is not None:
            taking.note_result(result, outputs)

    def note_rejection(self, model: str, rejected: Rejected) -> None:
        """A frame will have no result."""
        if (taking := self._taking) is not None:
            taking.note_rejection(model, rejected)


def _sum_bytes(arrays: Mapping[str, NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())


def _size_bytes(frame: Frame) -> int:
    picture = frame.payload
    assert not isinstance(picture, Path)
    return picture.nbytes if isinstance(picture, np.ndarray) else len(picture)
