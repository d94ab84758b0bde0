"""Answers that are numbers by themselves: the values of a regression, or the score of an anomaly. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-6
"""Of a value's size: less than that is no spread."""


class Values(Enum):
    """How an output is read as numbers; never inferred from what a model gives."""

    PLAIN = "values"
    """As they are, all that an output has for a sample: of a regression, or the score of an anomaly."""
    RECONSTRUCTION = "reconstruction"
    """The input again: the answer is how far it is off, as the root of the mean square."""


class NotValues(Exception):
    """The outputs cannot be read as numbers; the text says why, as a clause."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The answers to N samples: ``rows`` float64 (N, K)."""

    rows: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, K)."""
        return self.rows.shape

    @property
    def is_finite(self) -> bool:
        """Whether all of them are numbers."""
        return bool(np.isfinite(self.rows).all())

    def measure_spread(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(K,) standard deviation of each value, and whether it varies by more than rounding; each has its unit."""
        spread = self.rows.std(axis=0)
        return spread, np.asarray(spread > ROUNDING * np.abs(self.rows).max(axis=0, initial=0.0), np.bool_)

    def __getitem__(self, chosen: NDArray[np.intp]) -> "Numbers":
        return Numbers(self.rows[chosen])

    def __len__(self) -> int:
        return len(self.rows)


def join_numbers(parts: Sequence[Numbers]) -> Numbers:
    """The answers to the samples of all parts, one part after the other."""
    return Numbers(np.concatenate([part.rows for part in parts]))


def values_output(outputs: Mapping[str, NDArray[Any]]) -> str | None:
    """Name of the one output that holds numbers; None when there is none, or several."""
    found = [name for name, output in outputs.items() if np.issubdtype(output.dtype, np.floating)]
    return found[0] if len(found) == 1 else None


def read_numbers(
    layout: Values, outputs: Mapping[str, NDArray[Any]], x: NDArray[np.float32] | None = None
) -> Numbers:
    """The answers in the only output, to samples ``x`` (N, C, ...), which a reconstruction is compared with.

    Raises:
        NotValues: there is none, or several, or it has another shape than it must.
    """
    name = values_output(outputs)
    if name is None:
        raise NotValues("none or several of the model's outputs are numbers; name the one with the answers")
    rows = np.asarray(outputs[name], np.float64)
    if layout is Values.RECONSTRUCTION:
        wanted = None if x is None else _lay_out(x, rows.shape)
        if wanted is None:
            raise NotValues(f"the model's output {rows.shape[1:]} is not its input again")
        rows = np.sqrt(np.square(rows - wanted).reshape(len(rows), -1).mean(axis=1))
    return Numbers(rows.reshape(len(rows), -1))


def _lay_out(x: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Samples (N, C, ...) as the model has them, with channels second or last; None where neither is of this shape."""
    last = np.moveaxis(x, 1, -1)
    return next((one for one in (x, last) if one.shape == shape), None)
