"""Sequence numbers that never repeat, across restarts and power cuts.

A result's id is ``device/stream/sequence``; consumers drop duplicates by it, so a number must not come twice. Blocks of
numbers are reserved on disk before they are used: after a crash the rest of a block is skipped, never reused.
A full disk does not stop a stream: half a block is left then. After that the stream uses numbers that are not reserved;
they come twice only if the daemon also dies before a reservation succeeds again.
"""

from pathlib import Path

import structlog

from edge_runtime.errors import StateError
from edge_runtime.system.atomic_file import write_atomically

log = structlog.get_logger()

BLOCK = 10_000  # the next one is reserved when half of it is used: a small write every 8 minutes at 10 fps
RETRY_EVERY = 100  # numbers between two attempts at a reservation that the disk refused


class SequenceNumbers:
    """The numbers of one stream. Used by that stream's worker only."""

    def __init__(self, path: Path, block: int = BLOCK) -> None:
        """Continue after the last reserved number."""
        self._path, self._block = path, block
        self.next = self._reserved_until = _load(path)
        self._retry_at = 0
        self._reserve()

    def mark_used(self, seq: int) -> None:
        """``seq`` was given to a frame; reserves the next block in time, and goes on when the disk refuses it."""
        self.next = seq + 1
        if self.next > self._reserved_until - self._block // 2 and self.next >= self._retry_at:
            self._reserve()

    def _reserve(self) -> None:
        until = self.next + self._block
        try:
            # A worker that hung while its stream was reopened must not take back what its successor has reserved.
            write_atomically(self._path, str(max(until, _load(self._path))).encode())
        except StateError as err:
            self._retry_at = self.next + RETRY_EVERY
            left = max(0, self._reserved_until - self.next)
            log.error("sequence numbers not reserved", path=str(self._path), left=left, reason=str(err))
        else:
            self._reserved_until = until


def _load(path: Path) -> int:
    try:
        return max(0, int(path.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return 0
