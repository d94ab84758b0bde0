"""What an outbox file held after its last commit, in a small file next to it.

The file's own account goes back with its rows when the end of its journal is lost. This one is written after each
commit and never forced to the disk, so it is never ahead of the file: a file that is behind it has lost something.
"""

import json
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calibration.stats.regular_file import read_regular
from edge_runtime.messaging.outbox.ledger import COLUMNS, Ledger

_SIZE = 512
"""One sector, written in one call; filled up with spaces."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The state after a commit."""

    ledger: Ledger
    first_id: int
    """No row with a smaller id waited."""


class AccountFile:
    """See the module; for one thread. Errors are passed over: the outbox works without it."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(f"{path.name}.account")
        self._file: int | None = None

    def read(self, is_possible: Callable[[list[Any]], bool]) -> Seen | None:
        """What was written last; None when that cannot be read.

        Args:
            is_possible: Whether these are values of a ledger, in the order of its columns.
        """
        try:
            check, _, text = read_regular(self._path, _SIZE).partition(b" ")
            found = json.loads(text)
            values = [found["ledger"][name] for name in COLUMNS]
            first_id = found["first_id"]
            if int(check, 16) != zlib.crc32(text) or not isinstance(first_id, int) or not is_possible(values):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Seen(Ledger(*values), first_id)

    def write(self, seen: Seen) -> None:
        """Replace what was written before."""
        text = json.dumps(asdict(seen), separators=(",", ":")).encode().ljust(_SIZE - 9)
        if len(text) > _SIZE - 9:
            return
        with suppress(OSError):
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
                self._file = os.open(self._path, flags, 0o600)
            os.pwrite(self._file, b"%08x " % zlib.crc32(text) + text, 0)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None
