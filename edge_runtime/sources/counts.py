"""Counters of a source, as the port ``SourceStats`` wants them; a value, copied out whole."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """What happened in a source so far; all numbers only grow.

    When nothing is in flight, ``captured == delivered + dropped``.
    """

    captured: int = 0
    """Frames the device gave."""
    delivered: int = 0
    """Frames that ``read`` returned."""
    dropped: int = 0
    """Frames nobody read: replaced by a newer one, above the fps limit, or lost with a killed capture process."""
    restarts: int = 0
    """How often the device was opened again."""
    stalls: int = 0
    """How often the capture process was silent for too long and was killed."""
    last_problem: str | None = None
    """Why it was last opened again, or why it cannot be opened."""
    last_captured_at_s: float | None = None
    """When the last delivered frame was grabbed; what ``now`` is past it, the stream is behind."""
