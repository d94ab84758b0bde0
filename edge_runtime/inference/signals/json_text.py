"""JSON -> samples. NaN, which many devices write and JSON has not, is a missing value."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.structures import locate, read_structure
from edge_runtime.inference.signals.text import decode_text
from edge_runtime.inference.signals.unique import unique_fields
from edge_runtime.inference.specs import PayloadSpec

_NAME = re.compile(rb'"([^"\\]*)"\s*:')


def read_json(data: bytes, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    """The samples of a JSON text.

    Raises:
        InputFlaw: no JSON in the declared encoding, a field twice, or not of a form of ``structures``.
    """
    is_plain = payload.encoding == "utf-8" and data[:1] != b"\xef"
    text = data if is_plain else decode_text(data, payload.encoding).encode()
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = _parse_strictly(decode_text(data, payload.encoding))
    else:
        if _has_twice(text, locate(value, payload.path), payload, channels):
            _parse_strictly(text.decode())
    return read_structure(value, payload, channels)


def _has_twice(text: bytes, found: Any, payload: PayloadSpec, channels: Sequence[str]) -> bool:
    """Whether a field may come twice in a record, of which orjson keeps the last; it has no way to say so."""
    records = found if isinstance(found, list) else [found]
    if text.count(b'":') == sum(len(one) for one in records if isinstance(one, dict)):
        return False  # all names of the text are there
    counts = Counter(_NAME.findall(text))
    names = channels if payload.time is None else (*channels, payload.time)
    return any(counts[name.encode()] > len(records) for name in names)


def _parse_strictly(text: str) -> Any:
    """By Python's reader, 10 times slower: it takes NaN, and shows fields that come twice."""
    try:
        return json.loads(text, object_pairs_hook=unique_fields)
    except json.JSONDecodeError as err:
        found = f"no JSON: {err.msg} in line {err.lineno}, column {err.colno}"
        raise InputFlaw(RejectReason.UNREADABLE, found) from err
    except RecursionError as err:
        raise InputFlaw(RejectReason.UNREADABLE, "JSON nested too deeply") from err
    except ValueError as err:  # Python converts no more than 4300 digits
        raise InputFlaw(RejectReason.NON_FINITE, "JSON with a whole number beyond float64") from err
