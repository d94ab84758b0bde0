"""Which frames of a stream are wanted, and when a file's next frame is due: pure arithmetic on times.

No clock and no waiting here.
"""

from dataclasses import dataclass, field

_ROUNDING_S = 1e-6  # sums of 1/fps are not exact


@dataclass(slots=True)
class RateLimit:
    """Keeps at most ``fps`` frames a second, the right number on average however the frames jitter.

    One interval of lateness is forgiven, so a camera that runs at just ``fps`` loses nothing to its jitter.
    """

    fps: float | None
    _due_s: float | None = field(init=False, default=None)

    def keep(self, at_s: float) -> bool:
        """Whether the frame taken at ``at_s`` is wanted; times must not go back."""
        if self.fps is None:
            return True
        interval_s = 1 / self.fps
        if self._due_s is None:
            self._due_s = at_s
        if at_s < self._due_s - _ROUNDING_S:
            return False
        self._due_s = max(self._due_s, at_s - interval_s) + interval_s
        return True


@dataclass(slots=True)
class Metronome:
    """Due times of frames that are produced rather than received; None means as fast as possible.

    After a pause of the consumer it goes on in the old rhythm instead of catching up in a burst.
    """

    fps: float | None
    _due_s: float | None = field(init=False, default=None)

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next frame is due; 0 when it is due now."""
        if self.fps is None or self._due_s is None:
            return 0.0
        return max(0.0, self._due_s - now_s)

    def tick(self, now_s: float) -> None:
        """The due frame was produced."""
        if self.fps is None:
            return
        interval_s = 1 / self.fps
        start_s = now_s if self._due_s is None else max(self._due_s, now_s - interval_s)
        self._due_s = start_s + interval_s
