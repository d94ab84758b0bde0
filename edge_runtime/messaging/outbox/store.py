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
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import structlog

from edge_runtime.messaging.outbox.account import Commit
from edge_runtime.messaging.outbox.first_page import (
    find_fault,
    find_page_bytes,
    has_damaged_journal,
    has_journal,
    make_first_page,
    rebuilt,
)
from edge_runtime.messaging.outbox.ledger import ROW_OVERHEAD_BYTES, Ledger, Row
from edge_runtime.messaging.outbox.witness import Seen, Witness

log = structlog.get_logger()

SCHEMA_VERSION = 1
READ_BYTES = 8 * 2**20
"""So much is read at a time; at least one row."""
KEPT_DAMAGED_BYTES = 256 * 2**20
KEPT_DAMAGED_FILES = 8

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


@dataclass(frozen=True, slots=True)
class Found:
    """What was read from the file."""

    rows: list[Row]
    unreadable: list[int]
    """Ids of rows whose values are impossible."""
    is_end: bool
    """False when there may be more rows in the range, which were too many or too large."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file, its ledger, and what was lost before it could be opened."""

    store: "Store"
    ledger: Ledger
    damage: str | None = None
    """A sentence for people; None when the file was whole."""


_COLUMNS = [column.name for column in fields(Ledger)]
_UPSERT = f"INSERT OR REPLACE INTO ledger(only_row, {', '.join(_COLUMNS)}) VALUES (1{', ?' * len(_COLUMNS)})"  # noqa: S608
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM ledger"  # noqa: S608 - names of our own fields


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
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


def _words(sql: object) -> list[bytes]:
    return sql.split() if isinstance(sql, bytes) else []


_MAX_COUNT = 2**62
_MAX_S = 2.0**40
"""A greater float of seconds does not tell milliseconds apart."""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and 0 <= value < _MAX_COUNT


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and -_MAX_S < value < _MAX_S


