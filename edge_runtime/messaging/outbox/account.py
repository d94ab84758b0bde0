"""The rows in memory and the count of every row. Pure: no thread, clock or SQL.

Every count has two parts: one in the file, and one that memory has counted since. A commit writes their sum; rows that
are counted while it is under way stay in the second part. After an error it may be unknown whether a commit was
written: the file, opened again, shows the values of the commit if it was; if not, its rows are written again.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

from edge_runtime.messaging.outbox.ledger import Ledger, Row, RowsInMemory

Outcome = Literal["delivered", "dropped_by_refusal", "dropped_by_damage"]
"""The end of a row, by decision of its destination or because it cannot be read; a column of the ledger."""
Column = Literal[Outcome, "enqueued", "dropped_by_queue"]
"""Columns that memory counts."""


@dataclass(frozen=True, slots=True)
class Commit:
    """One attempt to write."""

    ledger: Ledger
    """Without the changes that the commit makes to the rows of the file."""
    added: Counter[Column]
    """The part of ``ledger`` that was not in the file before."""
    rows: list[Row]
    outcomes: dict[int, Outcome]
    """Rows of the file that it deletes and counts; unknown ids are ignored."""

    @property
    def last_id(self) -> int:
        """Id of its newest row; 0 without rows."""
        return self.rows[-1].id if self.rows else 0

    def is_shown_by(self, found: Ledger) -> bool:
        """Whether this commit wrote the ledger that was found in the file.

        Each row that a commit writes or counts raises ``enqueued``. A commit that raises nothing only deletes, and
        deletions may be repeated.
        """
        names = ("enqueued", "files_damaged", "next_id", "clock_s", "wall_s")
        return all(getattr(found, name) == getattr(self.ledger, name) for name in names)


class Account:
    """See the module."""

    def __init__(self) -> None:
        self.file = Ledger()
        """The ledger in the file; another object after every commit."""
        self.has_file = False
        self.last_written_id = 0
        """No row of the file has a greater id; 0 when the file is empty."""
        self.next_id = 1
        self.queue = RowsInMemory()
        """Rows that are not known to be in the file, those of a commit under way included."""
        self._added: Counter[Column] = Counter()
        self._outcomes: dict[int, Outcome] = {}
        """For rows that are in the file or in the commit under way."""
        self._commit: Commit | None = None
        self._unknown: Commit | None = None
        """A commit that ended in an error and may be in the file."""
        self._left: dict[int, Column] = {}
        """Rows of the unknown commit that have left the queue since then."""

    # --- rows ----------------------------------------------------------------------------------------------------

    @property
    def has_outcomes(self) -> bool:
        """Whether the next commit has rows to delete."""
        return bool(self._outcomes)

    def is_waiting(self, row_id: int) -> bool:
        """Whether a row that was read from the file or the queue is still to be delivered."""
        return row_id not in self._outcomes and row_id not in self._left

    def put(self, topic: str, payload: bytes, stored_at_s: float) -> None:
        """Accept a message."""
        self.queue.append(Row(self.next_id, topic, payload, stored_at_s))
        self.next_id += 1
        self._added["enqueued"] += 1

    def drop_oldest(self) -> bool:
        """Drop the oldest row that is not being written; False when there is none."""
        oldest = next((row for row in self.queue if row.id > self._commit_id), None)
        return oldest is not None and self._take_out(oldest.id, "dropped_by_queue")

    def record(self, ids: Iterable[int], outcome: Outcome) -> bool:
        """Count and forget rows in memory; the next commit deletes and counts those in the file or being written.

        Returns:
            Whether a row has left the memory.
        """
        has_left = False
        for one in ids:
            if self._take_out(one, outcome):
                has_left = True
            elif one not in self._left:
                self._outcomes.setdefault(one, outcome)
        return has_left

    @property
    def _commit_id(self) -> int:
        return 0 if self._commit is None else self._commit.last_id

    def _take_out(self, row_id: int, column: Column) -> bool:
        if row_id <= self._commit_id or self.queue.pop(row_id) is None:
            return False
        self._added[column] += 1
        if self._unknown is not None and row_id <= self._unknown.last_id:
            self._left[row_id] = column
        return True

    def shift(self, seconds: float) -> None:
        """Move the time stamps of the rows in memory."""
        rows, self.queue = self.queue, RowsInMemory()
        for row in rows:
            self.queue.append(replace(row, stored_at_s=row.stored_at_s + seconds))

    def add_up(self) -> Ledger:
        """All counts; rows in memory are ``pending``."""
        pending = {"pending": len(self.queue), "pending_bytes": self.queue.size_bytes}
        return replace(self.file.add(self._added).add(pending), next_id=self.next_id)

    # --- commits -------------------------------------------------------------------------------------------------

    def begin(self, is_due: Callable[[Row], bool], now_s: float, wall_s: float) -> Commit:
        """Begin to write the oldest rows as long as they are due; for the file, the others are not enqueued yet."""
        rows = list(takewhile(is_due, self.queue))
        added = Counter(self._added)
        added["enqueued"] -= len(self.queue) - len(rows)
        ledger = replace(self.file.add(added), next_id=self.next_id, clock_s=now_s, wall_s=wall_s)
        self._commit = Commit(ledger, added, rows, dict(self._outcomes))
        return self._commit

    def end(self, after: Ledger) -> None:
        """The commit is in the file, whose ledger is now ``after``."""
        commit, self._commit = self._commit, None
        assert commit is not None, "begin comes first"
        for one in commit.outcomes:
            del self._outcomes[one]
        self._adopt(commit, after)

    def fail(self, is_unknown: bool) -> None:
        """The commit under way, if any, ended in an error; ``is_unknown`` when it may have been written."""
        if self._commit is None:
            return
        self._unknown = self._commit if is_unknown else None
        self._commit = None
        for one in [one for one in self._outcomes if one in self.queue]:
            self._take_out(one, self._outcomes.pop(one))

    def take_over(self, found: Ledger) -> None:
        """Go on with a file that was opened and has this ledger."""
        commit, self._unknown = self._unknown, None
        left, self._left = self._left, {}
        if commit is not None and commit.is_shown_by(found):
            self._adopt(commit, found)
            self._added.subtract(left.values())  # the file has these rows
            for one, column in left.items():
                if column == "delivered" or column == "dropped_by_refusal" or column == "dropped_by_damage":
                    self._outcomes[one] = column
        elif self.has_file:
            damaged = max(self.file.files_damaged, found.files_damaged)
            pending = {"pending": found.pending, "pending_bytes": found.pending_bytes}
            self.file = replace(self.file, files_damaged=damaged, **pending).balance()
        else:
            self.file = found.balance()
        self.has_file = True
        self.next_id = max(self.next_id, found.next_id)
        self.last_written_id = found.next_id - 1 if found.pending else 0

    def _adopt(self, commit: Commit, after: Ledger) -> None:
        self.file = after
        self._added.subtract(commit.added)
        for row in commit.rows:
            self.queue.pop(row.id)
        self.last_written_id = commit.last_id or self.last_written_id
