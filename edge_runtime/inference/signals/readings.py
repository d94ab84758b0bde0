"""The samples that one message or file holds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Readings:
    """Samples in the order in which the payload has them.

    Attributes:
        numbers: float64 (samples, channels) as in the payload, before scale and offset; NaN where one is missing.
        times_wall_s: float64 (samples,) Unix time of each by the sensor's clock; None where the payload says none.
    """

    numbers: NDArray[np.float64]
    times_wall_s: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.numbers)