def _parse_row(values: Sequence[Any]) -> Row | None:
    """A row from (id, topic as bytes, payload, stored_at_s); None when a value is impossible.

    A row is not lost for its time alone: it counts as old as the outbox until the file is repaired.
    """
    one, topic, payload, stored_at_s = values
    if not (_is_count(one) and one and isinstance(payload, bytes)):
        return None
    try:
        return Row(one, topic.decode(), payload, stored_at_s if _is_time(stored_at_s) else 0.0)
    except (AttributeError, UnicodeDecodeError):
        return None


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
        self._witness = Witness(path)
        self._reading = threading.Lock()  # a reader must not be in the file while it is closed
        with _translate_errors(path):
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
                for statement in _SCHEMA.split(";"):
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
        if found != [_words(sql.encode()) for sql in _SCHEMA.split(";")[:-1]]:
            raise StoreDamaged(f"{self._path}: its tables are not those of an outbox")
        if must_repair or not self._is_consistent():
            self._repair()

    def _is_consistent(self) -> bool:
        """Whether the ledger may be that of the rows; a look at the first and the last one."""
        found = self._writer.execute(_SELECT).fetchone()
        if found is None or not _is_possible(found):
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
        before = -_MAX_COUNT * 2 - 1
        pending: Counter[str] = Counter()
        for values in self._writer.execute("SELECT id, topic, payload, stored_at_s FROM waiting ORDER BY id"):
            if values[0] is None or values[0] <= before:  # it could not be found to delete it
                raise StoreDamaged(f"{self._path}: the rows are not in the order of their ids")
            before = values[0]
            row = _parse_row(values)
            if row is None:
                bad.append((values[0],))
            else:
                last = row.id
                pending.update(pending=1, pending_bytes=row.size_bytes)
        found = self._writer.execute(_SELECT).fetchone()
        past = _continue(found)
        after = replace(
            past,
            pending=pending["pending"],
            pending_bytes=pending["pending_bytes"],
            next_id=max(past.next_id, last + 1),
        ).balance()
        with self._transaction():
            self._writer.executemany("DELETE FROM waiting WHERE id = ?", bad)
            # A size is what a row counts for; one that was wrong would make the sum wrong later.
            size = f"length(CAST(topic AS BLOB)) + length(payload) + {ROW_OVERHEAD_BYTES}"
            self._writer.execute(f"UPDATE waiting SET size_bytes = {size} WHERE size_bytes IS NOT {size}")  # noqa: S608
            self._writer.execute(
                "UPDATE waiting SET stored_at_s = ?"
                " WHERE typeof(stored_at_s) NOT IN ('integer', 'real') OR abs(stored_at_s) >= ?",
                (after.clock_s, _MAX_S),
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
        with _translate_errors(self._path):
            found = self._writer.execute(_SELECT).fetchone()
        if found is None or not _is_possible(found):
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
            self._insert(commit.rows)
            for one, outcome in commit.outcomes.items():
                statement = "DELETE FROM waiting WHERE id = ? RETURNING size_bytes"
                for (size,) in self._writer.execute(statement, (one,)).fetchall():
                    self._check(_is_count(size))
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
        self.tell_witness(after)
        return after

    def tell_witness(self, ledger: Ledger) -> None:
        """Note beside the file what it holds after a commit."""
        with suppress(sqlite3.Error):
            first = self._find_first_id()
            self._witness.write(Seen(ledger, ledger.next_id if first is None else first))

    def _find_first_id(self) -> int | None:
        (first,) = self._writer.execute("SELECT MIN(id) FROM waiting").fetchone()
        return None if first is None else int(first)

    def go_on_from(self, seen: Seen) -> Ledger:
        """Take the account of a later state than the file's, and count the rows that it had and the file has not.

        Rows of the file that left it in between come again: they count as enqueued once more.
        """
        with _translate_errors(self._path), self._transaction():
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

    def read(self, after_id: int, limit: int) -> Found:
        """Committed rows with a greater id, oldest first; callable from one other thread."""
        rows, unreadable, size = [], [], 0
        with _translate_errors(self._path), self._reading:
            for values in self._reader.execute(
                "SELECT id, topic, payload, stored_at_s FROM waiting WHERE id > ? ORDER BY id LIMIT ?",
                (after_id, limit),
            ):
                row = _parse_row(values)
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
        self._witness.close()
        with self._reading:
            for connection in (self._reader, self._writer):
                with suppress(sqlite3.Error):
                    connection.close()


def open_or_replace(path: Path, wall_s: float, damage: str | None) -> Opened:
    """Open the file; repair it when it is damaged (or known to be), or else save its rows into a new one.

    The file that cannot be repaired is moved aside. The new one continues its ledger as far as that could be read:
    ``files_damaged`` is one higher, and the rows that are lost are ``dropped_by_damage``. The same is done with a file
    that is whole but older than its witness.

    Raises:
        StoreTooNew: a newer version of this program wrote the file.
        StoreUnavailable: nothing of that is possible now.
    """
    if not path.exists() and _fresh(path).is_file():  # it was complete, and the old one moved aside
        with suppress(OSError):
            _fresh(path).rename(path)
    # A file that somebody moved away took its account with it.
    seen = Witness(path).read(_is_possible) if path.exists() else None
    store, happened, lost = _open_or_replace(path, wall_s, must_repair=damage is not None)
    ledger = store.ledger()
    if seen is not None:
        lost = lost or 0
        if ledger.enqueued < seen.ledger.enqueued or ledger.next_id < seen.ledger.next_id:
            ledger = store.go_on_from(seen)
            lost = ledger.dropped_by_damage - seen.ledger.dropped_by_damage
            happened = happened or "lacks what was written last"
    store.tell_witness(ledger)
    if happened is None:
        return Opened(store, ledger)
    log.error("outbox file was damaged", path=str(path), what=happened, rows_lost=lost)
    how_much = "how much is lost is not known" if lost is None else f"{lost} are known to be lost"
    return Opened(store, ledger, f"{path.name} {happened}; of its rows {how_much}")


def _open_or_replace(path: Path, wall_s: float, must_repair: bool) -> tuple[Store, str | None, int | None]:
    """A store, what happened to its file (None: nothing), and how many rows were lost (None: not known)."""
    suspicion, must_replace = _suspect(path)
    if must_replace and suspicion is not None:
        return _replace(path, wall_s, suspicion)
    try:
        store = Store(path, must_repair=must_repair)
        store.ledger()
    except StoreDamaged as err:
        return _replace(path, wall_s, str(err))
    if store.repaired_rows is not None:
        return store, "was damaged and is repaired", store.repaired_rows
    return store, suspicion, None


def _suspect(path: Path) -> tuple[str | None, bool]:
    """What SQLite would not say (None when all looks well), and whether it could not read the file for it."""
    try:
        if not path.exists():
            return None, False
        fault = find_fault(path, _make_first_page(path))
        if fault is not None:
            return fault, True
        if path.stat().st_size == 0:
            return "was empty", has_journal(path)  # SQLite deletes the journal of an empty file
        return ("had a damaged journal" if has_damaged_journal(path) else None), False
    except OSError:
        return None, False  # opening it says why


def _make_first_page(path: Path) -> bytes:
    """What the first page of this file should be."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.execute(f"PRAGMA page_size = {find_page_bytes(path) or 0}")  # SQLite passes over impossible ones
        made.executescript(_SCHEMA)
        made.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        (page_bytes,) = made.execute("PRAGMA page_size").fetchone()
        return make_first_page(path, made.serialize()[:page_bytes])


def _replace(path: Path, wall_s: float, reason: str) -> tuple[Store, str, int | None]:
    """Move the file aside and make a new one with the rows that can still be read.

    The new one is complete before the damaged file is touched: a kill in between loses no row.
    """
    fresh = _fresh(path)
    try:
        fresh.unlink(missing_ok=True)
        saved, lost = _salvage(path, fresh)
        aside = _move_aside(path, wall_s)
        fresh.rename(path)
    except OSError as err:
        raise StoreUnavailable(f"{path}: cannot replace the damaged file: {err}") from err
    log.error("outbox file is replaced", reason=reason, aside=aside.name, rows_saved=saved)
    return Store(path), f"was damaged, {saved} rows were saved", lost


def _fresh(path: Path) -> Path:
    """The file that is to take the place of a damaged one."""
    return path.with_name(f"{path.name}.new")


def _move_aside(path: Path, wall_s: float) -> Path:
    """Rename a damaged file and its journals; older ones are deleted when all together are too large or too many."""
    aside = path.with_name(f"{path.name}.damaged-{int(wall_s)}")
    number = 0
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{int(wall_s)}.{number}")
    moved = 0
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            moved += part.stat().st_size
            part.rename(aside.with_name(aside.name + suffix))
    others = [
        one
        for one in path.parent.glob(f"{path.name}.damaged-*")
        if one.is_file() and not one.name.startswith(aside.name)
    ]
    others.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    for count, one in enumerate(others, start=1):
        moved += one.stat().st_size
        if moved > KEPT_DAMAGED_BYTES or count > KEPT_DAMAGED_FILES:
            with suppress(OSError):
                one.unlink()
    return aside


def _salvage(path: Path, fresh: Path) -> tuple[int, int | None]:
    """Write a new file with the rows of a damaged one that can be read from both ends.

    Returns:
        How many were saved, and how many were lost; None without an account.

    One row is in memory at a time. Where the disk is full the rest of the rows is lost; the damaged file, which is
    kept, has them. The ledger continues the old one as far as that can be read. Without a readable ``enqueued``, or
    when another addend is missing, it becomes the sum.
    """
    page = _make_first_page(path)
    with rebuilt(path, page), _translate_errors(fresh), closing(_create(fresh)) as target:
        past, found = Ledger(files_damaged=1), None
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0.5)) as source:
            source.text_factory = bytes  # text may not be decodable
            with suppress(sqlite3.Error, UnicodeDecodeError):
                found = source.execute(_SELECT).fetchone()
            past = _continue(found)
            for order in ("ASC", "DESC"):
                if not _copy_rows(_read_rows(source, order), target, past.clock_s):
                    break
        pending, size, last = target.execute(
            "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0), COALESCE(MAX(id), 0) FROM waiting"
        ).fetchone()
        after = replace(
            past, pending=pending, pending_bytes=size, next_id=max(past.next_id, last + 1)
        ).balance()
        if not _is_possible([getattr(after, name) for name in _COLUMNS]):
            after = Ledger(files_damaged=1, pending=pending, pending_bytes=size, next_id=last + 1).balance()
        target.execute(_UPSERT, tuple(getattr(after, name) for name in _COLUMNS))
        target.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        target.commit()
        lost = max(0, after.dropped_by_damage - past.dropped_by_damage)
        return int(pending), lost if found is not None and _is_possible(found) else None


def _create(fresh: Path) -> sqlite3.Connection:
    """An outbox file without rows. Its journal is in memory: a half-written file is thrown away."""
    target = sqlite3.connect(fresh, timeout=0.5)
    try:
        target.execute("PRAGMA journal_mode = MEMORY")
        target.execute("PRAGMA cache_size = -1024")
        target.executescript(_SCHEMA)
        target.execute(_UPSERT, tuple(getattr(Ledger(), name) for name in _COLUMNS))
        target.commit()
    except BaseException:
        target.close()
        raise
    return target


def _read_rows(source: sqlite3.Connection, order: str) -> Iterator[Row]:
    """The rows of a damaged file from one end, as far as they can be read."""
    with suppress(sqlite3.Error, MemoryError, UnicodeDecodeError):
        for values in source.execute(
            f"SELECT id, topic, payload, stored_at_s FROM waiting ORDER BY id {order}"  # noqa: S608
        ):
            row = _parse_row(values)
            if row is not None:
                yield row


def _copy_rows(rows: Iterator[Row], target: sqlite3.Connection, default_s: float) -> bool:
    """Write rows until one is there already; False when the disk is full."""
    size = 0
    try:
        for row in rows:
            stored_at_s = row.stored_at_s or default_s
            values = (row.id, stored_at_s, row.size_bytes, row.topic, row.payload)
            if not target.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?, ?)", values).rowcount:
                break
            size += row.size_bytes
            if size >= READ_BYTES:
                target.commit()
                size = 0
        target.commit()
    except sqlite3.OperationalError as err:
        if err.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise
        target.rollback()
        return False
    return True


def _continue(found: Sequence[Any] | None) -> Ledger:
    """The ledger after a damage, without pending rows: what can be read goes on."""
    readable = _select_readable(found or [None] * len(_COLUMNS))
    past = Ledger(**readable)
    ends = {name for name in _COLUMNS if name.startswith(("delivered", "dropped"))}
    if "enqueued" not in readable or not ends <= readable.keys():
        past = replace(past, enqueued=0).balance()
    after = replace(past, files_damaged=past.files_damaged + 1)
    is_possible = _is_possible([getattr(after.balance(), name) for name in _COLUMNS])
    return after if is_possible else Ledger(files_damaged=1, next_id=past.next_id)
