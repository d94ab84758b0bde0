"""A file of samples as a stream of windows, at the sensor's pace or as fast as the model takes them."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from edge_runtime.datatypes import Frame, Origin, RejectReason
from edge_runtime.errors import SourceLost
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.sources.base import EndOfStream, SourceCounts
from edge_runtime.sources.pacing import Metronome
from edge_runtime.sources.sample_pieces import PieceReader
from edge_runtime.sources.window_frames import FindSpec, WindowFrames


class SignalFileSource:
    """The windows of one file, read piece by piece; from its begin again when another bundle comes into force.

    Args:
        path: The file; its suffix says the format, where it is one of those that files of windows have.
        find_spec: What the model that answers wants; see :class:`WindowFrames`.
        is_paced: Whether windows come at the rate of the sensor.
        loop: Begin again at the end.
        max_bytes: A file that cannot be read line by line may be so large.
        clock, wall_clock: Monotonic and Unix seconds.
        first_seq: Sequence number of the first frame.
    """

    is_live = False

    def __init__(
        self,
        stream: str,
        path: Path,
        find_spec: FindSpec,
        *,
        is_paced: bool = True,
        loop: bool = False,
        max_bytes: int = 64 << 20,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
    ) -> None:
        self.stream = stream
        self._path, self._is_loop, self._max_bytes = path, loop, max_bytes
        self._clock, self._wall_clock = clock, wall_clock
        self._windows = WindowFrames(stream, find_spec, first_seq)
        self._metronome = Metronome(1 / self._windows.interval_s if is_paced else None)
        self._reader = PieceReader.of(self._windows.spec, path)
        self._frames = self._make_frames()
        self._next: Frame | None = None
        self._counts = SourceCounts()
        self._closed = threading.Event()

    def read(self, timeout_s: float) -> Frame | None:
        """The next window, or the next piece that cannot be read; None when none is due in time.

        Raises:
            EndOfStream: all were given, or the source was closed.
            SourceLost: the file cannot be read, or holds no window.
        """
        deadline_s = self._clock() + timeout_s
        self._next = self._next or next(self._frames, None)
        if self._next is None:
            raise EndOfStream(f"{self._path}: all {self._counts.delivered} windows were given")
        wait_s = min(self._metronome.wait_s(self._clock()), deadline_s - self._clock())
        if self._closed.wait(max(0.0, wait_s)):
            raise EndOfStream(f"{self.stream} was closed")
        now_s = self._clock()
        if self._metronome.wait_s(now_s) > 0:
            return None
        self._metronome.tick(now_s)
        self._counts = self._counts.plus(captured=1, delivered=1, last_captured_at_s=now_s)
        given, self._next = replace(self._next, captured_at_s=now_s), None
        has_times = self._reader.payload.time is not None
        return given if has_times else replace(given, captured_at_wall_s=self._wall_clock())

    def stats(self) -> SourceCounts:
        """Counters so far."""
        return self._windows.add_counts(self._counts)

    def close(self) -> None:
        """Stop waiting."""
        self._closed.set()

    def _make_frames(self) -> Iterator[Frame]:
        while True:
            before = self._windows.next_seq
            yield from self._read_through()
            if self._windows.is_outdated:
                self._windows.follow_spec()
                self._reader = PieceReader.of(self._windows.spec, self._path)
                continue
            self._windows.finish(self._clock())
            yield from self._windows.frames()
            if self._windows.next_seq == before:
                raise SourceLost(self.stream, f"{self._path} holds no window: it is shorter than one")
            if not self._is_loop:
                return
            self._windows.begin_anew()

    def _read_through(self) -> Iterator[Frame]:
        """The frames of the file but for those at its end; ends early where another bundle has come into force."""
        origin = Origin(name=self._path.name)
        try:
            for piece in self._reader.read_all(self._path, self._check_bytes):
                self._windows.put_piece(piece, self._clock(), self._wall_clock(), origin, is_file=True)
                for frame in self._windows.frames():
                    yield frame
                    if self._windows.is_outdated:
                        return
        except InputFlaw as flaw:
            raise SourceLost(self.stream, flaw.detail) from flaw
        except OSError as err:
            raise SourceLost(self.stream, f"{self._path} cannot be read: {err.strerror}") from err

    def _check_bytes(self, size: int) -> None:
        if size > self._max_bytes:
            found = f"{size} bytes; at most {self._max_bytes} are read as a whole, more as csv or jsonl"
            raise InputFlaw(RejectReason.TOO_LARGE, found)
