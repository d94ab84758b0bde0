"""An archive in chunks for ``send install --file``: which are sent when."""

from collections.abc import Iterator
from pathlib import Path

import click

from edge_runtime.errors import StateError

WINDOW_BYTES = 4 * 2**20
"""Sent and not known to have arrived: what a broker may have to keep for the device."""
STALLED = 5
"""After so many progress messages without one chunk fewer, what was sent is taken for lost."""


class ChunkedFile:
    """The chunks of one file, named by their hashes."""

    def __init__(self, path: Path, chunk_bytes: int) -> None:
        """Hash all of it.

        Raises:
            click.UsageError: there would be too many chunks for one command.
            StateError: it cannot be read.
        """
        from edge_runtime.bundles.travel.chunks import name_chunk
        from edge_runtime.messaging.commands.request import MOST_CHUNKS

        self._path, self._chunk_bytes = path, chunk_bytes
        self.names = list[str]()
        self.size_bytes = 0
        for data in self._read_all():
            self.size_bytes += len(data)
            if len(self.names) == MOST_CHUNKS:
                raise click.UsageError(
                    f"{path} has more than {MOST_CHUNKS} chunks of {chunk_bytes} bytes; use a greater --chunk-kib, or "
                    "bring it to a registry or a server"
                )
            self.names.append(name_chunk(data))
        self._sent = set[int]()
        self._fewest, self._same = len(self.names) + 1, 0

    def _read_all(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as file:
                while data := file.read(self._chunk_bytes):
                    yield data
        except OSError as err:
            raise StateError(f"cannot read {self._path}: {err.strerror}; check the path") from err

    def choose(self, missing: list[int], count: int) -> list[int]:
        """Positions of the chunks to send now.

        Args:
            missing: Positions of chunks that the device misses, the first of them.
            count: How many it misses in all.
        """
        self._same = self._same + 1 if count >= self._fewest else 0
        self._fewest = min(self._fewest, count)
        if self._same >= STALLED:
            self._sent, self._same = set(), 0
        on_the_way = len(self._sent.intersection(missing))
        room = max(1, WINDOW_BYTES // self._chunk_bytes) - on_the_way
        new = [at for at in missing if at not in self._sent and at < len(self.names)][: max(0, room)]
        self._sent.update(new)
        return new

    def read(self, at: int) -> bytes:
        """One chunk.

        Raises:
            StateError: it cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(at * self._chunk_bytes)
                return file.read(self._chunk_bytes)
        except OSError as err:
            raise StateError(f"cannot read {self._path}: {err.strerror}; check the path") from err
