"""The SQLite file behind the outbox: rows that wait, and a ledger that accounts for every row ever offered.

All SQL of the outbox is here, no policy. One thread writes, another may read. sqlite3's errors leave as
:class:`StoreDamaged` or :class:`StoreUnavailable`.

Rows and ledger change in the same transaction, so after any crash ``enqueued == delivered + dropped + pending``.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path

import structlog

from edge_runtime.messaging.outbox.account import Commit
from edge_runtime.messaging.outbox.ledger import Ledger, Row

log = structlog.get_logger()

SCHEMA_VERSION = 1

_SCHEMA = """
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

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA}


class StoreDamaged(Exception):
    """The file is not a readable outbox any more; it must be moved aside."""


class StoreUnavailable(Exception):
    """The file cannot be used now (disk full, I/O error, read-only, locked); trying again later may work."""

    def __init__(self, text: str, is_full: bool = False) -> None:
        self.is_full = is_full
        super().__init__(text)


_COLUMNS = [column.name for column in fields(Ledger)]
_UPSERT = f"INSERT OR REPLACE INTO ledger(only_row, {', '.join(_COLUMNS)}) VALUES (1{', ?' * len(_COLUMNS)})"  # noqa: S608
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM ledger"  # noqa: S608 - names of our own fields


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        code = getattr(err, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGE or (isinstance(err, sqlite3.DatabaseError) and "no such" in str(err)):
            raise StoreDamaged(f"{path}: {err}") from err
        name = getattr(err, "sqlite_errorname", type(err).__name__)
        raise StoreUnavailable(f"{path}: {err} ({name})", is_full=code == sqlite3.SQLITE_FULL) from err


class Store:
    """An open outbox file. Made, used for writing and closed by one thread; ``read`` may run in another."""

    def __init__(self, path: Path, new: Ledger = Ledger()) -> None:  # noqa: B008 - immutable
        """Open or create the file; ``new`` is the ledger of a file that is created.

        Raises:
            StoreDamaged: it is not an outbox of this version, or its ledger is gone.
            StoreUnavailable: it cannot be opened now.
        """
        self._path = path
        self._reading = threading.Lock()  # a reader must not be in the file while it is closed
        with _translate_errors(path):
            self._writer = self._connect()
            try:
                self._prepare(new)
                self._reader = self._connect()
            except BaseException:
                self._writer.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=2.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {8 * 2**20}")
            connection.execute("PRAGMA cache_size = -1024")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, new: Ledger) -> None:
        (version,) = self._writer.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    self._writer.execute(statement)
                self._write(new)
                self._writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise StoreDamaged(f"{self._path}: format version {version}, expected {SCHEMA_VERSION}")
        self.ledger()

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
        with _translate_errors(self._path):
            found = self._writer.execute(_SELECT).fetchone()
        if found is None:
            raise StoreDamaged(f"{self._path}: the ledger is empty")
        return Ledger(*found)

    def commit(self, commit: Commit, max_bytes: int, expire_before_s: float) -> Ledger:
        """Insert, delete and count in one durable transaction.

        Args:
            commit: Rows, verdicts and the ledger.
            max_bytes: The oldest rows go until the rest fits.
            expire_before_s: Rows that were stored earlier go.

        Returns:
            The ledger as committed.
        """
        sizes = [row.size_bytes for row in commit.rows]
        changes: Counter[str] = Counter(pending=len(sizes), pending_bytes=sum(sizes))
        with _translate_errors(self._path), self._transaction():
            self._writer.executemany(
                "INSERT INTO waiting VALUES (?, ?, ?, ?, ?)",
                [(row.id, row.stored_at_s, row.size_bytes, row.topic, row.payload) for row in commit.rows],
            )
            for one, verdict in commit.verdicts.items():
                statement = "DELETE FROM waiting WHERE id = ? RETURNING size_bytes"
                for (size,) in self._writer.execute(statement, (one,)).fetchall():
                    changes.update({verdict: 1, "pending": -1, "pending_bytes": -size})
            self._drop_oldest(changes, max_bytes - commit.ledger.pending_bytes, expire_before_s)
            after = commit.ledger.add(changes)
            self._write(after)
        return after

    def _drop_oldest(self, changes: Counter[str], max_more_bytes: int, expire_before_s: float) -> None:
        """Delete the oldest rows: those that are too old, then those that do not fit."""
        last = 0
        for one, stored_at_s, size in self._writer.execute(
            "SELECT id, stored_at_s, size_bytes FROM waiting ORDER BY id"
        ):
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
        with _translate_errors(self._path):
            found = self._writer.execute("SELECT stored_at_s FROM waiting ORDER BY id LIMIT 1").fetchone()
        return float("inf") if found is None else float(found[0])

    def _write(self, ledger: Ledger) -> None:
        self._writer.execute(_UPSERT, tuple(getattr(ledger, name) for name in _COLUMNS))

    def read(self, after_id: int, limit: int) -> list[Row]:
        """Committed rows with a greater id, oldest first; callable from one other thread."""
        with _translate_errors(self._path), self._reading:
            found = self._reader.execute(
                "SELECT id, topic, payload, stored_at_s FROM waiting WHERE id > ? ORDER BY id LIMIT ?",
                (after_id, limit),
            ).fetchall()
        if not all(isinstance(topic, str) and isinstance(payload, bytes) for _, topic, payload, _ in found):
            raise StoreDamaged(f"{self._path}: a row holds values of the wrong type")
        return [Row(*values) for values in found]

    def close(self) -> None:
        """Close both connections; errors no longer matter, the last commit is on the disk."""
        with self._reading:
            for connection in (self._reader, self._writer):
                with suppress(sqlite3.Error):
                    connection.close()


def open_or_replace(path: Path, wall_s: float, damage: str | None) -> tuple[Store, Ledger]:
    """Open the file, or move it aside when it is damaged (or known to be) and make a new one.

    Returns:
        The store and its ledger. A new file after damage continues the old ledger as far as it could be read:
        ``files_damaged`` is one higher, and the rows that were pending are ``dropped_by_damage``.

    Raises:
        StoreUnavailable: neither is possible now.
    """
    if damage is None:
        try:
            store = Store(path)
            return store, store.ledger()
        except StoreDamaged as err:
            damage = str(err)
    log.error("outbox file is damaged, moving it aside", reason=damage)
    past = _salvage(path)
    try:
        _move_aside(path, wall_s)
    except OSError as err:
        raise StoreUnavailable(f"{path}: cannot move the damaged file aside: {err}") from err
    new = replace(past, pending=0, pending_bytes=0, files_damaged=past.files_damaged + 1).balance()
    return Store(path, new), new


def _move_aside(path: Path, wall_s: float) -> None:
    """Rename a damaged file and its journals so that a new one can be made; only the newest damaged one is kept."""
    aside = path.with_name(f"{path.name}.damaged-{int(wall_s)}")
    for older in path.parent.glob(f"{path.name}.damaged-*"):
        older.unlink()
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))


def _salvage(path: Path) -> Ledger:
    """The ledger of a damaged file when it can still be read, else a new one: it keeps the loss countable."""
    try:
        with closing(sqlite3.connect(path, timeout=0.5)) as connection:
            found = connection.execute(_SELECT).fetchone()
    except sqlite3.Error:
        return Ledger()
    is_whole = found is not None and all(isinstance(value, int | float) and value >= 0 for value in found)
    return Ledger(*found) if is_whole else Ledger()
