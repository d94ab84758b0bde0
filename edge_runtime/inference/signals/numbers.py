"""Values of a payload, as a decoder gives them -> float64, NaN where one is missing."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw

_PLAIN = frozenset({float, int, type(None)})
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_MISSING = ("", "nan")


def to_numbers(values: Sequence[Any], names: Sequence[str]) -> NDArray[np.float64]:
    """float64 of numbers, of text that is a number, and of what means that there is none: null, NaN, empty text.

    Args:
        values: In the order of a decoder.
        names: Of the channels, which take turns in ``values``.

    Raises:
        InputFlaw: one is something else (BAD_DTYPE), or beyond float64 (NON_FINITE).
    """
    if not _PLAIN.issuperset(map(type, values)):
        values = [_to_number(value, names[i % len(names)]) for i, value in enumerate(values)]
    try:
        return np.array(values, np.float64)
    except OverflowError as err:
        raise InputFlaw(RejectReason.NON_FINITE, "whole number beyond float64") from err


def _parse_number(text: str, name: str) -> float | None:
    """The number that a text is, with a decimal point; None: it says that there is none.

    Raises:
        InputFlaw: it is something else.
    """
    if _NUMBER.fullmatch(text):
        return float(text)
    if text.strip().lower() in _MISSING:
        return None
    raise InputFlaw(RejectReason.BAD_DTYPE, f"text that is no number in {name}; expected a number or nothing")


def _to_number(value: Any, name: str) -> float | None:
    if isinstance(value, str):
        return _parse_number(value, name)
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        found = f"{type(value).__name__} in {name}"
        raise InputFlaw(RejectReason.BAD_DTYPE, f"{found}; expected a number or nothing")
    return value
