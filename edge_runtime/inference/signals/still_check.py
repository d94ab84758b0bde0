"""Whether a channel has stopped changing: a cable that is off, or a sensor that is stuck. Pure.

A value that is slow by nature stands still, too. So a channel is suspected only after it has changed, and after a
stillness that is much longer than any before.
"""

import numpy as np
from numpy.typing import NDArray

LEAST_WINDOWS = 10
"""Without any change; fewer say nothing."""
TIMES_BEFORE = 3
"""By so many times the longest stillness before has to be exceeded."""


class StillCheck:
    """Looks at the windows of one stream in their order.

    Args:
        names: Of the channels.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._values = np.full(len(names), np.nan)
        """Of the latest window without a change; NaN where it had one, or a missing value."""
        self._still = np.zeros(len(names), np.int64)
        """Windows without a change until now."""
        self._longest = np.zeros(len(names), np.int64)
        """Of the stretches that ended."""
        self._has_changed = np.zeros(len(names), np.bool_)

    def note(self, numbers: NDArray[np.float64]) -> None:
        """A window (samples, channels), as in the payload."""
        first = numbers[0]
        is_flat = (numbers == first).all(axis=0)
        if not (is_flat.any() or self._still.any()):  # as in nearly all windows: a third of the time
            self._has_changed[:] = True
            return
        goes_on = is_flat & (first == self._values)
        self._has_changed |= ~is_flat | (~goes_on & ~np.isnan(self._values))
        self._longest = np.where(goes_on, self._longest, np.maximum(self._longest, self._still))
        self._still = np.where(goes_on, self._still + 1, is_flat.astype(np.int64))
        self._values = np.where(is_flat, first, np.nan)

    @property
    def problem(self) -> str | None:
        """Which channels stand still, and since when; None: none does."""
        least = np.maximum(LEAST_WINDOWS, TIMES_BEFORE * self._longest)
        found = np.flatnonzero(self._has_changed & (self._still >= least)).tolist()
        if not found:
            return None
        shown = ", ".join(self._names[channel] for channel in found[:5])
        windows = int(self._still[found].min())
        return f"no change in {shown} for {windows} windows; is it connected, and does its sensor work?"
