"""Samples that come in through standard input, each line a message, as a stream of windows."""

import time
from collections.abc import Callable

from edge_runtime.datatypes import Flaw, Frame, RejectReason
from edge_runtime.errors import SourceLost
from edge_runtime.inference.signals.csv_lines import MAX_LINE_BYTES, is_left_out
from edge_runtime.sources.base import EndOfStream, SourceCounts
from edge_runtime.sources.input_lines import InputLines
from edge_runtime.sources.window_frames import FindSpec, WindowFrames


class SignalLinesSource:
    """The windows of lines of json or csv; who writes faster than the model answers waits.

    Args:
        find_spec: What the model that answers wants; see :class:`WindowFrames`.
        lines: Where the lines come from; another source may have taken some.
        clock, wall_clock: Monotonic and Unix seconds.
        first_seq: Sequence number of the first frame.

    Raises:
        SourceLost: the payload is not one of lines.
    """

    is_live = False

    def __init__(
        self,
        stream: str,
        find_spec: FindSpec,
        lines: InputLines,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        first_seq: int = 0,
    ) -> None:
        self.stream, self._lines = stream, lines
        self._clock, self._wall_clock = clock, wall_clock
        self._windows = WindowFrames(stream, find_spec, first_seq)
        payload = self._windows.spec.payload
        if payload.format not in ("json", "csv") or payload.encoding.startswith("utf-16"):
            found = f"payload.format {payload.format} in {payload.encoding}"
            raise SourceLost(
                stream, f"{found} on standard input; expected lines of json or csv, not in utf-16"
            )
        self._is_csv = payload.format == "csv"
        self._header: bytes | None = lines.first if self._is_csv and payload.has_header else b""
        """Of a csv, put before each line; None until it has come."""
        self._is_closed = self._is_finished = False
        self._counts = SourceCounts()

    def read(self, timeout_s: float) -> Frame | None:
        """The next window, or the next line that cannot be read; None when none came in time.

        Raises:
            EndOfStream: the input has ended, or the source was closed.
            SourceLost: it cannot be read.
        """
        deadline_s = self._clock() + timeout_s
        is_late = False
        while (frame := self._windows.next_frame()) is None:
            if is_late:
                return None
            if self._is_closed:
                raise EndOfStream(f"{self.stream} was closed")
            line = self._lines.next_line()
            if line is not None:
                self._take(line)
                is_late = self._clock() > deadline_s
            elif self._lines.has_ended and self._is_finished:
                raise EndOfStream("standard input has ended")
            elif self._lines.has_ended:
                self._is_finished = True
                self._windows.finish(self._clock())
            elif not self._wait(deadline_s - self._clock()):
                return None
        self._counts = self._counts.plus(captured=1, delivered=1, last_captured_at_s=frame.captured_at_s)
        return frame

    def stats(self) -> SourceCounts:
        """Counters so far."""
        return self._windows.add_counts(self._counts)

    def close(self) -> None:
        """End at the next read; the input stays open for the next source."""
        self._is_closed = True

    def _take(self, line: bytes) -> None:
        now_s, now_wall_s = self._clock(), self._wall_clock()
        if len(line) > MAX_LINE_BYTES:
            detail = f"line of more than {MAX_LINE_BYTES} bytes"
            self._windows.put_piece(Flaw(RejectReason.TOO_LARGE, detail), now_s, now_wall_s)
        elif not line.strip() or (self._is_csv and is_left_out(line)):
            return
        elif self._header is None:
            self._header = line
        else:
            self._windows.put(self._header + line, now_s, now_wall_s)

    def _wait(self, timeout_s: float) -> bool:
        """Whether more came, or the end of it."""
        try:
            return self._lines.wait(timeout_s)
        except (OSError, ValueError) as err:
            raise SourceLost(self.stream, f"standard input cannot be read: {err}") from err
