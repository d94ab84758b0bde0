"""The SQLite file behind the outbox: rows that wait, and a ledger that accounts for every row ever offered.

SQL and no policy; ``salvage`` opens the file. One thread writes, another may read. sqlite3's errors leave as
:class:`StoreDamaged` or :class:`StoreUnavailable`.

Rows and ledger change in the same transaction, so after any crash ``enqueued == delivered + dropped + pending``.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from edge_runtime.messaging.outbox.account import Commit
from edge_runtime.messaging.outbox.account_file import AccountFile, Seen
from edge_runtime.messaging.outbox.file_format import (
    MAX_COUNT,
    MAX_S,
    SCHEMA,
    SCHEMA_VERSION,
    SELECT,
    SELECT_ROWS,
    UPSERT,
    StoreDamaged,
    StoreTooNew,
    add_rows,
    continue_ledger,
    is_count,
    is_possible,
    is_time,
    parse_row,
    translate_errors,
)
from edge_runtime.messaging.outbox.ledger import ROW_OVERHEAD_BYTES, Ledger, Row

READ_BYTES = 8 * 2**20
"""So much is read at a time; at least one row."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read from the file."""

    rows: list[Row]
    unreadable: list[int]
    """Ids of rows whose values are impossible."""
    is_end: bool
    """False when there may be more rows in the range, which were too many or too large."""


def _words(sql: object) -> list[bytes]:
    return sql.split() if isinstance(sql, bytes) else []


