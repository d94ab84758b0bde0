"""Lets one taker have the frames of a running daemon and the answers to them, without ever delaying the daemon.

While nobody takes, a frame and an answer cost one look each. Otherwise they wait in a queue that is bounded in bytes:
a frame that does not fit is left out and counted. A frame is offered before it is answered, so an answer
always finds its frame.
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
    """A result with the raw outputs, which are None where they are large."""

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
        self._free_bytes = queue_bytes
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
        due_s = self._due_s.get(frame.stream, frame.captured_at_s)
        if frame.captured_at_s < due_s:
            return
        # From when it was due, so that frames that come a little early or late keep the pace.
        self._due_s[frame.stream] = max(due_s, frame.captured_at_s - self._least_gap_s) + self._least_gap_s
        kept = self._keep(frame)
        if kept is None:
            self.left_out += 1
            return
        with self._has_more:
            self.frames += 1
            self._waiting[frame.stream, frame.seq] = None
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popitem(last=False)
            self._queue.append((kept, _size_bytes(kept)))
            self._has_more.notify()

    def note_answer(self, answer: TakenAnswer | TakenRejection, stream: str, seq: int) -> None:
        """A frame was answered; passed over where the frame was not taken."""
        with self._has_more:
            if self._waiting.pop((stream, seq), self) is self:
                return
            self._queue.append((answer, 0))
            self._has_more.notify()

    def waits_for(self, stream: str, seq: int) -> bool:
        """Whether the answer to this frame is wanted."""
        return (stream, seq) in self._waiting

    def take(self, timeout_s: float) -> Taken | None:
        """The oldest one; None: none came in time."""
        with self._has_more:
            if not self._has_more.wait_for(lambda: self._queue, timeout_s):
                return None
            taken, size = self._queue.popleft()
            self._free_bytes += size
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
        picture = frame.picture
        if isinstance(picture, Path):
            try:
                picture = read_whole(picture, MOST_FILE_BYTES)
            except OSError:
                return None
        size = _size_bytes(replace(frame, picture=picture))
        with self._has_more:
            if size > self._free_bytes:
                return None
            self._free_bytes -= size
        return replace(frame, picture=picture.copy() if isinstance(picture, np.ndarray) else picture)


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
        taking = self._taking
        if taking is None or not taking.waits_for(result.stream, result.seq):
            return
        is_small = sum(array.nbytes for array in outputs.values()) <= MOST_RAW_BYTES
        raw = {name: np.array(array) for name, array in outputs.items()} if is_small else None
        if result.outputs is not None:  # they may be parts of the same memory
            result = replace(result, outputs={name: np.array(one) for name, one in result.outputs.items()})
        taking.note_answer(TakenAnswer(result, raw), result.stream, result.seq)

    def note_rejection(self, model: str, rejected: Rejected) -> None:
        """A frame will have no result."""
        if (taking := self._taking) is not None:
            taking.note_answer(TakenRejection(model, rejected), rejected.stream, rejected.seq)


def _size_bytes(frame: Frame) -> int:
    picture = frame.picture
    assert not isinstance(picture, Path)
    return picture.nbytes if isinstance(picture, np.ndarray) else len(picture)
