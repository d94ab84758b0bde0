"""The port every source implements. Concrete sources are named only in ``app``."""

from typing import Protocol

from edge_runtime.datatypes import Frame


class Source(Protocol):
    """A stream of frames. Owned by exactly one thread (the stream's worker), except ``close``."""

    @property
    def stream(self) -> str:
        """Name of the stream, as in the configuration."""

    @property
    def is_live(self) -> bool:
        """True for cameras (the oldest frame is dropped when the consumer is slow), False for files (they wait)."""

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when none arrived in time.

        A frame's array may live in memory that the next ``read`` reuses: prepare it before reading on.

        Raises:
            SourceLost: the device failed and is not coming back inside this source; the caller reopens with
                back-off. Stalls, restarts and reopening inside the source's own policy do not raise.
            EndOfStream: a file source is finished.
        """

    def stats(self) -> "SourceStats":
        """Counters so far; cheap, callable from any thread."""

    def close(self) -> None:
        """Release the device and end child processes within 2 s; idempotent, callable from any thread."""


class EndOfStream(Exception):
    """A file or folder has no more frames."""


class SourceStats(Protocol):
    """Counters of a source; all grow monotonically."""

    @property
    def captured(self) -> int:
        """Frames the device delivered."""

    @property
    def dropped(self) -> int:
        """Frames replaced by a newer one before anyone read them, or skipped by the fps limit."""

    @property
    def restarts(self) -> int:
        """How often the device was reopened after a loss or a stall."""

    @property
    def last_problem(self) -> str | None:
        """Why it was last reopened."""
