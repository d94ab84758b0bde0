"""The first page of an outbox file: what is wrong in it is seen here, and it can be written anew.

It is the same in all of them but for a few counters (SQLite, "Database File Format"), and without it SQLite reads
nothing of the other pages.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from calibration.stats.regular_file import read_regular

_HEADER_BYTES, _JOURNAL_HEADER_BYTES = 100, 32
_JOURNAL_MAGIC = (bytes.fromhex("377f0682"), bytes.fromhex("377f0683"))
"""SQLite, "WAL-mode file format"."""
_CONSTANT = (slice(0, 18), slice(20, 24), slice(44, 48), slice(52, 60), slice(64, 68), slice(72, 92))
"""Magic and page size, payload fractions, schema format, vacuum and encoding, vacuum again, zeros."""
_PAGE_BYTES, _JOURNALING, _PAGE_COUNT, _USER_VERSION = (
    slice(16, 18),
    slice(18, 20),
    slice(28, 32),
    slice(60, 64),
)
_CHANGES, _CHANGES_AGAIN = slice(24, 28), slice(92, 96)
_SET_BY_FIRST_TABLE = (slice(44, 48), slice(56, 60), _USER_VERSION)
"""Schema format, encoding, and our version: zero until the first transaction is copied out of the journal."""
_MOST_VERSION = 255
"""A greater format version is damage: the format does not change that often."""


def find_page_bytes(path: Path) -> int | None:
    """How large a page is, when what the file says of it is so with its length."""
    with suppress(OSError):
        size, header = path.stat().st_size, read_regular(path, _HEADER_BYTES)
        said = int.from_bytes(header[_PAGE_BYTES])
        if said and said * int.from_bytes(header[_PAGE_COUNT]) == size:
            return said
    return None


def make_first_page(path: Path, empty: bytes) -> bytes:
    """The right first page of a file with WAL journaling, from that of one without rows."""
    size = 0
    with suppress(OSError):
        size = path.stat().st_size
    page = bytearray(empty)
    page[_JOURNALING] = b"\2\2"
    page[_PAGE_COUNT] = max(1, size // len(page)).to_bytes(4)  # rows in a page that was cut would be too
    page[_CHANGES_AGAIN] = page[_CHANGES]  # else the number of pages is not believed
    return bytes(page)


def find_fault(path: Path, right: bytes) -> str | None:
    """What is wrong in the constant fields of a file's header; None for a file that is whole, empty or too new.

    Args:
        path: The file.
        right: The page that :func:`make_first_page` gives for it.

    Raises:
        OSError: the file cannot be read, or is no regular file.
    """
    header = read_regular(path, _HEADER_BYTES)
    if not header:
        return None
    if len(header) < _HEADER_BYTES:
        return f"has {len(header)} bytes, which is less than a header"
    if find_page_bytes(path) == path.stat().st_size:  # one page: tables, if any, are in the journal
        blank = _without_tables(right)
        if all(header[part] == blank[part] for part in (*_CONSTANT, *_SET_BY_FIRST_TABLE)):
            return None
    version = int.from_bytes(header[_USER_VERSION])
    is_changed = any(header[part] != right[part] for part in _CONSTANT)
    if int.from_bytes(right[_USER_VERSION]) < version <= _MOST_VERSION and header[:16] == right[:16]:
        return None  # of a newer version of this program, which may write other pages
    if is_changed or not set(header[_JOURNALING]) <= {1, 2}:
        return "has a damaged header"
    return None if 0 < version <= _MOST_VERSION else f"has format version {version}"


def _without_tables(page: bytes) -> bytes:
    """What SQLite writes before the first table, and a kill soon after the first start leaves."""
    blank = bytearray(page)
    for part in _SET_BY_FIRST_TABLE:
        blank[part] = bytes(4)
    return bytes(blank)


def has_journal(path: Path) -> bool:
    """Whether there is a journal that SQLite would read.

    Raises:
        OSError: it cannot be read.
    """
    journal = _journal(path)
    if not journal.is_file() or journal.stat().st_size <= _JOURNAL_HEADER_BYTES:
        return False
    return read_regular(journal, 4) in _JOURNAL_MAGIC


def has_damaged_journal(path: Path) -> bool:
    """Whether there is a journal that SQLite would pass over without a word.

    Raises:
        OSError: it cannot be read.
    """
    journal = _journal(path)
    return journal.is_file() and journal.stat().st_size >= _JOURNAL_HEADER_BYTES and not has_journal(path)


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


@contextmanager
def rebuilt(path: Path, page: bytes) -> Iterator[None]:
    """Give a damaged file a right first page for a while, so that SQLite reads what it can of the others.

    SQLite reads nothing at all of a file that is shorter than its first page says. Afterwards the file is what was
    found, unless a journal was written into it.
    """
    found, size, must_keep = b"", 0, False
    with suppress(OSError), path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        found = file.read(len(page))
        must_keep = not has_journal(path)
        file.seek(0)
        file.write(page)
    try:
        yield
    finally:
        if must_keep:  # what is kept for people is what was found
            with suppress(OSError), path.open("r+b") as file:
                file.write(found)
                file.truncate(size)
