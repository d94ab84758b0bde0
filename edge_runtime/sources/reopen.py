"""When to open a lost source again, and when a silent one counts as lost: pure policies.

No clock, thread or device lives here; times and random numbers are arguments.
"""

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Delays between attempts: ``first_s`` doubling up to ``limit_s``, each moved by up to ``jitter`` of itself.

    The jitter keeps sixteen cameras behind one dead switch from trying in step.
    """

    rng: random.Random
    first_s: float = 1.0
    limit_s: float = 30.0
    jitter: float = 0.2
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        """Check the bounds.

        Raises:
            ValueError: the delays are not positive and rising, or the jitter is not in 0..1.
        """
        if not 0 < self.first_s <= self.limit_s or not 0 <= self.jitter < 1:
            raise ValueError(
                f"back-off {self.first_s} s to {self.limit_s} s with jitter {self.jitter}; "
                "expected 0 < first_s <= limit_s and 0 <= jitter < 1"
            )
        self._next_s = self.first_s

    def next_delay_s(self) -> float:
        """Seconds to wait before the next attempt, never above ``limit_s``; each call moves one step up."""
        delay_s = self._next_s * self.rng.uniform(1 - self.jitter, 1 + self.jitter)
        self._next_s = min(self._next_s * 2, self.limit_s)
        return min(delay_s, self.limit_s)

    def reset(self) -> None:
        """The source works: start from ``first_s`` next time."""
        self._next_s = self.first_s


@dataclass(slots=True)
class StallTimeouts:
    """How long a capture process may be silent in each phase of its life before it counts as hung.

    The process shows life in two ways: messages, and a beat in shared memory after every frame or short wait.
    """

    start_s: float
    """From the start of the process to its first word: interpreter and imports on a busy small board."""
    open_s: float
    """For opening the device, beyond the device's own time limit."""
    stall_s: float
    """Between two frames."""
    _limit_s: float = field(init=False)
    _alive_at_s: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Begin in the first phase."""
        self._limit_s = self.start_s

    def wait_for_start(self, now_s: float) -> None:
        """The process was started."""
        self._limit_s, self._alive_at_s = self.start_s, now_s

    def wait_for_open(self, now_s: float) -> None:
        """The process opens the device."""
        self._limit_s, self._alive_at_s = self.open_s, now_s

    def wait_for_frames(self, now_s: float) -> None:
        """The device is open: frames are due."""
        self._limit_s, self._alive_at_s = self.stall_s, now_s

    def note_life(self, at_s: float) -> None:
        """A sign of life at ``at_s``; an older one than the last changes nothing."""
        self._alive_at_s = max(self._alive_at_s, at_s)

    def deadline_s(self) -> float:
        """When the process counts as hung, if it shows no more life."""
        return self._alive_at_s + self._limit_s

    def excess_silence_s(self, now_s: float) -> float | None:
        """Seconds of silence when they are too many, else None."""
        return now_s - self._alive_at_s if now_s >= self.deadline_s() else None
