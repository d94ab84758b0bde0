"""When to open a lost source again, and when a silent one counts as lost: pure policies.

No clock, thread or device lives here; times and random numbers are arguments.
"""

import random


class Backoff:
    """Delays between attempts: ``first_s`` doubling up to ``limit_s``, each moved by up to ``jitter`` of itself.

    The jitter (0..1) keeps sixteen cameras behind one dead switch from trying in step.
    """

    def __init__(
        self, rng: random.Random, first_s: float = 1.0, limit_s: float = 30.0, jitter: float = 0.2
    ) -> None:
        self._rng, self._first_s, self._limit_s, self._jitter = rng, first_s, limit_s, jitter
        self._next_s = first_s

    def next_delay_s(self) -> float:
        """Seconds to wait before the next attempt, never above ``limit_s``; each call moves one step up."""
        delay_s = self._next_s * self._rng.uniform(1 - self._jitter, 1 + self._jitter)
        self._next_s = min(self._next_s * 2, self._limit_s)
        return min(delay_s, self._limit_s)

    def reset(self) -> None:
        """The source works: start from ``first_s`` next time."""
        self._next_s = self._first_s


class StallTimeout:
    """How long a capture process may be silent before it counts as hung; the phases of its life differ in that.

    The process shows life in two ways: messages, and a beat in shared memory after every frame or short wait.
    """

    def __init__(self) -> None:
        self._limit_s = self._alive_at_s = 0.0

    def expect_life(self, now_s: float, within_s: float) -> None:
        """A phase begins in which the process may be silent for so long."""
        self._limit_s, self._alive_at_s = within_s, now_s

    def note_life(self, at_s: float) -> None:
        """A sign of life at ``at_s``; an older one than the last changes nothing."""
        self._alive_at_s = max(self._alive_at_s, at_s)

    def deadline_s(self) -> float:
        """When the process counts as hung, if it shows no more life."""
        return self._alive_at_s + self._limit_s

    def excess_silence_s(self, now_s: float) -> float | None:
        """Seconds of silence when they are too many, else None."""
        return now_s - self._alive_at_s if now_s >= self.deadline_s() else None
