"""A folder of pictures as a stream: once, round and round, or waiting for new ones.

Nothing is decoded or judged here: frames carry paths, and preprocessing rejects and counts what it cannot use.
"""

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from edge_runtime.datatypes import PICTURE_SUFFIXES, Frame
from edge_runtime.errors import SourceLost
from edge_runtime.sources.base import EndOfStream, SourceCounts
from edge_runtime.sources.pacing import Metronome

_SCAN_SHARE = 0.1  # of the time may go into listing a huge folder
_POLL_S = 0.5  # between two looks at a watched folder
_Seen = tuple[str, int, int]
"""Name, size and time of change of a file at one look; others than those are another picture under the same name."""


class ImagesSource:
    """The pictures of one folder in natural order (``2.jpg`` before ``10.jpg``).

    Args:
        folder: Where they are; subfolders, hidden files and other suffixes are left out.
        fps: Pace; None gives pictures as fast as they are read.
        loop: Begin again at the end.
        watch: Wait for new and overwritten files instead of ending; a file counts once it stopped changing.
        clock, wall_clock: Monotonic and Unix seconds.
        first_seq: Sequence number of the first frame.
    """

    is_live = False

    def __init__(
        self,
        stream: str,
        folder: Path,
        *,
        fps: float | None = None,
        loop: bool = False,
        watch: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
    ) -> None:
        self.stream = stream
        self._folder, self._is_loop, self._is_watched = folder, loop, watch
        self._clock, self._wall_clock = clock, wall_clock
        self._metronome = Metronome(fps)
        self._queue: deque[str] = deque()
        self._before: frozenset[_Seen] = frozenset()
        self._taken: frozenset[_Seen] = frozenset()
        self._look_at_s = 0.0
        self._has_looked = False
        self._next_seq = first_seq
        self._counts = SourceCounts()
        self._closed = threading.Event()

    def read(self, timeout_s: float) -> Frame | None:
        """The next picture's path.

        Raises:
            SourceLost: the folder cannot be listed or has no picture, and is not watched.
            EndOfStream: all were given, or the source was closed.
        """
        deadline_s = self._clock() + timeout_s
        while not self._closed.is_set():
            now_s = self._clock()
            self._look(now_s)
            wait_s = self._metronome.wait_s(now_s) if self._queue else self._look_at_s - now_s
            if self._queue and wait_s <= 0:
                return self._deliver(now_s)
            if now_s >= deadline_s:
                return None
            self._closed.wait(max(0.0, min(wait_s, deadline_s - now_s)))
        raise EndOfStream(f"{self.stream} was closed")

    def stats(self) -> SourceCounts:
        """Counters so far."""
        return self._counts

    def close(self) -> None:
        """Stop waiting."""
        self._closed.set()

    def _look(self, now_s: float) -> None:
        """Fill the queue when it is empty and a look is due."""
        if self._queue:
            return
        if self._is_watched:
            new = self._look_again(now_s) if now_s >= self._look_at_s else frozenset()
        else:
            new = self._look_once()
        self._queue.extend(sorted((name for name, *_ in new), key=natural_order))

    def _look_once(self) -> frozenset[_Seen]:
        """All pictures, the first time or in a loop."""
        if self._has_looked and not self._is_loop:
            raise EndOfStream(f"{self._folder}: all {self._counts.delivered} pictures were given")
        self._has_looked = True
        try:
            files = self._list()
        except OSError as err:
            raise SourceLost(self.stream, _unlistable(self._folder, err)) from err
        if not files:
            raise SourceLost(self.stream, f"no picture in {self._folder}; expected files like .jpg or .png")
        return files

    def _look_again(self, now_s: float) -> frozenset[_Seen]:
        """Pictures that are new and look the same twice: the rest is still being written."""
        self._look_at_s = now_s + _POLL_S
        try:
            files = self._list()
        except OSError as err:
            # A share that is away for a while: what was given before is remembered and not given again.
            self._counts = self._counts.plus(last_problem=_unlistable(self._folder, err))
            return frozenset()
        if self._counts.last_problem is not None:
            self._counts = self._counts.plus(last_problem=None)  # it is back
        settled = (files & self._before) - self._taken
        self._before, self._taken = files, (self._taken & files) | settled
        self._look_at_s = now_s + max(_POLL_S, (self._clock() - now_s) / _SCAN_SHARE)
        return settled

    def _list(self) -> frozenset[_Seen]:
        with os.scandir(self._folder) as entries:
            return frozenset(seen for entry in entries if (seen := _look_at(entry)) is not None)

    def _deliver(self, now_s: float) -> Frame:
        path = self._folder / self._queue.popleft()
        self._metronome.tick(now_s)
        self._counts = self._counts.plus(captured=1, delivered=1, last_captured_at_s=now_s)
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        return Frame(
            self.stream, seq, path, captured_at_s=now_s, captured_at_wall_s=self._wall_clock(), colour=None
        )


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key in which numbers inside names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def _unlistable(folder: Path, err: OSError) -> str:
    return f"folder {folder} cannot be listed: {err.strerror}"


def _look_at(entry: "os.DirEntry[str]") -> _Seen | None:
    if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in PICTURE_SUFFIXES:
        return None
    try:
        if not entry.is_file():
            return None
        status = entry.stat()
    except OSError:  # gone since it was listed
        return None
    return entry.name, status.st_size, status.st_mtime_ns
