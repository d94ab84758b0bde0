"""Values that are held because none came: how often, for how long, and in all channels at once or not. Pure numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.stats.signal_features import held_share

LEAST_HELD = 0.005
"""Share of the values that must be held more than in healthy windows."""
TOGETHER = 0.5
"""Share of the held values of a channel that must be held in all channels, to count as whole records that were lost."""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Held values of (C, T) windows, in addition to those of healthy ones.

    Attributes:
        begins: (C,) chance of a value to be held when the one before is not.
        goes_on: (C,) chance of it when the one before is.
        is_of_records: Whether a record is lost with the values of all channels.
    """

    begins: NDArray[np.float64]
    goes_on: NDArray[np.float64]
    is_of_records: bool

    @classmethod
    def fit(cls, healthy: NDArray[np.float32], live: NDArray[np.float32]) -> "Dropout | None":
        """From windows (M, C, T) and (N, C, T); None where hardly more are held than usual."""
        usual, seen = (held_share(part).mean(axis=0) for part in (healthy, live))
        more = np.where(seen - usual > LEAST_HELD, (seen - usual) / np.maximum(1 - usual, LEAST_HELD), 0.0)
        if not more.any():
            return None
        is_held = np.diff(live, axis=-1) == 0
        runs = is_held[..., 0].sum(axis=0) + (is_held[..., 1:] & ~is_held[..., :-1]).sum(axis=(0, 2))
        goes_on = np.clip(1 - runs / np.maximum(is_held.sum(axis=(0, 2)), 1), 0.0, 0.99)
        together = is_held.all(axis=1).mean() / max(float(seen.min()), LEAST_HELD)
        is_of_records = bool(more.all() and live.shape[1] > 1 and together > TOGETHER)
        begins = np.clip(more * (1 - goes_on) / np.maximum(1 - more, 0.01), 0.0, 1.0)
        return cls(begins, goes_on, is_of_records)

    def apply(self, x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Hold values of ``x`` (M, C, T); new."""
        chance = rng.random((len(x), 1 if self.is_of_records else x.shape[1], x.shape[2]))
        begins, goes_on = (
            np.full(1, part.mean()) if self.is_of_records else part for part in (self.begins, self.goes_on)
        )
        source = np.zeros(chance.shape, np.intp)
        is_held = np.zeros(chance.shape[:2], np.bool_)
        for t in range(1, x.shape[2]):
            is_held = chance[..., t] < np.where(is_held, goes_on, begins)
            source[..., t] = np.where(is_held, source[..., t - 1], t)
        return np.asarray(np.take_along_axis(x, np.broadcast_to(source, x.shape), axis=-1))
