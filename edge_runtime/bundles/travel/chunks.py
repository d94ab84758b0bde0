"""An archive that comes in chunks, each named by its hash: in any order, repeated, and over kills.

``.uploading/<name of the chunk>`` below the store. Nothing else can get in than what the names say, so it does not
matter who brought the bytes. Chunks that no order names any more are removed by the next one.
"""

import base64
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from calibration.stats.regular_file import read_regular
from edge_runtime.errors import BundleError
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.disk import as_state_error
from edge_runtime.system.own_folder import make_folder, remove

UPLOAD_FOLDER = ".uploading"
MAX_CHUNK_BYTES = 1024 * 1024
_ARCHIVE = "archive"
SHOWN = "the uploaded archive"
"""In messages, instead of a path."""
_FIX = "Cut the archive again, and send the command with the new names."


def name_chunk(data: bytes) -> str:
    """SHA-256 in base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


class ChunkFolder:
    """The chunks of one archive; for one thread."""

    def __init__(self, store: Path, names: Sequence[str], size_bytes: int) -> None:
        """Look what is here already; what belongs to another archive is removed.

        Args:
            store: Where bundles are.
            names: Of the chunks, in the order of the archive; equal ones have one name.
            size_bytes: Of the archive.

        Raises:
            StateError: the disk refuses.
        """
        self._folder, self._names, self._size = store / UPLOAD_FOLDER, tuple(names), size_bytes
        self._sizes: dict[str, int] = {}
        with as_state_error(self._folder):
            make_folder(self._folder)
            for path in self._folder.iterdir():
                self._look(path)
        self.kept_bytes = self.present_bytes

    def _look(self, path: Path) -> None:
        """Bytes on a disk are not trusted for having a name."""
        with suppress(OSError):
            if path.name in self._names:
                data = read_regular(path, MAX_CHUNK_BYTES)
                if name_chunk(data) == path.name:
                    self._sizes[path.name] = len(data)
                    return
        remove(path, below=self._folder)

    @property
    def present_bytes(self) -> int:
        """How much of the archive is here."""
        return sum(self._sizes.get(name, 0) for name in self._names)

    def missing(self) -> list[int]:
        """Positions of chunks that are not here; of equal ones the first."""
        first = {name: at for at, name in reversed(list(enumerate(self._names)))}
        return sorted(at for name, at in first.items() if name not in self._sizes)

    def missing_names(self) -> frozenset[str]:
        """The same as names."""
        return frozenset(self._names) - self._sizes.keys()

    def add(self, data: bytes) -> bool:
        """Keep a chunk; False when this archive does not miss it.

        Raises:
            BundleError: the chunks are longer than the archive.
            StateError: the disk refuses.
        """
        name = name_chunk(data)
        if name not in self.missing_names() or len(data) > MAX_CHUNK_BYTES:
            return False
        more = len(data) * self._names.count(name)
        if self.present_bytes + more > self._size:
            raise BundleError(SHOWN, "chunks of more bytes than it has", f"{self._size} bytes", _FIX)
        with as_state_error(self._folder):
            write_atomically(self._folder / name, data)
        self._sizes[name] = len(data)
        return True

    def join(self) -> Path:
        """The archive, in its order; each chunk is checked once more.

        Raises:
            BundleError: it has another length, or a chunk was changed on the disk.
            StateError: the disk refuses.
        """
        target, written = self._folder / _ARCHIVE, 0
        with as_state_error(self._folder), target.open("xb") as file:
            for name in self._names:
                data = read_regular(self._folder / name, MAX_CHUNK_BYTES)
                if name_chunk(data) != name:
                    raise BundleError(SHOWN, "a chunk that changed on the disk", "the same bytes", _FIX)
                written += file.write(data)
        if written != self._size:
            raise BundleError(SHOWN, f"{written} bytes", f"{self._size} bytes, as the command says", _FIX)
        return target

    def drop_archive(self) -> None:
        """Remove the archive, and leave the chunks."""
        with suppress(OSError):
            (self._folder / _ARCHIVE).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all."""
        remove(self._folder, below=self._folder.parent)
