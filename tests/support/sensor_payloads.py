"""Windows as sensors send them, in every format that is declared."""

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import cbor2
import msgpack
import numpy as np
from numpy.typing import NDArray

from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.specs import PayloadSpec

FORMS = ("record", "columns", "records", "rows")
"""Of json, cbor and msgpack; a record is one sample."""


def write_payload(
    numbers: NDArray[np.float64],
    payload: PayloadSpec,
    names: Sequence[str],
    times: Sequence[Any] | None = None,
    form: str = "columns",
) -> bytes:
    """A message with these samples (samples, channels); NaN is written as the format says that there is no value."""
    if payload.format == "npy":
        return write_npy(numbers if payload.order == "samples" else numbers.T)
    if payload.format == "raw":
        array = numbers if payload.order == "samples" else numbers.T
        return array.astype(np.dtype(payload.type).newbyteorder("<")).tobytes()
    if payload.format == "csv":
        return _write_csv(numbers, payload, names, times).encode(payload.encoding)
    value = _nest(structure(numbers, names, payload.time, times, form), payload.path)
    if payload.format == "json":
        return json.dumps(value, ensure_ascii=False).encode(payload.encoding)
    return cbor2.dumps(value) if payload.format == "cbor" else msgpack.packb(value)


def structure(
    numbers: NDArray[np.float64],
    names: Sequence[str],
    time: str | None,
    times: Sequence[Any] | None,
    form: str,
) -> Any:
    """The samples as lists and dictionaries."""
    rows = [[None if math.isnan(value) else value for value in row] for row in numbers.tolist()]
    if form == "columns":
        more = {} if time is None else {time: list(times or [])}
        return {name: [row[i] for row in rows] for i, name in enumerate(names)} | more
    if time is not None:
        names, rows = [time, *names], [[at, *row] for at, row in zip(times or [], rows, strict=True)]
    if form == "rows":
        return rows
    records = [dict(zip(names, row, strict=True)) for row in rows]
    return records[0] if form == "record" else records


def _nest(value: Any, path: str) -> Any:
    for key in reversed(path.split(".") if path else []):
        value = [*[None] * int(key), value] if key.isdigit() else {"about": "a sensor", key: value}
    return value


def _write_csv(
    numbers: NDArray[np.float64], payload: PayloadSpec, names: Sequence[str], times: Sequence[Any] | None
) -> str:
    rows = [["" if math.isnan(value) else repr(value) for value in row] for row in numbers.tolist()]
    rows = [[field.replace(".", payload.decimal) for field in row] for row in rows]
    if payload.time is not None:
        names = [payload.time, *names]
        rows = [[str(at), *row] for at, row in zip(times or [], rows, strict=True)]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=payload.delimiter)
    writer.writerows([names, *rows] if payload.has_header else rows)
    return file.getvalue()
