"""The form of an outbox file: its tables, its errors, and which values in it are possible."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from edge_runtime.messaging.outbox.ledger import COLUMNS, Ledger, Row

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE waiting(
    id INTEGER PRIMARY KEY, stored_at_s REAL NOT NULL, size_bytes INTEGER NOT NULL,
    topic TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE ledger(
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    enqueued INTEGER NOT NULL, delivered INTEGER NOT NULL, dropped_by_size INTEGER NOT NULL,
    dropped_by_age INTEGER NOT NULL, dropped_by_queue INTEGER NOT NULL, dropped_by_refusal INTEGER NOT NULL,
    dropped_by_damage INTEGER NOT NULL, pending INTEGER NOT NULL, pending_bytes INTEGER NOT NULL,
    files_damaged INTEGER NOT NULL, next_id INTEGER NOT NULL, clock_s REAL NOT NULL, wall_s REAL NOT NULL);
"""

UPSERT = f"INSERT OR REPLACE INTO ledger(only_row, {', '.join(COLUMNS)}) VALUES (1{', ?' * len(COLUMNS)})"  # noqa: S608
SELECT = f"SELECT {', '.join(COLUMNS)} FROM ledger"  # noqa: S608 - names of our own fields
SELECT_ROWS = "SELECT id, topic, payload, stored_at_s FROM waiting"
"""For :func:`parse_row`."""

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_CONSTRAINT}


class StoreDamaged(Exception):
    """The file is not a readable outbox any more; it must be moved aside."""


class StoreUnavailable(Exception):
    """The file cannot be used now (disk full, I/O error, read-only, locked); trying again later may work."""

    def __init__(self, text: str, is_full: bool = False) -> None:
        self.is_full = is_full
        super().__init__(text)


class StoreTooNew(StoreUnavailable):
    """A newer version of this program wrote the file; it is left as it is."""


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Raise sqlite3's errors as :class:`StoreDamaged` or :class:`StoreUnavailable`."""
    try:
        yield
    except UnicodeDecodeError as err:  # a message of SQLite that quotes what it found
        raise StoreDamaged(f"{path}: its tables cannot be read") from err
    except sqlite3.Error as err:
        code = getattr(err, "sqlite_errorcode", 0) & 0xFF
        is_damage = "no such" in str(err)
        if code in _DAMAGE or (isinstance(err, sqlite3.DatabaseError) and is_damage):
            raise StoreDamaged(f"{path}: {err}") from err
        name = getattr(err, "sqlite_errorname", type(err).__name__)
        raise StoreUnavailable(f"{path}: {err} ({name})", is_full=code == sqlite3.SQLITE_FULL) from err


MAX_COUNT = 2**62
MAX_S = 2.0**40
"""A greater float of seconds does not tell milliseconds apart."""


def is_count(value: object) -> bool:
    """Whether it may be an id, a number or a size."""
    return isinstance(value, int) and 0 <= value < MAX_COUNT


def is_time(value: object) -> bool:
    """Whether it may be seconds on some clock."""
    return isinstance(value, int | float) and -MAX_S < value < MAX_S


def parse_row(values: Sequence[Any]) -> Row | None:
    """A row from the values of ``SELECT_ROWS``, the topic as bytes; None when a value is impossible.

    A row is not lost for its time alone: it counts as old as the outbox until the file is repaired.
    """
    one, topic, payload, stored_at_s = values
    if not (is_count(one) and one and isinstance(payload, bytes)):
        return None
    try:
        return Row(one, topic.decode(), payload, stored_at_s if is_time(stored_at_s) else 0.0)
    except (AttributeError, UnicodeDecodeError):
        return None


def _select_readable(found: Sequence[Any]) -> dict[str, Any]:
    """The columns of the ledger whose values are possible, by name."""
    least = {"next_id": 1}
    return {
        name: value
        for name, value in zip(COLUMNS, found, strict=True)
        if (is_time if name.endswith("_s") else is_count)(value) and value >= least.get(name, 0)
    }


def is_possible(found: Sequence[Any]) -> bool:
    """Whether these are the values of a ledger, whose sums can be written too."""
    readable = _select_readable(found)
    return len(readable) == len(COLUMNS) and is_count(Ledger(**readable).balance().enqueued)


def add_rows(past: Ledger, pending: int, pending_bytes: int, last_id: int) -> Ledger:
    """The ledger of a file with so many rows, which continues one without."""
    next_id = max(past.next_id, last_id + 1)
    return replace(past, pending=pending, pending_bytes=pending_bytes, next_id=next_id).balance()


def continue_ledger(found: Sequence[Any] | None) -> Ledger:
    """The ledger after a damage, without pending rows: what can be read goes on."""
    readable = _select_readable(found or [None] * len(COLUMNS))
    past = Ledger(**readable)
    ends = {name for name in COLUMNS if name.startswith(("delivered", "dropped"))}
    if "enqueued" not in readable or not ends <= readable.keys():
        past = replace(past, enqueued=0).balance()
    after = replace(past, files_damaged=past.files_damaged + 1)
    return after if is_possible(astuple(after.balance())) else Ledger(files_damaged=1, next_id=past.next_id)
