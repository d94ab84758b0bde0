"""The values of the outbox: a row that waits, and the account of every row ever offered. Pure.

Used by ``outbox`` (policy) and ``outbox_store`` (SQL). The account is one equation that holds at every commit and in
every snapshot: ``enqueued == delivered + dropped + pending``.
"""

from dataclasses import dataclass, replace

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


def newest(found: Ledger, running: Ledger) -> Ledger:
    """The account after reopening a file in mid-run: every counter only grows; what waits is what the file holds.

    A commit that reported an I/O error may have reached the disk after all, so neither side alone is right.
    """
    return replace(
        running,
        delivered=max(found.delivered, running.delivered),
        dropped_by_size=max(found.dropped_by_size, running.dropped_by_size),
        dropped_by_age=max(found.dropped_by_age, running.dropped_by_age),
        dropped_by_refusal=max(found.dropped_by_refusal, running.dropped_by_refusal),
        pending=found.pending,
        pending_bytes=found.pending_bytes,
    )


def balanced(ledger: Ledger, in_memory: int) -> Ledger:
    """Make the equation hold again: rows nobody can find are lost by damage, rows found again were not dropped."""
    missing = ledger.enqueued - ledger.delivered - ledger.dropped - ledger.pending - in_memory
    if missing < 0:
        found_again = min(-missing, ledger.dropped_by_queue)
        ledger = replace(ledger, dropped_by_queue=ledger.dropped_by_queue - found_again)
        return replace(ledger, enqueued=ledger.enqueued - missing - found_again)
    return replace(ledger, dropped_by_damage=ledger.dropped_by_damage + missing)
