"""Changes that were begun and are not answered yet, on disk: after a kill their callers hear of that unasked.

```
commands.begun/17.json   {"verb": "rollback", "arguments": {...}, "by": "anna", "transaction": "one", "used_as": ...,
                          "at": ..., "response_topic": ..., "correlation": "<base64>"}
```
A file is there from before the change acts until its answer was handed to the client. A kill leaves it for the next
start: the log of commands may say how the change ended; else nobody knows, and the log gets a line that says so. What
was decided is added to the file, which stays until the broker is there, over further starts.
"""

import base64
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import structlog

from calibration.stats.regular_file import read_regular
from edge_runtime.errors import StateError
from edge_runtime.messaging.commands.answers import encode_error
from edge_runtime.messaging.commands.callers import Door, Request
from edge_runtime.messaging.commands.records import Entry, UsedTransactions
from edge_runtime.messaging.commands.request import Transaction
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.own_folder import make_folder
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.rfc3339 import format_rfc3339

log = structlog.get_logger()

FOLDER = "commands.begun"
MOST_FILES = 64
"""That a start reads; more are never under way."""
MOST_BYTES = 1024 * 1024
"""Of a file: topic, arguments and correlation data may have 64 KiB each; JSON writes one character with up to 6."""
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
    told: str | None = None
    """What its caller is to hear, once an end of it was decided."""
    door: Door = "mqtt"
    """A caller over HTTP hears it when the request is repeated."""

    @classmethod
    def of(
        cls,
        verb: str,
        request: Request,
        at_wall_s: float,
        *,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> "UnansweredRequest":
        """Of a request that acts now, POSIX time; its line in the log of commands may have the same."""
        arguments = request.arguments
        return cls(
            verb=verb,
            arguments=arguments.as_noted(),
            by=request.by,
            transaction=arguments.transaction,
            used_as=request.used_as,
            at=format_rfc3339(at_wall_s),
            response_topic=response_topic,
            correlation=correlation,
            door=request.door,
        )

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
        self._settled = deque[tuple[Path, UnansweredRequest, bytes]]()

    def begin(self, request: UnansweredRequest) -> int | None:
        """Note it durably; gives its number. A disk that refuses stops no command: None, and the log says so."""
        number = next(self._numbers)
        cleaned = replace(request, arguments=PROCESS.value(request.arguments))
        try:
            make_folder(self._folder)
            write_atomically(self._path(number), _encode(cleaned))
        except (OSError, StateError) as err:
            log.error("command not noted before it was done", verb=request.verb, reason=str(err))
            return None
        return number

    def end(self, number: int | None) -> None:
        """It was answered."""
        if number is not None:
            _remove(self._path(number))

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
            if request is None:
                _remove(file)
                continue
            told = request.told or self._decide(request, entries, note, now_wall_s)
            with suppress(StateError):  # else it is decided once more by the next start
                write_atomically(file, _encode(replace(request, told=told)))
            answer = encode_error(told, request.transaction)
            if request.used_as is not None:
                used.finish(request.used_as, answer)
            if request.door == "mqtt":
                self._settled.append((file, request, answer))
            else:
                _remove(file)

    @staticmethod
    def _decide(
        request: UnansweredRequest,
        entries: Iterable[Mapping[str, Any]],
        note: Callable[[Entry], None],
        now_wall_s: float,
    ) -> str:
        """What its caller is to hear; the log gets a line where it has none."""
        outcomes = [one["outcome"] for one in entries if request.is_in(one)]
        if outcomes:
            return NOT_ANSWERED.format(outcome=outcomes[-1])
        note(request.make_entry(now_wall_s, NOT_KNOWN))
        return NOT_KNOWN

    def hand_over(self, publish: Callable[[UnansweredRequest, bytes], bool]) -> None:
        """Give every answer that was settled to ``publish``; those of which it says False stay for the next time.

        Each goes to one of the threads that do this at the same time.
        """
        for _ in range(len(self._settled)):
            try:
                file, request, answer = self._settled.popleft()
            except IndexError:  # handed over by another thread meanwhile, which heard an acknowledgement
                return
            if publish(request, answer):
                _remove(file)
            else:
                self._settled.append((file, request, answer))

    def _find(self) -> dict[Path, UnansweredRequest | None]:
        """In the order in which they were begun; None is one that cannot be read. New numbers follow theirs."""
        files = sorted(self._folder.glob("*.json"), key=lambda file: (len(file.name), file.name))
        last = max((int(file.stem) for file in files if file.stem.isdecimal()), default=0)
        self._numbers = itertools.count(last + 1)
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
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _encode(request: UnansweredRequest) -> bytes:
    correlation = None if request.correlation is None else base64.b64encode(request.correlation).decode()
    return orjson.dumps({**asdict(request), "correlation": correlation})


def _remove(file: Path) -> None:
    with suppress(OSError):
        file.unlink(missing_ok=True)
