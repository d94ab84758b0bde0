"""Who commanded what: one JSON line for each change that was obeyed, each with the hash of the line before.

```
commands.log    {"number": 7, "at": ..., "by": "anna", "verb": "rollback", "arguments": {...}, "transaction": "one",
                 "outcome": "ok", "before": "<sha256 of line 6>"}
commands.log.1  the lines before those
```
A line that is changed, left out or put in between others breaks the chain from there on. Lines that are cut off at
either end do not, and who may write the file can make a whole new chain: so the hash of the newest line is in
``status``, where another program may note it and look for it later. A command that a kill cut short gets its line at
the next start (see ``unanswered``).
"""

import contextlib
import errno
import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from calibration.stats.regular_file import read_whole
from edge_runtime.messaging.commands.records import Entry
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.system.rfc3339 import format_rfc3339

log = structlog.get_logger()

LOG_FILE = "commands.log"
MAX_BYTES = 1024 * 1024
"""Of one file; two are kept."""
LONGEST_LINE = 256 * 1024
BEGINNING = "0" * 64
"""The hash before the first line."""
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class CommandLog:
    """The log of one state directory; may be shared by threads."""

    def __init__(self, path: Path) -> None:
        """Find the newest line. Never raises: what cannot be read now is tried again with the first entry."""
        self._path, self._lock = path, threading.Lock()
        self._handle: int | None = None
        self._number, self._head = 0, BEGINNING
        self._unwritten = 0
        with contextlib.suppress(OSError):
            self._continue(_lines(path))

    def describe(self) -> dict[str, str | int]:
        """``head``, the hash of the newest line, and ``unwritten``, entries that the disk refused since the start."""
        with self._lock:
            return {"head": self._head, "unwritten": self._unwritten}

    def note(self, entry: Entry) -> None:
        """Add an entry durably. A disk that refuses is logged and counted; the command was carried out all the same."""
        with self._lock:
            try:
                self._note(entry)
            except OSError as err:
                self._unwritten += 1
                self._close()
                log.error("command not noted", path=str(self._path), verb=entry.verb, reason=err.strerror)

    def close(self) -> None:
        """Free the file; idempotent."""
        with self._lock:
            self._close()

    def _note(self, entry: Entry) -> None:
        handle = self._open()
        content = {
            "number": self._number + 1,
            "at": format_rfc3339(entry.at_wall_s),
            "by": entry.by,
            "verb": entry.verb,
            "arguments": entry.arguments,
            "transaction": entry.transaction,
            "outcome": entry.outcome,
            "before": self._head,
        }
        line = encode_object(content)
        if os.fstat(handle).st_size + len(line) > MAX_BYTES:
            self._close()
            self._path.replace(_older(self._path))
            handle = self._open()
        if os.write(handle, line + b"\n") <= len(line):  # what was written is cut off when it is opened again
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(handle)
        self._number, self._head = self._number + 1, _hash(line)

    def _open(self) -> int:
        """The file to write; what a kill left of an unfinished line is cut off."""
        if self._handle is None:
            handle = os.open(self._path, _FLAGS, 0o600)
            try:
                text = os.pread(handle, os.fstat(handle).st_size, 0)
                whole = text[: text.rfind(b"\n") + 1]
                if len(whole) < len(text):
                    os.ftruncate(handle, len(whole))
                self._continue(whole.splitlines())
            except OSError:
                os.close(handle)
                raise
            self._handle = handle
        return self._handle

    def _continue(self, lines: list[bytes]) -> None:
        """Go on after the newest line of the file, or of the older one."""
        known = lines or _lines(_older(self._path))
        if known:
            self._head, self._number = _hash(known[-1]), _number_of(known[-1]) or self._number

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@dataclass(frozen=True, slots=True)
class ReadLog:
    """What was found in a log."""

    entries: tuple[dict[str, Any], ...]
    """Oldest first; up to the first that does not follow from the one before."""
    problem: str | None
    """Which line that is; None: all follow."""
    hashes: tuple[str, ...]
    """Of the lines of these entries; before them that of the line before the first. The last is the head."""


def read_log(path: Path) -> ReadLog:
    """Read every entry that is kept, and check each against the one before.

    Raises:
        OSError: a file cannot be read.
    """
    found = _read_once(path)
    # A change of files between the two looks as a change by another program.
    return found if found.problem is None else _read_once(path)


def _read_once(path: Path) -> ReadLog:
    entries, hashes, problem = list[dict[str, Any]](), list[str](), None
    for file in (_older(path), path):
        for position, line in enumerate(_lines(file), 1):
            entry = _follows(line, hashes[-1] if hashes else None, entries[-1]["number"] if entries else 0)
            if entry is None:
                changed = "it, or one before it, was changed, left out or put in by another program"
                problem = problem or f"{file} line {position} does not follow from the line before: {changed}"
                break
            hashes += [_hash(line)] if hashes else [str(entry["before"]), _hash(line)]
            entries.append(entry)
        if problem is not None:
            break
    return ReadLog(tuple(entries), problem, tuple(hashes or [BEGINNING]))


def _follows(line: bytes, before: str | None, number: int) -> dict[str, Any] | None:
    """The entry, when it comes after the one with this hash and number, or may be the oldest that is kept."""
    try:
        entry = orjson.loads(line)
        is_first = before is None and (entry["number"] > 1 or entry["before"] == BEGINNING)
        is_next = entry["before"] == before and entry["number"] == number + 1
    except (ValueError, KeyError, TypeError):
        return None
    return entry if isinstance(entry, dict) and (is_first or is_next) else None


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _lines(path: Path) -> list[bytes]:
    """Whole ones."""
    try:
        text = read_whole(path, MAX_BYTES + LONGEST_LINE)
        return text[: text.rfind(b"\n") + 1].splitlines()
    except FileNotFoundError:
        return []


def _number_of(line: bytes) -> int | None:
    try:
        found = orjson.loads(line)["number"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
