"""Which frames of a stream are wanted, and when a file's next frame is due: pure arithmetic on times.

No clock and no waiting here.
"""

_ROUNDING_S = 1e-6  # sums of 1/fps are not exact


class Metronome:
    """A steady beat of ``fps`` a second, for frames that are produced or for those of a camera; None is no beat.

    One interval of lateness is forgiven, so a camera that runs at just ``fps`` loses nothing to its jitter. After a
    longer pause it goes on in the old rhythm instead of catching up in a burst.
    """

    def __init__(self, fps: float | None) -> None:
        self._interval_s = None if fps is None else 1 / fps
        self._due_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next frame is due; 0 when it is due now."""
        return 0.0 if self._due_s is None else max(0.0, self._due_s - now_s)

    def tick(self, now_s: float) -> None:
        """The due frame was produced; times must not go back."""
        if self._interval_s is not None:
            due_s = now_s if self._due_s is None else max(self._due_s, now_s - self._interval_s)
            self._due_s = due_s + self._interval_s

    def keep(self, at_s: float) -> bool:
        """Whether the frame taken at ``at_s`` is wanted, for at most ``fps`` a second on average; it then counts."""
        if self.wait_s(at_s) > _ROUNDING_S:
            return False
        self.tick(at_s)
        return True
