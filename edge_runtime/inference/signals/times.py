"""Times of samples, as a payload says them -> Unix time."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.signals.numbers import to_numbers

Times = NDArray[np.float64]

EARLIEST_S = 631_152_000.0
"""1990: a clock that shows less counts from its start, or in another unit."""
LATEST_S = 4_102_444_800.0
"""2100: a time beyond it is in another unit. Whether a time is in the future is seen by who has a clock."""
_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def to_times(values: Sequence[Any], unit: str) -> Times:
    """Unix seconds, float64: as exact as it can be, about 0.2 microseconds.

    Raises:
        InputFlaw: BAD_TIME: one is missing, no time of that unit, or of another century.
    """
    times = _parse_dates(values) if unit == "rfc3339" else _scale_numbers(values, unit)
    wrong = ~((times >= EARLIEST_S) & (times < LATEST_S))  # NaN too
    if wrong.any():
        at = int(wrong.argmax())
        raise InputFlaw(RejectReason.BAD_TIME, f"the time of sample {at} {_explain(float(times[at]), unit)}")
    return times


def spread_back(last: Times, count: int, rate_hz: float) -> Times:
    """Times of ``count`` samples, of which the last one has the one time in ``last``."""
    return np.asarray(last[-1] - np.arange(count - 1, -1, -1) / rate_hz)


def _explain(time_s: float, unit: str) -> str:
    """What is wrong with a time, and the unit in which it would be one; its number is content, and is not quoted."""
    if math.isnan(time_s):
        return "is missing (payload.time)"
    number = time_s / _UNITS_S.get(unit, 1.0)
    fitting = [one for one, seconds in _UNITS_S.items() if EARLIEST_S <= number * seconds < LATEST_S]
    hint = f"; in {fitting[0]} it would be" if fitting else ""
    return f"is not between 1990 and 2100 in {unit} (payload.time_unit){hint}"


def _scale_numbers(values: Sequence[Any], unit: str) -> Times:
    try:
        return to_numbers(values, ["the time"]) * _UNITS_S[unit]
    except InputFlaw as flaw:
        raise InputFlaw(RejectReason.BAD_TIME, flaw.detail) from flaw


def _parse_dates(values: Sequence[Any]) -> Times:
    return np.array([_parse_date(value) for value in values], np.float64)


def _parse_date(value: Any) -> float:
    try:
        date = datetime.fromisoformat(value.strip().upper())
    except (AttributeError, ValueError, OverflowError) as err:
        found = "a time that is no date and time as text"
        raise InputFlaw(RejectReason.BAD_TIME, f"{found}; expected 2026-07-01T08:30:00Z") from err
    if date.tzinfo is None:
        raise InputFlaw(RejectReason.BAD_TIME, "a time without a time zone; expected Z or +01:00 at its end")
    return date.timestamp()
