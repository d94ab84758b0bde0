"""Every configuration that came into force: when, by whom, what it changed, and its text, to go back to.

```
<state_dir>/config-history/<file>/000007.json    {"number": 7, "at": ..., "by": "anna", "changed": {...}, "text": ...}
```
The newest 50 of each file are kept. A text with a password in it is not: the state directory holds no secrets.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from calibration.stats.regular_file import read_regular
from edge_runtime.config.last_good import find_state_dirs, holds_password, name_of_file
from edge_runtime.config.shape import Config
from edge_runtime.errors import CommandError
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.rfc3339 import format_rfc3339

KEPT = 50
BY_START = "start"
"""Who, where the file was found edited at a start."""
_MOST_BYTES = 2 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One configuration that came into force."""

    number: int
    at: str
    """RFC 3339."""
    by: str
    """Name of a caller's key, ``unsigned``, ``file``, ``start`` or ``undone``."""
    changed: Mapping[str, str] = field(default_factory=dict)
    """The effect of each key that differed from what was in force before."""
    text: str | None = field(default=None, repr=False)
    """None: it held a password."""

    def as_row(self) -> dict[str, Any]:
        """Without the text."""
        row = {**asdict(self), "has_text": self.text is not None}
        del row["text"]
        return row


class ConfigHistory:
    """The history of one file in one state directory."""

    def __init__(self, path: Path, state_dir: Path) -> None:
        self.state_dir = state_dir
        self._folder = state_dir / "config-history" / name_of_file(path)

    @classmethod
    def find(cls, path: Path, env: Mapping[str, str]) -> "ConfigHistory":
        """The one that a daemon with this file keeps, also when the file is broken."""
        found = [cls(path, folder) for folder in find_state_dirs(path, env)]
        return next((one for one in found if one._files()), found[0])

    def note(self, config: Config, by: str, changed: Mapping[str, str]) -> Entry:
        """Remember that ``config`` is in force; gives its entry, an earlier one when nothing is new.

        Raises:
            StateError: the disk refuses.
        """
        text = None if holds_password(config) else config.text.decode("utf-8-sig", "replace")
        newest = next(reversed(self.entries()), None)
        if newest is not None and newest.text == text and (text is not None or by == BY_START):
            return newest
        number = max((int(file.stem) for file in self._files()), default=0) + 1
        entry = Entry(number, format_rfc3339(time.time()), by, {k: str(v) for k, v in changed.items()}, text)
        write_atomically(self._folder / f"{number:06}.json", orjson.dumps(entry))
        for old in self._files()[:-KEPT]:
            with suppress(OSError):
                old.unlink()
        return entry

    def entries(self) -> list[Entry]:
        """The newest 50, oldest first; without those that cannot be read."""
        found = list[Entry]()
        for file in self._files():
            with suppress(OSError, ValueError, TypeError):
                found.append(Entry(**orjson.loads(read_regular(file, _MOST_BYTES))))
        return found

    def get(self, number: int) -> Entry:
        """One entry with a text.

        Raises:
            CommandError: there is none.
        """
        for entry in self.entries():
            if entry.number == number and entry.text is not None:
                return entry
        known = ", ".join(str(one.number) for one in self.entries() if one.text is not None) or "none"
        raise CommandError(f"no configuration {number} with a text; there are: {known}")

    def find_before(self, text: bytes) -> Entry:
        """What was in force before a file had this text, or is, when it is another.

        Raises:
            CommandError: nothing else was in force.
        """
        shown = text.decode("utf-8-sig", "replace")
        for entry in reversed(self.entries()):
            if entry.text is not None and entry.text != shown:
                return entry
        raise CommandError("no other configuration was in force that could be put back")

    def _files(self) -> list[Path]:
        return sorted(file for file in self._folder.glob("*.json") if file.stem.isdecimal())
