"""Lines that come in through a descriptor, such as standard input."""

import os
import select

from edge_runtime.inference.signals.csv_lines import MAX_LINE_BYTES, is_left_out

STANDARD_INPUT = 0
_AT_ONCE = 64 << 10


class InputLines:
    """Reads lines without blocking for longer than told. One thread at a time.

    It outlives the sources that take lines from it: what was read ahead, and a header that is sent once, are not lost
    when an edit of the configuration opens another source.
    """

    def __init__(self, descriptor: int = STANDARD_INPUT) -> None:
        self._descriptor = descriptor
        self.first: bytes | None = None
        """The first line that is neither blank nor a remark; None until it has come."""
        self.has_ended = False
        self._buffer, self._is_inside = b"", False

    def next_line(self) -> bytes | None:
        """The next line with its end, and at the end of the input also the rest; None: none is there yet.

        Of a line of more than ``MAX_LINE_BYTES`` so many bytes or more are given, and the others are left out.
        """
        if self._is_inside:  # of a line that is too long
            _, end, self._buffer = self._buffer.partition(b"\n")
            self._is_inside = not end
        line, end, rest = self._buffer.partition(b"\n")
        if not end and not (self.has_ended and line) and len(line) <= MAX_LINE_BYTES:
            return None
        self._buffer, self._is_inside = rest, not end
        if self.first is None and not is_left_out(line):
            self.first = line + end
        return line + end

    def wait(self, timeout_s: float) -> bool:
        """Whether more came, or the end of it.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        if not select.select([self._descriptor], [], [], max(0.0, timeout_s))[0]:
            return False
        more = os.read(self._descriptor, _AT_ONCE)
        self._buffer += more
        self.has_ended = not more
        return True
