"""The samples that one message or file holds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.specs.signals import MAX_WINDOW_VALUES


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


def check_count(count: int) -> None:
    """Refuse a payload of more values than are taken: each takes eight bytes, however short it came.

    Raises:
        InputFlaw: TOO_LARGE.
    """
    if count > MAX_WINDOW_VALUES:
        found = f"a payload of {count} values"
        raise InputFlaw(RejectReason.TOO_LARGE, f"{found}; at most {MAX_WINDOW_VALUES} are taken")
