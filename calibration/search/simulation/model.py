"""The parts of a simulated drift that a search knows, whatever kind of sample it is of."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


class Simulation(Protocol):
    """Healthy samples under today's sensor, before its noise."""

    def draw(self, rng: np.random.Generator, chosen: NDArray[np.intp] | slice = slice(None)) -> Samples:
        """Those samples with new noise: (M, C, ...) float32, new."""

    def __len__(self) -> int:
        """How many there are."""


class DriftModel(Protocol):
    """A camera or another sensor as it is today: one way to explain the live samples."""

    @property
    def is_possible(self) -> bool:
        """Whether a drift can be like that; else what changed is not the sensor."""

    def show(self, healthy: Samples) -> Simulation:
        """What it makes of healthy samples (M, C, ...); a MemoryError where the memory does not suffice."""
