"""The values of the outbox: rows that wait, and the ledger of every row ever offered. Pure.

One equation holds at every commit and in every snapshot: ``enqueued == delivered + dropped + pending``.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

ROW_OVERHEAD_BYTES = 64
"""SQLite's share per row: cell, keys, page slack. Measured: 300-byte payloads fill a file to within its bound."""


@dataclass(frozen=True, slots=True)
class Row:
    """One message that waits for delivery."""

    id: int
    """Grows with every row ever accepted; never used twice."""
    topic: str
    payload: bytes
    stored_at_s: float
    """On the outbox's own clock, see :class:`Ledger`."""

    @property
    def size_bytes(self) -> int:
        """The share of the row in the bounds of bytes."""
        return len(self.payload) + len(self.topic.encode()) + ROW_OVERHEAD_BYTES


class RowsInMemory:
    """Rows in the order of their ids, any of which may leave, and the sum of their sizes."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self.size_bytes = 0
        """Sum of the rows' sizes."""

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __contains__(self, row_id: int) -> bool:
        return row_id in self._rows

    def peek(self) -> Row | None:
        """The row with the smallest id."""
        return next(iter(self._rows.values()), None)

    def append(self, row: Row) -> None:
        """Add a row; its id is greater than all others."""
        self._rows[row.id] = row
        self.size_bytes += row.size_bytes

    def pop(self, row_id: int) -> Row | None:
        """Take a row out; None when it is not here."""
        row = self._rows.pop(row_id, None)
        if row is not None:
            self.size_bytes -= row.size_bytes
        return row


@dataclass(frozen=True, slots=True)
class Ledger:
    """Exact account since the file was made; ``enqueued == delivered + dropped + pending`` at every commit."""

    enqueued: int = 0
    delivered: int = 0
    dropped_by_size: int = 0
    dropped_by_age: int = 0
    dropped_by_queue: int = 0
    dropped_by_refusal: int = 0
    dropped_by_damage: int = 0
    pending: int = 0
    pending_bytes: int = 0
    files_damaged: int = 0
    next_id: int = 1
    clock_s: float = 0.0
    """The outbox's own clock: seconds of running time plus, across restarts, the wall time in between (never less
    than zero). A wall clock that jumps while the daemon runs therefore expires nothing."""
    wall_s: float = 0.0

    @property
    def dropped(self) -> int:
        """Rows lost for any reason."""
        by_limit = self.dropped_by_size + self.dropped_by_age + self.dropped_by_queue
        return by_limit + self.dropped_by_refusal + self.dropped_by_damage

    def add(self, counts: Mapping[Any, int]) -> "Ledger":
        """The same with these numbers added, by column."""
        return replace(self, **{column: getattr(self, column) + count for column, count in counts.items()})

    def balance(self) -> "Ledger":
        """The same with the equation restored: missing rows were lost by damage, surplus rows were enqueued."""
        missing = self.enqueued - self.delivered - self.dropped - self.pending
        return self.add({"dropped_by_damage": missing} if missing >= 0 else {"enqueued": -missing})


COLUMNS = tuple(column.name for column in fields(Ledger))
COUNTED = ("enqueued", "delivered", *(name for name in COLUMNS if name.startswith("dropped_by_")))
"""Columns that count rows and only grow."""
