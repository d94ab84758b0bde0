"""A folder of files of samples as a stream of windows; each file is by itself, and may hold many windows."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from edge_runtime.datatypes import Flaw, Frame, RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preparation import read_or_flaw
from edge_runtime.inference.signals.files import WINDOW_SUFFIXES, read_windows
from edge_runtime.sources.answered_files import AnsweredFiles
from edge_runtime.sources.base import EndOfStream, SourceCounts
from edge_runtime.sources.folder import FileKind
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.pacing import Metronome
from edge_runtime.sources.window_frames import FindSpec

FILES = FileKind("files of samples", WINDOW_SUFFIXES)


class SignalFolderSource:
    """The windows of the files of a folder, which are found, watched and remembered as pictures are.

    No window reaches over the end of a file: what is shorter than one is refused.

    Args:
        folder: Where they are.
        find_spec: What the model that answers wants.
        is_paced: Whether windows come at the rate of the sensor.
        loop, watch, subfolders, answered: As for :class:`ImagesSource`.
        max_bytes: Larger files are refused.
        clock, wall_clock: Monotonic and Unix seconds.
        first_seq: Sequence number of the first frame.
    """

    is_live = False

    def __init__(
        self,
        stream: str,
        folder: Path,
        find_spec: FindSpec,
        *,
        is_paced: bool = True,
        loop: bool = False,
        watch: bool = False,
        subfolders: bool = False,
        answered: AnsweredFiles | None = None,
        max_bytes: int = 64 << 20,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
    ) -> None:
        self.stream, self._find_spec, self._max_bytes = stream, find_spec, max_bytes
        self._files = ImagesSource(
            stream,
            folder,
            loop=loop,
            watch=watch,
            subfolders=subfolders,
            answered=answered,
            wanted=FILES,
            clock=clock,
            wall_clock=wall_clock,
        )
        spec = find_spec()
        self._metronome = Metronome(spec.input_rate_hz / spec.input_hop if is_paced else None)
        self._clock, self._next_seq, self._counts = clock, first_seq, SourceCounts()
        self._next_slot = 0
        """Of the next file: no window reaches over the end of one."""
        self._frames: Iterator[Frame] = iter(())
        """Of the file that was read last."""
        self._next: Frame | None = None

    def read(self, timeout_s: float) -> Frame | None:
        """The next window, or the next file that cannot be read; None when none is due in time.

        Raises:
            EndOfStream: all were given, or the source was closed.
            SourceLost: the folder cannot be listed or has no such file, and is not watched.
        """
        deadline_s = self._clock() + timeout_s
        self._next = self._next or next(self._frames, None)
        if self._next is None:
            file = self._files.read(timeout_s)
            if file is None:
                return None
            self._frames = self._read_file(file)
            self._next = next(self._frames)
        wait_s = min(self._metronome.wait_s(self._clock()), deadline_s - self._clock())
        if self._files.closed.wait(max(0.0, wait_s)):
            raise EndOfStream(f"{self.stream} was closed")
        now_s = self._clock()
        if self._metronome.wait_s(now_s) > 0:
            return None
        self._metronome.tick(now_s)
        self._counts = self._counts.plus(captured=1, delivered=1, last_captured_at_s=now_s)
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        given, self._next = self._next, None
        return replace(given, seq=seq, captured_at_s=now_s)

    def stats(self) -> SourceCounts:
        """Counters so far."""
        return replace(self._counts, last_problem=self._files.stats().last_problem)

    def close(self) -> None:
        """Stop waiting."""
        self._files.close()

    def _read_file(self, file: Frame) -> Iterator[Frame]:
        """A frame for each window; the last one settles the file."""
        assert isinstance(file.payload, Path)
        spec = self._find_spec()
        windows = read_or_flaw(partial(read_windows, file.payload, spec, self._check_bytes))
        if isinstance(windows, Flaw):
            yield replace(file, payload=b"", flaw=windows)
            return
        samples = (len(windows) - 1) * spec.input_hop + len(windows[-1])
        self._counts = self._counts.plus(samples=self._counts.samples + samples)
        file = replace(file, rate_hz=spec.input_rate_hz, channels=spec.channel_names)
        first, self._next_slot = self._next_slot, self._next_slot + samples
        for number, window in enumerate(windows):
            begin = first + number * spec.input_hop
            settle = file.settle if number == len(windows) - 1 else None
            yield replace(file, payload=window, settle=settle, slots=range(begin, begin + len(window)))

    def _check_bytes(self, size: int) -> None:
        if size > self._max_bytes:
            raise InputFlaw(RejectReason.TOO_LARGE, f"{size} bytes; at most {self._max_bytes} are taken")
