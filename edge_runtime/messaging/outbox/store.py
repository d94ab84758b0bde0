"""The SQLite file behind the outbox: rows that wait, and a ledger that accounts for every row ever offered.

All SQL of the outbox is here, no policy. One thread writes, another may read. sqlite3's errors leave as
:class:`StoreDamaged` or :class:`StoreUnavailable`.

Rows and ledger change in the same transaction, so after any crash ``enqueued == delivered + dropped + pending``.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

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
        is_damage = any(text in str(err) for text in ("no such", "decode to UTF-8"))
        if code in _DAMAGE or (isinstance(err, sqlite3.DatabaseError) and is_damage):
            raise StoreDamaged(f"{path}: {err}") from err
        name = getattr(err, "sqlite_errorname", type(err).__name__)
        raise StoreUnavailable(f"{path}: {err} ({name})", is_full=code == sqlite3.SQLITE_FULL) from err


_MAX_COUNT = 2**62
_MAX_S = 2.0**40
"""A greater float of seconds does not tell milliseconds apart."""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < _MAX_COUNT


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and -_MAX_S < value < _MAX_S


def _select_readable(found: Sequence[Any]) -> dict[str, Any]:
    """The columns of the ledger whose values are possible, by name."""
    least = {"next_id": 1}
    return {
        name: value
        for name, value in zip(_COLUMNS, found, strict=True)
        if (_is_time if name.endswith("_s") else _is_count)(value) and value >= least.get(name, 0)
    }


def _is_possible(found: Sequence[Any]) -> bool:
    """Whether these are the values of a ledger, whose sums can be written too."""
    readable = _select_readable(found)
    return len(readable) == len(_COLUMNS) and _is_count(Ledger(**readable).balance().enqueued)


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
        ledger = self.ledger()
        first, last = self._writer.execute(
            "SELECT COALESCE((SELECT MIN(id) FROM waiting), 1), COALESCE((SELECT MAX(id) FROM waiting), 0)"
        ).fetchone()
        most = last - first + 1
        if not (first >= 1 and last < ledger.next_id and min(most, 1) <= ledger.pending <= most):
            raise StoreDamaged(f"{self._path}: the ledger is not that of the rows")

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
        if not _is_possible(found):
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
        with _translate_errors(self._path), self._transaction():
            self._writer.executemany(
                "INSERT INTO waiting VALUES (?, ?, ?, ?, ?)",
                [(row.id, row.stored_at_s, row.size_bytes, row.topic, row.payload) for row in commit.rows],
            )
            for one, outcome in commit.outcomes.items():
                statement = "DELETE FROM waiting WHERE id = ? RETURNING size_bytes"
                for (size,) in self._writer.execute(statement, (one,)).fetchall():
                    self._check(_is_count(size))
                    changes.update({outcome: 1, "pending": -1, "pending_bytes": -size})
            self._drop_oldest(changes, max_bytes - commit.ledger.pending_bytes, expire_before_s)
            after = commit.ledger.add(changes)
            if after.pending < 0 or after.pending_bytes < 0 or (after.pending_bytes and not after.pending):
                raise StoreDamaged(f"{self._path}: the ledger is not that of the rows")
            self._write(after)
        return after

    def _drop_oldest(self, changes: Counter[str], max_more_bytes: int, expire_before_s: float) -> None:
        """Delete the oldest rows: those that are too old, then those that do not fit."""
        last = 0
        for one, stored_at_s, size in self._writer.execute(
            "SELECT id, stored_at_s, size_bytes FROM waiting ORDER BY id"
        ):
            self._check(_is_time(stored_at_s) and _is_count(size))
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
        if found is None:
            return float("inf")
        self._check(_is_time(found[0]))
        return float(found[0])

    def _check(self, is_possible: bool) -> None:
        """Refuse values that were read from a row; values that are written are not looked at."""
        if not is_possible:
            raise StoreDamaged(f"{self._path}: a row holds impossible values")

    def _write(self, ledger: Ledger) -> None:
        self._writer.execute(_UPSERT, tuple(getattr(ledger, name) for name in _COLUMNS))

    def read(self, after_id: int, limit: int) -> list[Row]:
        """Committed rows with a greater id, oldest first; callable from one other thread."""
        with _translate_errors(self._path), self._reading:
            found = self._reader.execute(
                "SELECT id, topic, payload, stored_at_s FROM waiting WHERE id > ? ORDER BY id LIMIT ?",
                (after_id, limit),
            ).fetchall()
        for _, topic, payload, stored_at_s in found:
            self._check(isinstance(topic, str) and isinstance(payload, bytes) and _is_time(stored_at_s))
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
    new = _salvage(path)
    try:
        _move_aside(path, wall_s)
    except OSError as err:
        raise StoreUnavailable(f"{path}: cannot move the damaged file aside: {err}") from err
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
    """The ledger for the file after a damaged one: it continues the old one as far as that can be read.

    Pending rows are lost. Without a readable ``enqueued``, or when another addend is missing, it becomes the sum.
    """
    try:
        with closing(sqlite3.connect(path, timeout=0.5)) as connection:
            connection.text_factory = bytes  # text is never a value of the ledger, and may not be decodable
            readable = _select_readable(connection.execute(_SELECT).fetchone() or [None] * len(_COLUMNS))
    except sqlite3.Error:
        readable = {}
    past = Ledger(**readable)
    ends = {name for name in _COLUMNS if name.startswith(("delivered", "dropped"))}
    if "enqueued" not in readable or not ends <= readable.keys():
        past = replace(past, enqueued=0).balance()
    new = replace(past, pending=0, pending_bytes=0, files_damaged=past.files_damaged + 1).balance()
    return new if _is_possible([getattr(new, name) for name in _COLUMNS]) else Ledger(files_damaged=1)
