"""Samples whose times are far from those before: one may be a slip, a few that fit each other are a new time. Pure."""

import numpy as np
from numpy.typing import NDArray


class Strays:
    """The latest samples that fit each other and not the stream.

    Args:
        needed: So many are the stream's new time.
        late: Slots that one may be behind the one before it.
        longest_gap: Slots that it may be ahead.
    """

    def __init__(self, needed: int, late: int, longest_gap: int) -> None:
        self._needed, self._late, self._longest_gap = needed, late, longest_gap
        self._times_s: list[float] = []
        self._rows: list[NDArray[np.float64]] = []
        self._slot = 0

    @property
    def are_enough(self) -> bool:
        """Whether they are the stream's new time."""
        return len(self._times_s) >= self._needed

    def add(self, slot: int, time_s: float, row: NDArray[np.float64]) -> int:
        """Keep a sample; returns how many are left out: itself if it came before, or those that it does not fit."""
        step = slot - self._slot
        if self._times_s and step == 0:
            return 1
        left_out = 0 if -self._late <= step <= self._longest_gap else self.forget()
        self._times_s.append(time_s)
        self._rows.append(row.copy())
        self._slot = slot
        return left_out

    def forget(self) -> int:
        """Keep none; returns how many there were."""
        count = len(self._times_s)
        self._times_s.clear()
        self._rows.clear()
        return count

    def take(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Their times, and their numbers (samples, channels); none is kept."""
        taken = np.array(self._times_s), np.stack(self._rows)
        self.forget()
        return taken
