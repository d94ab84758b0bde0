"""Fields of a decoded record, each once."""

from collections.abc import Sequence
from typing import Any

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw


def unique_fields(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """The record of these fields and values.

    Raises:
        InputFlaw: a field comes twice; which of its values is meant, nothing says.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InputFlaw(RejectReason.UNREADABLE, "a record has a field twice; expected each once")
    return found
