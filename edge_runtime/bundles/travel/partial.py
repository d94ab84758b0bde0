"""Blobs on their way to the box: a folder that keeps every byte that arrived, by digest, until a pull is complete.

A file ``HASH.part`` grows; once its bytes have the hash it becomes ``HASH``. So whatever interrupts a pull, the next
one asks only for the bytes that are missing.
"""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from calibration.stats.regular_file import open_regular
from edge_runtime.bundles.travel.model_pack import Layer
from edge_runtime.bundles.travel.registry import Blobs, Patience, ignore_bytes
from edge_runtime.errors import BundleError, RegistryLost, StateError
from edge_runtime.system.disk import as_state_error

if TYPE_CHECKING:
    from hashlib import _Hash

KEPT_DAYS = 7
"""What an abandoned pull has left is removed by a later one."""
_CHUNK_BYTES = 1024 * 1024
_LOCK = "lock"


@dataclass(slots=True)
class Counts:
    """Bytes of a pull, for people and for tests."""

    downloaded: int = 0
    kept: int = 0
    """Those that an earlier pull had loaded."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The folder; used by one pull at a time, see :func:`open_partial`."""

    folder: Path

    def path_of(self, layer: Layer) -> Path:
        """Where a complete blob lies."""
        return self.folder / layer.sha256

    def missing_bytes(self, layers: Iterable[Layer]) -> int:
        """How many are still to be loaded, at most."""
        return sum(layer.size - min(layer.size, self._present(layer)) for layer in layers)

    def _present(self, layer: Layer) -> int:
        return max(_size(self.path_of(layer)), _size(self._part_of(layer)))

    def _part_of(self, layer: Layer) -> Path:
        return self.folder / f"{layer.sha256}.part"

    def seed(self, layer: Layer, bundles: Iterable[Path]) -> None:
        """Copy a blob's likely bytes from a bundle that is here already: most files are the same in the next version.

        Only names and sizes are compared; ``fetch`` hashes the bytes and loads them if they are others.
        """
        if self._present(layer):
            return
        for bundle in bundles:
            try:
                with open_regular(bundle / layer.path) as source:
                    if os.fstat(source.fileno()).st_size != layer.size:
                        continue
                    with self._part_of(layer).open("xb") as part:
                        shutil.copyfileobj(source, part)
                    return
            except OSError:  # it is loaded instead
                self._part_of(layer).unlink(missing_ok=True)

    def fetch(
        self,
        layer: Layer,
        registry: Blobs,
        patience: Patience,
        counts: Counts,
        on_bytes: Callable[[int], None] = ignore_bytes,
    ) -> None:
        """Complete one blob; afterwards its file has the hash.

        Raises:
            BundleError: the registry gives other bytes than the digest names, or more of them; nothing of them is left.
            RegistryLost: it is away for longer than the patience; what arrived stays.
            RegistryRefused: it has no such blob.
            StateError: the disk refuses.
        """
        whole, part = self.path_of(layer), self._part_of(layer)
        with _write_part(part):
            if whole.exists() and not part.exists():
                whole.rename(part)  # hashed again: bytes on a disk are not trusted for having had a name
            _make_own(part)
            if _size(part) > layer.size:
                part.unlink()
            kept = _size(part)
            counts.kept += kept
            on_bytes(kept)
            if not self._complete(layer, part, registry, patience, counts, on_bytes):
                # Bytes kept from before a power cut may be wrong; one download from the start decides.
                counts.kept -= kept
                on_bytes(-layer.size)
                part.unlink()
                if kept == 0 or not self._complete(layer, part, registry, patience, counts, on_bytes):
                    part.unlink(missing_ok=True)
                    raise BundleError(
                        layer.path,
                        "other bytes than the registry's digest names",
                        layer.digest,
                        "Push the bundle again.",
                    )
            part.rename(whole)

    def _complete(
        self,
        layer: Layer,
        part: Path,
        registry: Blobs,
        patience: Patience,
        counts: Counts,
        on_bytes: Callable[[int], None],
    ) -> bool:
        """Load what is missing; whether the whole has the hash."""
        with part.open("a+b") as file:
            digest, furthest = _hash_file(file), file.tell()
            while (have := file.seek(0, os.SEEK_END)) < layer.size:
                try:
                    with registry.open_blob(layer.digest, have) as blob:
                        if blob.start != have:
                            file.seek(0)
                            file.truncate()
                            digest = hashlib.sha256()
                            on_bytes(-have)
                        for chunk in blob.chunks:
                            _append(file, digest, chunk, layer)
                            counts.downloaded += len(chunk)
                            if file.tell() > furthest:  # not for bytes that were here before
                                furthest = file.tell()
                                patience.note_bytes(len(chunk))
                            on_bytes(len(chunk))
                except RegistryLost as lost:
                    patience.wait(lost)
                else:
                    if file.tell() < layer.size:
                        patience.wait(RegistryLost(layer.path, "the connection ended early"))
            if furthest == layer.size:
                patience.note_progress()
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest() == layer.sha256

    @property
    def assembly(self) -> Path:
        """Where the bundle is put together."""
        return self.folder / "assembly"

    def clear(self, layers: Iterable[Layer]) -> None:
        """Remove the blobs of a bundle that is installed or was refused; those of another pull stay."""
        for layer in layers:
            for path in (self.path_of(layer), self._part_of(layer)):
                with suppress(OSError):
                    path.unlink()

    def forget_old(self, now_wall_s: float) -> None:
        """Remove what pulls that were given up, or killed, have left."""
        shutil.rmtree(self.assembly, ignore_errors=True)
        for path in self._blobs():
            with suppress(OSError):
                if now_wall_s - path.lstat().st_mtime > KEPT_DAYS * 86_400:
                    path.unlink()

    def _blobs(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if path.name != _LOCK and path != self.assembly]


@contextmanager
def open_partial(folder: Path) -> Iterator[Partial]:
    """The folder, made and locked; removed at the end when it is empty.

    Raises:
        StateError: another pull uses it, or the disk refuses.
    """
    lock = folder / _LOCK
    with as_state_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        os.close(handle)
        raise StateError(f"another pull uses {folder}; wait for its end") from err
    try:
        partial = Partial(folder)
        partial.forget_old(time.time())
        yield partial
    finally:
        with suppress(OSError):
            if list(folder.iterdir()) == [lock]:
                lock.unlink()
                folder.rmdir()
        os.close(handle)


@contextmanager
def _write_part(part: Path) -> Iterator[None]:
    """Errors of the disk as ours; an empty part, from which no pull could go on, is not left."""
    try:
        with as_state_error(part):
            yield
    finally:
        if _size(part) == 0:
            with suppress(OSError):
                part.unlink()


def _make_own(part: Path) -> None:
    """A copy where it is a second name of a bundle's file, as a pull leaves it that was killed after the rename."""
    if part.exists() and part.lstat().st_nlink > 1:
        copy = part.with_name(f"{part.name}.copy")
        shutil.copyfile(part, copy)
        copy.replace(part)


def _append(file: BinaryIO, digest: "_Hash", chunk: bytes, layer: Layer) -> None:
    if file.tell() + len(chunk) > layer.size:
        file.truncate(0)
        found, expected = "more bytes than its manifest says", f"{layer.size} bytes"
        raise BundleError(layer.path, found, expected, "Push the bundle again.")
    file.write(chunk)
    digest.update(chunk)


def _hash_file(file: BinaryIO) -> "_Hash":
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
