"""Sequence numbers that never repeat, across restarts and power cuts.

A result's id is ``device/stream/sequence``; consumers drop duplicates by it, so a number must not come twice. Blocks of
numbers are reserved on disk before they are used: after a crash the rest of a block is skipped, never reused.
"""

from pathlib import Path

from edge_runtime.atomic_file import write_atomically

BLOCK = 10_000  # one small write every 17 minutes at 10 fps


class Sequence:
    """The numbers of one stream. Used by that stream's worker only."""

    def __init__(self, path: Path, block: int = BLOCK) -> None:
        """Continue behind everything reserved before.

        Raises:
            StateError: the reservation cannot be written.
        """
        self._path, self._block = path, block
        self.next = _stored(path)
        self._reserved_until = self.next
        self._reserve(self.next)

    def used(self, seq: int) -> None:
        """``seq`` was given to a frame; reserves the next block in time.

        Raises:
            StateError: the reservation cannot be written.
        """
        self.next = seq + 1
        if self.next > self._reserved_until - self._block // 2:
            self._reserve(self.next)

    def _reserve(self, first: int) -> None:
        write_atomically(self._path, str(first + self._block).encode())
        self._reserved_until = first + self._block


def _stored(path: Path) -> int:
    try:
        return max(0, int(path.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return 0
