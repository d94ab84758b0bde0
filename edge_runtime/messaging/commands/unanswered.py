"""Changes that were begun and are not answered yet, on disk: after a kill their callers hear of that unasked.

```
commands.begun/17.json   {"verb": "rollback", "arguments": {...}, "by": "anna", "transaction": "one", "used_as": ...,
                          "at": ..., "response_topic": ..., "correlation": "<base64>"}
```
A file is there from before the change acts until its answer was handed to the client. A kill leaves it for the next
start: the log of commands may say how the change ended; else nobody knows, and the log gets a line that says so.
"""

import base64
import binascii
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from calibration.stats.regular_file import read_regular
from edge_runtime.errors import StateError
from edge_runtime.messaging.commands.answers import encode_error
from edge_runtime.messaging.commands.protocol import Entry, UsedTransactions
from edge_runtime.messaging.commands.request import Transaction
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.own_folder import make_folder
from edge_runtime.system.redaction import PROCESS

log = structlog.get_logger()

FOLDER = "commands.begun"
MOST_FILES = 64
"""That a start reads; more are never under way."""
MOST_BYTES = 256 * 1024
NOT_KNOWN = (
    "the daemon ended unexpectedly while this was being done, so it is not known whether it was; it is not done again: "
    "ask for the 'status'"
)
NOT_ANSWERED = (
    "the daemon ended unexpectedly before it could answer this; its log of commands says: {outcome}"
)


@dataclass(frozen=True, slots=True)
class UnansweredRequest:
    """A change that was begun, and whom to answer."""

    verb: str
    arguments: dict[str, Any]
    by: str | None
    transaction: str | int | None
    used_as: Transaction | None
    at: str
    """RFC 3339."""
    response_topic: str | None
    correlation: bytes | None

    def is_in(self, entry: Mapping[str, Any]) -> bool:
        """Whether a line of the log of commands is about it; of one without a transaction nobody can tell."""
        if self.transaction is None:
            return False
        named = entry["verb"], entry["by"], entry["transaction"]
        return named == (self.verb, self.by, self.transaction) and entry["at"] >= self.at

    def make_entry(self, at_wall_s: float, outcome: str) -> Entry:
        """A line for the log of commands."""
        return Entry(at_wall_s, self.by, self.verb, self.arguments, self.transaction, outcome)


class Unanswered:
    """The files of one state directory; may be shared by threads."""

    def __init__(self, folder: Path) -> None:
        """Call :meth:`settle` before anything is begun."""
        self._folder, self._numbers = folder, itertools.count(1)
        self._settled = deque[tuple[UnansweredRequest, bytes]]()

    def begin(self, request: UnansweredRequest) -> int | None:
        """Note it durably; gives its number. A disk that refuses stops no command: None, and the log says so."""
        number = next(self._numbers)
        cleaned = replace(request, arguments=PROCESS.value(request.arguments))
        content = {**asdict(cleaned), "correlation": _encode(request.correlation)}
        try:
            make_folder(self._folder)
            write_atomically(self._path(number), orjson.dumps(content))
        except (OSError, StateError) as err:
            log.error("command not noted before it was done", verb=request.verb, reason=str(err))
            return None
        return number

    def end(self, number: int | None) -> None:
        """It was answered."""
        if number is not None:
            with suppress(OSError):
                self._path(number).unlink(missing_ok=True)

    def settle(
        self,
        read_entries: Callable[[], Iterable[Mapping[str, Any]]],
        used: UsedTransactions,
        note: Callable[[Entry], None],
        now_wall_s: float,
    ) -> None:
        """Decide what the callers hear whose changes an earlier process left, also when they repeat them.

        Args:
            read_entries: Of the log of commands; called only where something was left.
            used: Keeps the answers.
            note: Adds to the log of commands.
            now_wall_s: POSIX time.
        """
        left, entries = self._find(), tuple[Mapping[str, Any], ...]()
        with suppress(OSError):
            entries = tuple(read_entries()) if left else ()
        for file, request in left.items():
            if request is not None:
                outcome = next((one["outcome"] for one in reversed(entries) if request.is_in(one)), None)
                if outcome is None:
                    note(request.make_entry(now_wall_s, NOT_KNOWN))
                text = NOT_KNOWN if outcome is None else NOT_ANSWERED.format(outcome=outcome)
                answer = encode_error(text, request.transaction)
                if request.used_as is not None:
                    used.finish(request.used_as, answer)
                self._settled.append((request, answer))
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def take_answers(self) -> Iterator[tuple[UnansweredRequest, bytes]]:
        """Those that were settled, each once."""
        with suppress(IndexError):
            while True:
                yield self._settled.popleft()

    def _find(self) -> dict[Path, UnansweredRequest | None]:
        """In the order in which they were begun; None is one that cannot be read."""
        files = sorted(self._folder.glob("*.json"), key=lambda file: (len(file.name), file.name))
        return {file: _read(file) for file in files[:MOST_FILES]}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number}.json"


def _read(path: Path) -> UnansweredRequest | None:
    try:
        content = orjson.loads(read_regular(path, MOST_BYTES))
        used_as, correlation = content["used_as"], content["correlation"]
        content["used_as"] = tuple(used_as) if isinstance(used_as, list) else used_as
        content["correlation"] = None if correlation is None else base64.b64decode(correlation)
        return UnansweredRequest(**content)
    except (OSError, ValueError, KeyError, TypeError, binascii.Error):
        return None


def _encode(correlation: bytes | None) -> str | None:
    return None if correlation is None else base64.b64encode(correlation).decode()
