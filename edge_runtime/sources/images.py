"""A folder of pictures as a stream: once, round and round, or waiting for new ones.

Nothing is decoded or judged here: frames carry paths, and preprocessing rejects and counts what it cannot use.
"""

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from edge_runtime.datatypes import Frame, Origin
from edge_runtime.errors import SourceLost
from edge_runtime.sources.answered_files import AnsweredFiles, FileStamp
from edge_runtime.sources.base import EndOfStream, SourceCounts
from edge_runtime.sources.folder import PICTURES, FileKind, Skipped, list_files, natural_order
from edge_runtime.sources.pacing import Metronome

log = structlog.get_logger()

_SCAN_SHARE = 0.1  # of the time may go into listing a huge folder
_POLL_S = 0.5  # between two looks at a watched folder
_MOST_TRIES = 6
_FIRST_PAUSE_S = 2.0
"""After an error of the engine; doubled at each try: a reset of a GPU or another generation takes less than the 62 s of
all of them, and a picture on which every engine fails ends some time."""


class ImagesSource:
    """The pictures of one folder in natural order (``2.jpg`` before ``10.jpg``).

    Args:
        folder: Where they are; hidden files and other suffixes are left out.
        fps: Pace; None gives pictures as fast as they are read.
        loop: Begin again at the end.
        watch: Wait for new and overwritten files instead of ending; a file counts once it stopped changing.
        subfolders: Take the pictures in folders below it as well.
        answered: The files that a watched folder does not give again.
        wanted: Which files are given.
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
        subfolders: bool = False,
        answered: AnsweredFiles | None = None,
        wanted: FileKind = PICTURES,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
    ) -> None:
        self.stream = stream
        self._folder, self._is_loop, self._is_watched, self._subfolders = folder, loop, watch, subfolders
        self._wanted = wanted
        self._answered = AnsweredFiles() if answered is None else answered
        self._clock, self._wall_clock = clock, wall_clock
        self._metronome = Metronome(fps)
        self._queue: deque[FileStamp] = deque()
        self._before: dict[int, int] = {}
        """Key and identity of the files that were new at the last look."""
        self._given: set[int] = set()
        """Keys of the files that are queued here or under way, and not settled yet."""
        self._lost: dict[int, tuple[int, float]] = {}
        """Keys of the files that were lost to errors of the engine: how often, and when they may come again."""
        self._look_at_s = 0.0
        self._has_looked = False
        self._next_seq = first_seq
        self._counts = SourceCounts()
        self.closed = threading.Event()
        """Set when it takes in nothing more."""

    def read(self, timeout_s: float) -> Frame | None:
        """The next picture's path.

        Raises:
            SourceLost: the folder cannot be listed or has no picture, and is not watched.
            EndOfStream: all were given, or the source was closed.
        """
        deadline_s = self._clock() + timeout_s
        while not self.closed.is_set():
            now_s = self._clock()
            self._look(now_s)
            wait_s = self._metronome.wait_s(now_s) if self._queue else self._look_at_s - now_s
            if self._queue and wait_s <= 0:
                return self._deliver(now_s)
            if now_s >= deadline_s:
                return None
            self.closed.wait(max(0.0, min(wait_s, deadline_s - now_s)))
        raise EndOfStream(f"{self.stream} was closed")

    def stats(self) -> SourceCounts:
        """Counters so far."""
        return self._counts

    def close(self) -> None:
        """Stop waiting."""
        self.closed.set()

    def _look(self, now_s: float) -> None:
        """Fill the queue when it is empty and a look is due."""
        if self._is_watched:
            self._answered.save(now_s)
        if self._queue:
            return
        if self._is_watched:
            new = self._look_again(now_s) if now_s >= self._look_at_s else []
            self._given.update(stamp.key for stamp in new)
        else:
            new = self._look_once()
        self._queue.extend(sorted(new, key=lambda stamp: natural_order(stamp.name)))

    def _look_once(self) -> list[FileStamp]:
        """All pictures, the first time or in a loop."""
        if self._has_looked and not self._is_loop:
            raise EndOfStream(f"{self._folder}: all {self._counts.delivered} {self._wanted.name} were given")
        self._has_looked = True
        skipped = Skipped(self._wanted)
        try:
            files = list(list_files(self._folder, subfolders=self._subfolders, skipped=skipped))
        except OSError as err:
            raise SourceLost(self.stream, _unlistable(self._folder, err)) from err
        note = skipped.explain(has_wanted=bool(files))
        if not files:
            why = note or f"expected files that end in {' '.join(sorted(self._wanted.suffixes))}"
            raise SourceLost(self.stream, f"no {self._wanted.name} in {self._folder}; {why}")
        self._note_problem(note)
        return files

    def _look_again(self, now_s: float) -> list[FileStamp]:
        """Pictures that are new and look the same twice: the rest is still being written."""
        self._look_at_s = now_s + _POLL_S
        skipped, new, count_known = Skipped(self._wanted), [], 0
        present = array("Q")  # 0.8 MB for 100,000 files
        try:
            for stamp in list_files(self._folder, subfolders=self._subfolders, skipped=skipped):
                present.append(stamp.key)
                if stamp in self._answered:
                    count_known += 1
                elif stamp.key not in self._given and self._may_try(stamp.key, now_s):
                    new.append(stamp)
        except OSError as err:
            # A share that is away for a while: what was given before is remembered and not given again.
            self._note_problem(_unlistable(self._folder, err))
            return []
        if not skipped.unseen:
            self._answered.forget_absent(present)
            self._forget_lost(present)
        self._note_problem(skipped.explain(has_wanted=len(present) > 0))
        if not self._has_looked:
            self._has_looked = True
            if count_known:
                log.info("files answered before are not given again", stream=self.stream, count=count_known)
        settled = [stamp for stamp in new if self._before.get(stamp.key) == stamp.identity]
        self._before = {stamp.key: stamp.identity for stamp in new}
        self._look_at_s = now_s + max(_POLL_S, (self._clock() - now_s) / _SCAN_SHARE)
        return settled

    def _deliver(self, now_s: float) -> Frame:
        stamp = self._queue.popleft()
        self._metronome.tick(now_s)
        self._counts = self._counts.plus(captured=1, delivered=1, last_captured_at_s=now_s)
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        return Frame(
            self.stream,
            seq,
            self._folder / stamp.name,
            captured_at_s=now_s,
            captured_at_wall_s=self._wall_clock(),
            colour=None,
            origin=Origin(name=stamp.name, modified_at_wall_s=stamp.modified_at_wall_s),
            settle=partial(self._settle, stamp) if self._is_watched else None,
        )

    def _may_try(self, key: int, now_s: float) -> bool:
        lost = self._lost.get(key)
        return lost is None or now_s >= lost[1]

    def _forget_lost(self, present: "array[int]") -> None:
        """Keep no count of files that are gone."""
        if self._lost:
            for key in set(self._lost).difference(present):
                self._lost.pop(key, None)

    def _settle(self, stamp: FileStamp, is_judged: bool) -> None:
        tries = self._lost.get(stamp.key, (0, 0.0))[0] + 1
        if is_judged or tries >= _MOST_TRIES:
            self._answered.settle(stamp)
            self._lost.pop(stamp.key, None)
        else:
            self._lost[stamp.key] = (tries, self._clock() + _FIRST_PAUSE_S * 2 ** (tries - 1))
        self._given.discard(stamp.key)

    def _note_problem(self, problem: str | None) -> None:
        if problem != self._counts.last_problem:
            self._counts = self._counts.plus(last_problem=problem)
            if problem is not None:
                log.warning("folder is not used as a whole", stream=self.stream, reason=problem)


def _unlistable(folder: Path, err: OSError) -> str:
    return f"folder {folder} cannot be listed: {err.strerror}"
