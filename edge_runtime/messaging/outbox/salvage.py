"""Opens the outbox file; when it is damaged, saves its rows into a new one."""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import structlog

from edge_runtime.messaging.outbox.account_file import AccountFile
from edge_runtime.messaging.outbox.file_format import (
    SCHEMA,
    SCHEMA_VERSION,
    SELECT,
    SELECT_ROWS,
    UPSERT,
    StoreDamaged,
    StoreUnavailable,
    add_rows,
    continue_ledger,
    is_possible,
    parse_row,
    translate_errors,
)
from edge_runtime.messaging.outbox.first_page import (
    find_fault,
    find_page_bytes,
    has_damaged_journal,
    has_journal,
    make_first_page,
    rebuilt,
)
from edge_runtime.messaging.outbox.ledger import Ledger, Row
from edge_runtime.messaging.outbox.store import Store

log = structlog.get_logger()

KEPT_DAMAGED_BYTES = 256 * 2**20
KEPT_DAMAGED_FILES = 8
BATCH_BYTES = 8 * 2**20
"""So much of the saved rows is committed at a time."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file, its ledger, and what was lost before it could be opened."""

    store: Store
    ledger: Ledger
    damage: str | None = None
    """A sentence for people; None when the file was whole."""


def open_or_replace(path: Path, wall_s: float, damage: str | None) -> Opened:
    """Open the file; repair it when it is damaged (or known to be), or else save its rows into a new one.

    The file that cannot be repaired is moved aside. The new one continues its ledger as far as that could be read:
    ``files_damaged`` is one higher, and the rows that are lost are ``dropped_by_damage``. The same is done with a file
    that is whole but older than its account file.

    Raises:
        StoreTooNew: a newer version of this program wrote the file.
        StoreUnavailable: nothing of that is possible now.
    """
    if not path.exists() and _fresh(path).is_file():  # it was complete, and the old one moved aside
        with suppress(OSError):
            _fresh(path).rename(path)
    # A file that was moved away took its account with it.
    seen = AccountFile(path).read(is_possible) if path.exists() else None
    store, happened, lost = _open_or_replace(path, wall_s, must_repair=damage is not None)
    ledger = store.ledger()
    if seen is not None:
        lost = lost or 0
        if ledger.enqueued < seen.ledger.enqueued or ledger.next_id < seen.ledger.next_id:
            ledger = store.go_on_from(seen)
            lost = ledger.dropped_by_damage - seen.ledger.dropped_by_damage
            happened = happened or "lacks what was written last"
    store.note_account(ledger)
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
        made.executescript(SCHEMA)
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
    with rebuilt(path, page), translate_errors(fresh), closing(_create(fresh)) as target:
        past, found = Ledger(files_damaged=1), None
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0.5)) as source:
            source.text_factory = bytes  # text may not be decodable
            with suppress(sqlite3.Error, UnicodeDecodeError):
                found = source.execute(SELECT).fetchone()
            past = continue_ledger(found)
            for order in ("ASC", "DESC"):
                if not _copy_rows(_read_rows(source, order), target, past.clock_s):
                    break
        pending, size, last = target.execute(
            "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0), COALESCE(MAX(id), 0) FROM waiting"
        ).fetchone()
        after = add_rows(past, pending, size, last)
        if not is_possible(astuple(after)):
            after = add_rows(Ledger(files_damaged=1), pending, size, last)
        target.execute(UPSERT, astuple(after))
        target.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        target.commit()
        lost = max(0, after.dropped_by_damage - past.dropped_by_damage)
        return int(pending), lost if found is not None and is_possible(found) else None


def _create(fresh: Path) -> sqlite3.Connection:
    """An outbox file without rows. Its journal is in memory: a half-written file is thrown away."""
    target = sqlite3.connect(fresh, timeout=0.5)
    with ExitStack() as on_failure:
        on_failure.callback(target.close)
        target.execute("PRAGMA journal_mode = MEMORY")
        target.execute("PRAGMA cache_size = -1024")
        target.executescript(SCHEMA)
        target.execute(UPSERT, astuple(Ledger()))
        target.commit()
        on_failure.pop_all()
    return target


def _read_rows(source: sqlite3.Connection, order: str) -> Iterator[Row]:
    """The rows of a damaged file from one end, as far as they can be read."""
    with suppress(sqlite3.Error, MemoryError, UnicodeDecodeError):
        for values in source.execute(f"{SELECT_ROWS} ORDER BY id {order}"):
            row = parse_row(values)
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
            if size >= BATCH_BYTES:
                target.commit()
                size = 0
        target.commit()
    except sqlite3.OperationalError as err:
        if err.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise
        target.rollback()
        return False
    return True