class Store:
    """An open outbox file. Made, used for writing and closed by one thread; ``read`` may run in another."""

    def __init__(self, path: Path, *, must_repair: bool = False) -> None:
        """Open or create the file.

        With ``must_repair`` every row is read, and those that cannot be are deleted and counted. That is done without
        it too when the ledger is not that of the rows.

        Raises:
            StoreDamaged: it is not an outbox, or cannot be repaired.
            StoreTooNew: a newer version of this program wrote it.
            StoreUnavailable: it cannot be opened now.
        """
        self._path = path
        self.repaired_rows: int | None = None
        """Rows deleted by a repair; None when there was none."""
        self._account_file = AccountFile(path)
        self._reading = threading.Lock()  # a reader must not be in the file while it is closed
        with translate_errors(path):
            self._writer = self._connect()
            try:
                self._prepare(must_repair)
                self._reader = self._connect()
            except BaseException:
                self._writer.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=2.0, isolation_level=None, check_same_thread=False)
        connection.text_factory = bytes  # a text that is no UTF-8 must not cost the rows around it
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {8 * 2**20}")
            connection.execute("PRAGMA cache_size = -1024")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, must_repair: bool) -> None:
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self._transaction():
                for statement in SCHEMA.split(";"):
                    self._writer.execute(statement)
                self._write(Ledger())
                self._writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version > SCHEMA_VERSION:
            raise StoreTooNew(
                f"{self._path}: format {version} is of a newer version of this program, which knows"
                f" {SCHEMA_VERSION}; install that version again, or move the file away to go on without its rows"
            )
        elif version != SCHEMA_VERSION:
            raise StoreDamaged(f"{self._path}: format version {version}, expected {SCHEMA_VERSION}")
        found = [
            _words(sql) for (sql,) in self._writer.execute("SELECT sql FROM sqlite_schema ORDER BY rowid")
        ]
        if found != [_words(sql.encode()) for sql in SCHEMA.split(";")[:-1]]:
            raise StoreDamaged(f"{self._path}: its tables are not those of an outbox")
        if must_repair or not self._is_consistent():
            self._repair()

    def _is_consistent(self) -> bool:
        """Whether the ledger may be that of the rows; a look at the first and the last one."""
        found = self._writer.execute(SELECT).fetchone()
        if found is None or not is_possible(found):
            return False
        ledger = Ledger(*found)
        first, last = self._writer.execute(
            "SELECT COALESCE((SELECT MIN(id) FROM waiting), 1), COALESCE((SELECT MAX(id) FROM waiting), 0)"
        ).fetchone()
        most = last - first + 1
        return bool(first >= 1 and last < ledger.next_id and min(most, 1) <= ledger.pending <= most)

    def _repair(self) -> None:
        """Delete the rows that cannot be read, and make the ledger that of the others."""
        bad, last = [], 0
        before = -MAX_COUNT * 2 - 1
        pending: Counter[str] = Counter()
        for values in self._writer.execute(f"{SELECT_ROWS} ORDER BY id"):
            if values[0] is None or values[0] <= before:  # it could not be found to delete it
                raise StoreDamaged(f"{self._path}: the rows are not in the order of their ids")
            before = values[0]
            row = parse_row(values)
            if row is None:
                bad.append((values[0],))
            else:
                last = row.id
                pending.update(pending=1, pending_bytes=row.size_bytes)
        found = self._writer.execute(SELECT).fetchone()
        after = add_rows(continue_ledger(found), pending["pending"], pending["pending_bytes"], last)
        with self._transaction():
            self._writer.executemany("DELETE FROM waiting WHERE id = ?", bad)
            # A size is what a row counts for; one that was wrong would make the sum wrong later.
            size = f"length(CAST(topic AS BLOB)) + length(payload) + {ROW_OVERHEAD_BYTES}"
            self._writer.execute(f"UPDATE waiting SET size_bytes = {size} WHERE size_bytes IS NOT {size}")  # noqa: S608
            self._writer.execute(
                "UPDATE waiting SET stored_at_s = ?"
                " WHERE typeof(stored_at_s) NOT IN ('integer', 'real') OR abs(stored_at_s) >= ?",
                (after.clock_s, MAX_S),
            )
            self._write(after)
        self.repaired_rows = len(bad)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def ledger(self) -> Ledger:
        """The account as it was committed last."""
        with translate_errors(self._path):
            found = self._writer.execute(SELECT).fetchone()
        if found is None or not is_possible(found):
            raise StoreDamaged(f"{self._path}: the ledger holds impossible values")
        return Ledger(*found)

    def commit(self, commit: Commit, max_bytes: int, expire_before_s: float) -> Ledger:
        """Insert, delete and count in one durable transaction.

        Args:
            commit: Rows, outcomes and the ledger.
            max_bytes: The oldest rows go until the rest fits.
            expire_before_s: Rows that were stored earlier go.

        Returns:
            The ledger as committed.

        Raises:
            StoreDamaged: a row holds impossible values, or the ledger is not that of the rows; nothing is changed.
            StoreUnavailable: the file cannot be written now.
        """
        sizes = [row.size_bytes for row in commit.rows]
        changes: Counter[str] = Counter(pending=len(sizes), pending_bytes=sum(sizes))
        with translate_errors(self._path), self._transaction():
            self._insert(commit.rows)
            for one, outcome in commit.outcomes.items():
                statement = "DELETE FROM waiting WHERE id = ? RETURNING size_bytes"
                for (size,) in self._writer.execute(statement, (one,)).fetchall():
                    self._check(is_count(size))
                    changes.update({outcome: 1, "pending": -1, "pending_bytes": -size})
            self._drop_oldest(changes, max_bytes - commit.ledger.pending_bytes, expire_before_s)
            after = commit.ledger.add(changes)
            first_id = self._find_first_id()
            has_rows = first_id is not None and first_id > 0  # others are never read
            if (
                after.pending < 0
                or has_rows != (after.pending > 0)
                or after.pending_bytes < 0
                or (after.pending_bytes and not after.pending)
            ):
                raise StoreDamaged(f"{self._path}: the ledger is not that of the rows")
            self._write(after)
        self.note_account(after)
        return after

    def note_account(self, ledger: Ledger) -> None:
        """Write what the file holds after a commit into its account file."""
        with suppress(sqlite3.Error):
            first = self._find_first_id()
            self._account_file.write(Seen(ledger, ledger.next_id if first is None else first))

    def _find_first_id(self) -> int | None:
        (first,) = self._writer.execute("SELECT MIN(id) FROM waiting").fetchone()
        return None if first is None else int(first)

    def go_on_from(self, seen: Seen) -> Ledger:
        """Take the account of a later state than the file's, and count the rows that it had and the file has not.

        Rows of the file that left it in between come again: they count as enqueued once more.
        """
        with translate_errors(self._path), self._transaction():
            found = self.ledger()
            (left,) = self._writer.execute(
                "SELECT COUNT(*) FROM waiting WHERE id >= ?", (seen.first_id,)
            ).fetchone()
            after = replace(
                seen.ledger.add({"dropped_by_damage": max(0, seen.ledger.pending - left)}),
                pending=found.pending,
                pending_bytes=found.pending_bytes,
                files_damaged=max(found.files_damaged, seen.ledger.files_damaged + 1),
                next_id=max(found.next_id, seen.ledger.next_id),
            ).balance()
            self._write(after)
        return after

    def _insert(self, rows: Sequence[Row]) -> None:
        self._writer.executemany(
            "INSERT INTO waiting VALUES (?, ?, ?, ?, ?)",
            [(row.id, row.stored_at_s, row.size_bytes, row.topic, row.payload) for row in rows],
        )

    def _drop_oldest(self, changes: Counter[str], max_more_bytes: int, expire_before_s: float) -> None:
        """Delete the oldest rows: those that are too old, then those that do not fit."""
        last = 0
        for one, stored_at_s, size in self._writer.execute(
            "SELECT id, stored_at_s, size_bytes FROM waiting ORDER BY id"
        ):
            self._check(is_time(stored_at_s) and is_count(size))
            if stored_at_s < expire_before_s:
                column = "dropped_by_age"
            elif changes["pending_bytes"] > max_more_bytes:
                column = "dropped_by_size"
            else:
                break
            changes.update({column: 1, "pending": -1, "pending_bytes": -size})
            last = one
        if last:
            self._writer.execute("DELETE FROM waiting WHERE id <= ?", (last,))

    def oldest_s(self) -> float:
        """When the oldest row was stored, on the outbox's clock; infinity without rows. For the writing thread."""
        with translate_errors(self._path):
            found = self._writer.execute("SELECT stored_at_s FROM waiting ORDER BY id LIMIT 1").fetchone()
        if found is None:
            return float("inf")
        self._check(is_time(found[0]))
        return float(found[0])

    def _check(self, is_possible: bool) -> None:
        """Refuse values that were read from a row; values that are written are not looked at."""
        if not is_possible:
            raise StoreDamaged(f"{self._path}: a row holds impossible values")

    def _write(self, ledger: Ledger) -> None:
        self._writer.execute(UPSERT, astuple(ledger))

    def read(self, after_id: int, limit: int) -> Found:
        """Committed rows with a greater id, oldest first; callable from one other thread."""
        rows, unreadable, size = [], [], 0
        with translate_errors(self._path), self._reading:
            for values in self._reader.execute(
                f"{SELECT_ROWS} WHERE id > ? ORDER BY id LIMIT ?",
                (after_id, limit),
            ):
                row = parse_row(values)
                if row is None:
                    unreadable.append(values[0])
                    continue
                rows.append(row)
                size += row.size_bytes
                if size >= READ_BYTES:
                    return Found(rows, unreadable, is_end=False)
        return Found(rows, unreadable, is_end=len(rows) + len(unreadable) < limit)

    def close(self) -> None:
        """Close both connections; errors no longer matter, the last commit is on the disk."""
        self._account_file.close()
        with self._reading:
            for connection in (self._reader, self._writer):
                with suppress(sqlite3.Error):
                    connection.close()
