"""Sequence numbers that never repeat, across restarts and power cuts.

A result's id is ``device/stream/sequence``; consumers drop duplicates by it, so a number must not come twice. Blocks of
numbers are reserved on disk before they are used: after a crash the rest of a block is skipped, never reused.
A full disk does not stop a stream: half a block is left then. After that the stream uses numbers that are not reserved;
they come twice only if the daemon also dies before a reservation succeeds again.

A reservation is kept in two files, ``belt.seq`` and ``belt.seq.copy``: the greater number counts. When none of them can
be read although one is there, the numbers go on far above any that a camera can have reached, at a random place, since
the clock may say the same as at an earlier damage.
"""

import secrets
from collections.abc import Callable
from pathlib import Path

import structlog

from calibration.stats.regular_file import read_whole
from edge_runtime.errors import StateError
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()

BLOCK = 10_000  # the next one is reserved when half of it is used: a small write every 8 minutes at 10 fps
RETRY_EVERY = 100  # numbers between two attempts at a reservation that the disk refused

MOST = 2**53 - 2**32
"""Beyond this, readers of JSON lose the last digits of a number."""
LEAST_JUMP = 10**12
"""More frames than 1,000 a second for 30 years."""
_READ_BYTES = 64


class SequenceNumbers:
    """The numbers of one stream. Used by that stream's worker only."""

    def __init__(
        self, path: Path, block: int = BLOCK, pick: Callable[[int], int] = secrets.randbelow
    ) -> None:
        """Continue after the last reserved number; ``pick`` gives a random number below its argument."""
        self._paths, self._block = (path, path.with_name(f"{path.name}.copy")), block
        found = _load(self._paths)
        if found is None:
            # Of 4.5e15 places, a stream that has used a billion numbers since a former jump covers 2 in 10 million.
            found = LEAST_JUMP + pick(MOST // 2 - LEAST_JUMP)
            log.error("sequence numbers cannot be read, going on far above them", path=str(path), next=found)
        self.next = self._reserved_until = found
        self._retry_at = 0
        self._reserve()

    def mark_used(self, seq: int) -> None:
        """``seq`` was given to a frame; reserves the next block in time, and goes on when the disk refuses it."""
        self.next = seq + 1
        if self.next > self._reserved_until - self._block // 2 and self.next >= self._retry_at:
            self._reserve()

    def _reserve(self) -> None:
        # A worker that hung while its stream was reopened must not take back what its successor has reserved.
        until = self.next + self._block
        data = str(max(until, _load(self._paths) or 0)).encode()
        refused = [str(err) for path in self._paths if (err := _write(path, data)) is not None]
        if len(refused) < len(self._paths):
            self._reserved_until = until
        if refused:
            self._retry_at = self.next + RETRY_EVERY
            left = max(0, self._reserved_until - self.next)
            log.error("sequence numbers not reserved", path=str(self._paths[0]), left=left, reason=refused[0])


def _write(path: Path, data: bytes) -> StateError | None:
    try:
        write_atomically(path, data)
    except StateError as err:
        return err
    return None


def _load(paths: tuple[Path, ...]) -> int | None:
    """The greatest reserved number; 0 when there is no file yet, None when there is one and none can be read."""
    found, is_new = [], True
    for path in paths:
        try:
            text = read_whole(path, _READ_BYTES).strip()
            is_new = False
            if text.isdigit() and int(text) <= MOST:
                found.append(int(text))
        except FileNotFoundError:
            continue
        except OSError:
            is_new = False
    return max(found, default=0 if is_new else None)
