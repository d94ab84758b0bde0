"""The port every source implements, and its counters. Concrete sources are named only in the wiring."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

from edge_runtime.datatypes import Frame


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """Counters of a source so far; all numbers only grow.

    When nothing is in flight, ``captured == delivered + dropped``. Frames of a sensor are its windows, and messages
    that cannot be read; a message that is dropped unread counts as one frame.
    """

    captured: int = 0
    """Frames the device gave."""
    delivered: int = 0
    """Frames that ``read`` returned."""
    dropped: int = 0
    """Frames that were not read: replaced by a newer one, above the fps limit, or lost with a killed process."""
    restarts: int = 0
    """How often the device was opened again."""
    stalls: int = 0
    """How often the capture process was silent for too long and was killed."""
    cpu_s: float = 0.0
    """CPU time of the capture processes; 0 for sources without one."""
    samples: int = 0
    """Of a sensor: that came."""
    late_samples: int = 0
    """Left out, since their windows were complete already."""
    duplicate_samples: int = 0
    """Left out, since another one of the same time had come."""
    gaps: int = 0
    """How often a sensor was silent for longer than a window, and a new window was begun."""
    clock_jumps: int = 0
    """How often a sensor's clock was put back, and a new window was begun."""
    interval_s: float = 0.0
    """From frame to frame, where the source knows it; 0: it does not."""
    last_problem: str | None = None
    """Why it gives no frame just now, or not all; None again once a camera gives one."""
    doubt: str | None = None
    """Why its frames cannot be right, although it gives them."""
    decoding: str | None = None
    """Which frames of a camera of the network are decoded: ``all``, ``nonref`` or ``keyframes``."""
    last_captured_at_s: float | None = None
    """When the last delivered frame was grabbed; the stream is behind by the time since then."""

    def plus(
        self, *, captured: int = 0, delivered: int = 0, dropped: int = 0, **facts: Any
    ) -> "SourceCounts":
        """These counters with more frames, and other facts in place of the old ones."""
        return replace(
            self,
            captured=self.captured + captured,
            delivered=self.delivered + delivered,
            dropped=self.dropped + dropped,
            **facts,
        )

    def after(self, before: "SourceCounts") -> "SourceCounts":
        """These counters on top of those of the sources before; the facts are of this one."""
        sums = {name: getattr(before, name) + getattr(self, name) for name in _SUMMED}
        return replace(self, **sums)


_OF_SAMPLES = ("samples", "late_samples", "duplicate_samples", "gaps", "clock_jumps")
_SUMMED = ("captured", "delivered", "dropped", "restarts", "stalls", "cpu_s", *_OF_SAMPLES)


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

    def stats(self) -> SourceCounts:
        """Counters so far; cheap, callable from any thread."""

    def close(self) -> None:
        """Release the device and end child processes within 2 s; idempotent, callable from any thread."""


class EndOfStream(Exception):
    """A file or folder has no more frames."""
