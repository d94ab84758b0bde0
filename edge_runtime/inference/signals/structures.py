"""Decoded JSON, CBOR or MessagePack -> samples.

Taken are, at ``path``: one record with a number for each channel; a list of such records; a record with a list for each
channel; a list of rows, each the channels in their order behind the time; of one channel also its plain list. Other
fields of a record are left out.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw, list_some
from edge_runtime.inference.signals.arrays import read_raw, to_float64
from edge_runtime.inference.signals.numbers import to_numbers
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.times import to_times
from edge_runtime.inference.specs import PayloadSpec

MAX_BYTES = 2 * 1024 * 1024
"""Of such a payload: decoded, a hostile one takes up to 61 times as much memory, one of numbers up to 12 times."""
MAX_DEPTH = 64
_Values = NDArray[np.float64]


def read_structure(value: Any, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    """The samples; of several with one time, that is the last one's, and ``times_wall_s`` has it alone.

    Raises:
        InputFlaw: it is none of the forms, or a channel is missing.
    """
    found = locate(value, payload.path)
    if isinstance(found, Mapping):
        return _read_record(found, payload, channels)
    if isinstance(found, bytes):
        return read_raw(found, payload, channels)
    if isinstance(found, list | np.ndarray) and not len(found):
        raise InputFlaw(RejectReason.EMPTY, f"{payload.format} without samples")
    if isinstance(found, list):
        kinds = set(map(type, found))
        if kinds == {dict}:
            return _read_records(found, payload, channels)
        if kinds == {list}:
            return _read_rows(found, payload, channels)
    if _is_column(found) and len(channels) == 1 and payload.time is None:
        return Readings(_to_column(found, payload, channels[0])[:, None])
    expected = "a record, a list of records or a list of rows at payload.path"
    raise InputFlaw(RejectReason.BAD_SHAPE, f"{payload.format} of another form; expected {expected}")


def locate(value: Any, path: str) -> Any:
    """What is at a dotted path of keys and, in lists, indices.

    Raises:
        InputFlaw: nothing is there.
    """
    for key in path.split(".") if path else ():
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise InputFlaw(RejectReason.MISSING_CHANNEL, f"nothing at {path} (payload.path)")
    return value


def _read_record(record: Mapping[Any, Any], payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    missing = [name for name in channels if name not in record]
    if missing:
        raise _missing(missing)
    values = [record[name] for name in channels]
    times = None
    if payload.time is not None:
        time = record.get(payload.time)
        times = to_times(time if isinstance(time, list) else [time], payload.time_unit)
    if not any(map(_is_column, values)):
        return _with_times(to_numbers(values, channels).reshape(1, -1), times)
    columns = [_to_column(value, payload, name) for value, name in zip(values, channels, strict=True)]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        sizes = f"{min(lengths)} to {max(lengths)} values"
        raise InputFlaw(RejectReason.BAD_SHAPE, f"channels of {sizes}; expected as many of each")
    return _with_times(np.stack(columns, axis=1), times)


def _read_records(
    records: Sequence[Mapping[Any, Any]], payload: PayloadSpec, channels: Sequence[str]
) -> Readings:
    count = len(records) * len(channels)
    if count > MAX_BYTES:  # empty records make many values of few bytes
        raise InputFlaw(RejectReason.TOO_LARGE, f"{count} values; at most {MAX_BYTES} are taken")
    if len(channels) == 1:
        values = [record.get(channels[0]) for record in records]
    else:
        try:
            values = list(chain.from_iterable(map(itemgetter(*channels), records)))
        except KeyError:
            values = [record.get(name) for record in records for name in channels]
    numbers = to_numbers(values, channels).reshape(len(records), len(channels))
    for i in np.flatnonzero(np.isnan(numbers).all(axis=0)).tolist():
        if not any(channels[i] in record for record in records):
            raise _missing([channels[i]])
    if payload.time is None:
        return Readings(numbers)
    return Readings(numbers, to_times([one.get(payload.time) for one in records], payload.time_unit))


def _read_rows(rows: Sequence[Sequence[Any]], payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    before = 0 if payload.time is None else 1
    width, widths = len(channels) + before, set(map(len, rows))
    if widths != {width}:
        found = f"rows of {min(widths)} to {max(widths)} values"
        behind = " behind the time" if before else ""
        raise InputFlaw(RejectReason.BAD_SHAPE, f"{found}; expected {len(channels)} channels{behind}")
    values = list(chain.from_iterable(row[before:] for row in rows) if before else chain.from_iterable(rows))
    numbers = to_numbers(values, channels).reshape(len(rows), len(channels))
    times = to_times([row[0] for row in rows], payload.time_unit) if before else None
    return Readings(numbers, times)


def _is_column(value: Any) -> bool:
    return isinstance(value, list | bytes | np.ndarray)


def _to_column(value: Any, payload: PayloadSpec, name: str) -> _Values:
    """float64 (samples,) of a list, of raw numbers, or of a typed array."""
    if isinstance(value, bytes):
        return read_raw(value, payload, [name]).numbers[:, 0]
    if isinstance(value, np.ndarray):
        return to_float64(value)
    if not isinstance(value, list):
        found = f"{type(value).__name__} for {name}, lists for others"
        raise InputFlaw(RejectReason.BAD_SHAPE, f"{found}; expected lists for all channels")
    return to_numbers(value, [name])


def _with_times(numbers: _Values, times: _Values | None) -> Readings:
    if times is not None and len(times) not in (1, len(numbers)):
        found = f"{len(times)} times for {len(numbers)} samples"
        raise InputFlaw(RejectReason.BAD_SHAPE, f"{found}; expected one, of the last, or one for each")
    return Readings(numbers, times)


def _missing(names: Sequence[str]) -> InputFlaw:
    expected = "a field for each channel, with the name that the bundle gives it (payload.path)"
    return InputFlaw(RejectReason.MISSING_CHANNEL, f"no {list_some(names)}; expected {expected}")
