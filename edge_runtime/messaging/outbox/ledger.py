"""The values of the outbox: rows that wait, and the account of every row ever offered. Pure.

The account is one equation that holds at every commit and in every snapshot: ``enqueued == delivered + dropped +
pending``. What was counted during a commit is kept by adding differences, never by choosing between two accounts.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

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
        """What the row costs against the bound."""
        return len(self.payload) + len(self.topic.encode()) + ROW_OVERHEAD_BYTES


class RowsInMemory:
    """Rows in the order of their ids, any of which may leave, and what they cost together."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Sum of the rows' sizes."""
        return self._size_bytes

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def oldest(self) -> Row | None:
        """The row with the smallest id."""
        return next(iter(self._rows.values()), None)

    def append(self, row: Row) -> None:
        """Add a row; its id is greater than all others."""
        self._rows[row.id] = row
        self._size_bytes += row.size_bytes

    def pop(self, row_id: int) -> Row | None:
        """Take a row out; None when it is not here."""
        row = self._rows.pop(row_id, None)
        if row is not None:
            self._size_bytes -= row.size_bytes
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
        return (
            self.dropped_by_size
            + self.dropped_by_age
            + self.dropped_by_queue
            + self.dropped_by_refusal
            + self.dropped_by_damage
        )


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """The account, and how the disk is doing."""

    ledger: Ledger
    """``pending`` and ``pending_bytes`` include rows that are still in memory."""
    in_memory: int
    is_durable: bool
    """False while the file cannot be written; results then live in memory only."""
    problem: str | None


def continued(found: Ledger, added: Ledger) -> Ledger:
    """The account of a file, plus what this process counted before it could open the file."""
    return replace(
        found,
        enqueued=found.enqueued + added.enqueued,
        delivered=found.delivered + added.delivered,
        dropped_by_queue=found.dropped_by_queue + added.dropped_by_queue,
        dropped_by_refusal=found.dropped_by_refusal + added.dropped_by_refusal,
        next_id=max(found.next_id, added.next_id),
    )


_COUNTS = [column.name for column in fields(Ledger) if column.name not in ("next_id", "clock_s", "wall_s")]


def committed(running: Ledger, before: Ledger, after: Ledger) -> Ledger:
    """The running account once a commit is in the file.

    Args:
        running: The account now; it has gone on since the commit began.
        before: What the commit began with.
        after: What the commit wrote.

    Returns:
        What was counted since the commit began, and what the commit itself changed.
    """
    counts = {name: getattr(running, name) + getattr(after, name) - getattr(before, name) for name in _COUNTS}
    return replace(running, **counts)


def reopened(running: Ledger, found: Ledger) -> Ledger:
    """The running account after the file was opened again in mid-run: what waits in a file is what it holds."""
    return replace(
        running,
        pending=found.pending,
        pending_bytes=found.pending_bytes,
        files_damaged=max(running.files_damaged, found.files_damaged),
    )


@dataclass(frozen=True, slots=True)
class DoubtfulCommit:
    """A commit that ended in an error may have reached the disk after all; only the file, opened again, can tell.

    Its rows are back in memory until then. What is counted of them meanwhile is noted here, because if the file has
    them, the file accounts for them.
    """

    before: Ledger
    """What the commit began with. Each row that it writes or counts raised ``enqueued``."""
    last_id: int
    """Its newest row; 0 without rows."""
    delivered: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    dropped: set[int] = field(default_factory=set)

    def is_in(self, found: Ledger) -> bool:
        """Whether the file that was found is the one this commit wrote."""
        return found.enqueued == self.before.enqueued

    def settled(self, running: Ledger, found: Ledger) -> Ledger:
        """The running account when the commit is in the file, less what memory counted of the commit's rows."""
        running = replace(
            running,
            delivered=running.delivered - len(self.delivered),
            dropped_by_refusal=running.dropped_by_refusal - len(self.refused),
            dropped_by_queue=running.dropped_by_queue - len(self.dropped),
        )
        return committed(running, self.before, found)


def balanced(ledger: Ledger, in_memory: int) -> Ledger:
    """Make the equation hold again: rows nobody can find are lost by damage, rows found again were not dropped."""
    missing = ledger.enqueued - ledger.delivered - ledger.dropped - ledger.pending - in_memory
    if missing < 0:
        found_again = min(-missing, ledger.dropped_by_queue)
        ledger = replace(ledger, dropped_by_queue=ledger.dropped_by_queue - found_again)
        return replace(ledger, enqueued=ledger.enqueued - missing - found_again)
    return replace(ledger, dropped_by_damage=ledger.dropped_by_damage + missing)
