"""CSV -> samples, one a line. Blank lines and those that begin with ``#`` are left out."""

import codecs
import contextlib
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter

import numpy as np
import orjson
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw, list_some
from edge_runtime.inference.signals.numbers import to_numbers
from edge_runtime.inference.signals.readings import Readings, check_count
from edge_runtime.inference.signals.text import decode_text
from edge_runtime.inference.signals.times import to_times
from edge_runtime.inference.specs import PayloadSpec

MAX_LINE_BYTES = 1 << 20
"""A longer line is no sample, whatever its format."""
MAX_LINE_CHARACTERS = 64 * 1024
_LINES_AT_ONCE = 64
"""That are fields in memory: a short one takes 20 times as much there as in the text."""
Row = list[str]


def is_left_out(line: bytes) -> bool:
    """Whether a line is no sample and no header: blank, or a remark."""
    text = line.removeprefix(codecs.BOM_UTF8).strip()
    return not text or text.startswith(b"#")


def read_csv(data: bytes, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    """The samples of a CSV text.

    Raises:
        InputFlaw: not in the declared encoding, a line with another number of fields, a column that is missing or comes
            twice, or a field that is no number.
    """
    lines = csv.reader(_lines(decode_text(data, payload.encoding)), delimiter=payload.delimiter, strict=True)
    try:
        return _read_lines((row for row in lines if row and not row[0].startswith("#")), payload, channels)
    except csv.Error as err:
        raise InputFlaw(RejectReason.UNREADABLE, f"no CSV in line {lines.line_num}: {err}") from err


def _lines(text: str) -> Iterator[str]:
    for line in io.StringIO(text, newline=""):
        if len(line) > MAX_LINE_CHARACTERS:
            found = f"CSV with a line of {len(line)} characters"
            raise InputFlaw(RejectReason.TOO_LARGE, f"{found}; at most {MAX_LINE_CHARACTERS} are taken")
        yield line


def _read_lines(rows: Iterator[Row], payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    header = next(rows, []) if payload.has_header else None
    wanted = [*channels] if payload.time is None else [payload.time, *channels]
    width, places = _find_columns(header, wanted)
    pick = _picker(places[-len(channels) :], width)
    numbers, times = list[NDArray[np.float64]](), list[NDArray[np.float64]]()
    count = 0
    while chunk := list(islice(rows, _LINES_AT_ONCE)):
        _check_widths(chunk, width, count)
        count += len(chunk)
        check_count(count * len(channels))
        numbers.append(_to_numbers(pick(chunk), payload, channels).reshape(len(chunk), -1))
        if payload.time is not None:
            times.append(_to_times([row[places[0]] for row in chunk], payload))
    if not numbers:
        raise InputFlaw(RejectReason.EMPTY, "csv without samples")
    return Readings(np.concatenate(numbers), np.concatenate(times) if times else None)


def _find_columns(header: Row | None, wanted: Sequence[str]) -> tuple[int, list[int]]:
    """How many fields a line has, and where the wanted ones are."""
    if header is None:
        return len(wanted), list(range(len(wanted)))
    names = [name.strip() for name in header]
    missing = [name for name in wanted if name not in names]
    if missing:
        found = f"no column {list_some(missing)} among {len(names)}"
        expected = "a first line with the bundle's names (payload.has_header, payload.delimiter)"
        raise InputFlaw(RejectReason.MISSING_CHANNEL, f"{found}; expected {expected}")
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise InputFlaw(RejectReason.UNREADABLE, f"column {twice[0]} comes twice; expected it once")
    return len(names), [names.index(name) for name in wanted]


def _check_widths(rows: Sequence[Row], width: int, before: int) -> None:
    if set(map(len, rows)) != {width}:
        at, found = next((at, len(row)) for at, row in enumerate(rows) if len(row) != width)
        where = f"sample {before + at} has {found} field(s)"
        expected = f"{width} as in the header or the channels (payload.delimiter, payload.decimal)"
        raise InputFlaw(RejectReason.BAD_SHAPE, f"{where}; expected {expected}")


def _picker(places: Sequence[int], width: int) -> Callable[[Sequence[Row]], list[str]]:
    """Gives the fields of the channels, sample by sample."""
    if list(places) == list(range(width)):
        return lambda rows: list(chain.from_iterable(rows))
    if len(places) == 1:
        return lambda rows: [row[places[0]] for row in rows]
    chosen = itemgetter(*places)
    return lambda rows: list(chain.from_iterable(map(chosen, rows)))


def _to_numbers(fields: list[str], payload: PayloadSpec, channels: Sequence[str]) -> NDArray[np.float64]:
    """float64 of the fields; orjson reads plain numbers three times faster than ``float`` and takes nothing odd."""
    if payload.decimal == ",":
        if "." in "".join(fields):
            found = "csv with a decimal point or a mark of thousands"
            raise InputFlaw(
                RejectReason.BAD_DTYPE, f"{found}; expected decimal commas only (payload.decimal)"
            )
        fields = [field.replace(",", ".") for field in fields]
    with contextlib.suppress(orjson.JSONDecodeError):
        values = orjson.loads(f"[{','.join([field or 'null' for field in fields])}]")
        if len(values) == len(fields):  # no field had a comma
            return to_numbers(values, channels)
    return to_numbers(fields, channels)


def _to_times(fields: list[str], payload: PayloadSpec) -> NDArray[np.float64]:
    is_date = payload.time_unit == "rfc3339"
    return to_times(
        fields if is_date or payload.decimal == "." else [one.replace(",", ".") for one in fields],
        payload.time_unit,
    )
