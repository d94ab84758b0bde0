"""The samples of windows that are not complete yet, each in its slot. Pure."""

import numpy as np
from numpy.typing import NDArray

SAME = 0.25
"""Of a slot: two samples of one slot that are closer to each other are the same one, sent twice."""


class Slots:
    """A row of numbers for each slot from the first on, NaN in those where nothing came.

    A sample whose slot is taken by another one goes to the slot on its other side, where that is free: a sensor whose
    clock runs a little off the declared rate would lose a part of its samples, while each lies between two slots.
    """

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self.clear()

    def clear(self) -> None:
        """Keep nothing."""
        self._first, self._rows = 0, np.empty((0, self._channels))
        self._is_taken, self._exact = np.empty(0, np.bool_), np.empty(0)

    def place(self, slots: NDArray[np.int64], exact: NDArray[np.float64], rows: NDArray[np.float64]) -> int:
        """Put each sample into its slot; returns how many were left out, since another one of their time is there.

        Args:
            slots: (samples,) counted from the first one kept.
            exact: (samples,) the same before they were rounded.
            rows: (samples, channels).
        """
        self._make_room(int(slots.max()) + 2)
        at = slots + self._first
        is_increasing = len(at) == 1 or bool((at[1:] > at[:-1]).all())
        if is_increasing and not self._is_taken[at].any():
            self._rows[at], self._exact[at], self._is_taken[at] = rows, exact - slots, True
            return 0
        offsets = (exact - slots).tolist()
        return sum(not self._put(slot, offsets[i], rows[i]) for i, slot in enumerate(at.tolist()))

    def _put(self, at: int, offset: float, row: NDArray[np.float64]) -> bool:
        if self._is_taken[at]:
            if abs(offset - self._exact[at]) < SAME:
                return False
            side = 1 if offset > 0 else -1
            at, offset = at + side, offset - side
            if at < self._first or self._is_taken[at]:
                return False
        self._rows[at], self._exact[at], self._is_taken[at] = row, offset, True
        return True

    def find_first(self) -> int:
        """The first slot with a sample; -1 where there is none."""
        taken = np.flatnonzero(self._is_taken[self._first :])
        return int(taken[0]) if len(taken) else -1

    def is_full(self, length: int) -> bool:
        """Whether each of the first slots has a sample."""
        taken = self._is_taken[self._first : self._first + length]
        return len(taken) == length and bool(taken.all())

    def is_empty(self, length: int) -> bool:
        """Whether none of the first slots has a sample."""
        return not self._is_taken[self._first : self._first + length].any()

    def copy(self, length: int) -> NDArray[np.float64]:
        """The numbers of the first slots, (length, channels)."""
        self._make_room(length)
        return self._rows[self._first : self._first + length].copy()

    def drop(self, count: int) -> None:
        """Forget the first slots."""
        self._first += count
        if self._first >= len(self._rows):
            self.clear()

    def move_up(self, count: int) -> None:
        """So many empty slots before the first one."""
        kept = slice(self._first, None)
        self._rows = np.concatenate([np.full((count, self._channels), np.nan), self._rows[kept]])
        self._exact = np.concatenate([np.zeros(count), self._exact[kept]])
        self._is_taken = np.concatenate([np.zeros(count, np.bool_), self._is_taken[kept]])
        self._first = 0

    def _make_room(self, count: int) -> None:
        """At least so many slots from the first on; twice as many when the kept ones have to move."""
        missing = self._first + count - len(self._rows)
        if missing <= 0:
            return
        kept = slice(self._first, None)
        fresh = 2 * count - (len(self._rows) - self._first)
        self._rows = np.concatenate([self._rows[kept], np.full((fresh, self._channels), np.nan)])
        self._exact = np.concatenate([self._exact[kept], np.zeros(fresh)])
        self._is_taken = np.concatenate([self._is_taken[kept], np.zeros(fresh, np.bool_)])
        self._first = 0
