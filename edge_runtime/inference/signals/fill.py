"""Missing values of a window: how many there are, and what stands in for them. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.specs.signals import MissingSpec

Values = NDArray[np.float64]


def blank_sentinels(numbers: Values, sentinels: Sequence[float]) -> Values:
    """The numbers (samples, channels) of a payload with NaN in the place of sentinels; new where one was found.

    A payload of float32 has the float32 that is next to a sentinel: -9999.9 comes as -9999.900390625.
    """
    if not sentinels:
        return numbers
    with np.errstate(over="ignore"):
        stored = np.asarray(sentinels, np.float32)
    found = np.isin(numbers, (*sentinels, *stored.tolist()))
    return np.where(found, np.nan, numbers) if found.any() else numbers


def blank_outside(values: Values, low: Values, high: Values) -> Values:
    """Values (samples, channels) with NaN where one is outside of its channel's range; new where one is."""
    outside = (values < low) | (values > high)
    return np.where(outside, np.nan, values) if outside.any() else values


def fill_missing(
    values: Values, missing: MissingSpec, means: Sequence[float], names: Sequence[str]
) -> tuple[Values, float]:
    """A window (samples, channels) without NaN, and the share of its values that were filled.

    Args:
        values: In the units of the channels.
        missing: The rule.
        means: Of each channel, for the rule ``mean``.
        names: Of the channels, for the reason of a refusal.

    Raises:
        InputFlaw: more is missing than may be, or the rule refuses.
    """
    absent = np.isnan(values)
    if not absent.any():
        return values, 0.0
    shares = absent.mean(axis=0)
    worst = int(shares.argmax())
    if missing.fill == "refuse" or shares[worst] > missing.most:
        allowed = 0.0 if missing.fill == "refuse" else missing.most
        found = f"{shares[worst]:.0%} of channel {names[worst]} is missing"
        # Whole samples, and not single values: of a slow sensor, or of lost messages.
        cause = "; does the sensor send at payload.rate_hz?" if shares.min() == shares[worst] else ""
        raise InputFlaw(
            RejectReason.MISSING_VALUES, f"{found}; at most {allowed:.0%} may be (missing.most){cause}"
        )
    filled = values.copy()
    for channel in np.flatnonzero(shares).tolist():
        column, gaps = filled[:, channel], absent[:, channel]
        column[gaps] = _stand_ins(column, gaps, missing.fill, means[channel])
    return filled, float(absent.mean())


def _stand_ins(column: Values, gaps: NDArray[np.bool_], fill: str, mean: float) -> Values | float:
    """For the gaps of one channel, which has at least one value."""
    if fill in ("zero", "mean"):
        return 0.0 if fill == "zero" else mean
    known, asked = np.flatnonzero(~gaps), np.flatnonzero(gaps)
    if fill == "linear":
        return np.asarray(np.interp(asked, known, column[known]))
    before = np.maximum(np.searchsorted(known, asked) - 1, 0)  # nothing comes before the first: it counts
    return np.asarray(column[known[before]])
