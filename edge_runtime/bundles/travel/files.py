"""The files of a verified bundle, as they are read to be packed or pushed."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_runtime.bundles.manifest import MANIFEST_FILE, SIGNATURE_FILE
from edge_runtime.bundles.signing.envelope import MAX_BYTES as MAX_SIGNATURE_BYTES
from edge_runtime.bundles.verify import Bundle, load_bundle, read_bounded
from edge_runtime.config import strict_yaml
from edge_runtime.errors import BundleError

_AGAIN = "Wait until nothing writes to it, and try again."


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """Every file of a bundle, ``bundle.yaml`` and ``bundle.sig`` included, with its size and hash."""

    bundle: Bundle
    sizes: Mapping[str, int]
    hashes: Mapping[str, str]
    """SHA-256, hexadecimal."""

    def open(self, path: str) -> BinaryIO:
        """A file to read, never through a link.

        Raises:
            BundleError: it has another size now.
            OSError: it cannot be read.
        """
        handle = os.open(self.bundle.path / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        file = os.fdopen(handle, "rb")
        if os.fstat(handle).st_size != self.sizes[path]:
            file.close()
            raise _changed(self.bundle.path / path)
        return file

    def check(self) -> None:
        """Refuse a bundle that changed while it was read.

        Raises:
            BundleError: it did.
        """
        if list_files(self.bundle.path).hashes != self.hashes:
            raise _changed(self.bundle.path)


def list_files(path: Path) -> BundleFiles:
    """Verify a bundle and list its files.

    Raises:
        BundleError: it is not as its manifest says.
    """
    bundle = load_bundle(path)
    hashes = dict(bundle.manifest.files)
    hashes[MANIFEST_FILE] = _hash(read_bounded(path / MANIFEST_FILE, strict_yaml.MAX_BYTES))
    if (path / SIGNATURE_FILE).exists():
        hashes[SIGNATURE_FILE] = _hash(read_bounded(path / SIGNATURE_FILE, MAX_SIGNATURE_BYTES))
    sizes = {name: (path / name).lstat().st_size for name in hashes}
    return BundleFiles(bundle, sizes, hashes)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _changed(path: Path) -> BundleError:
    return BundleError(path, "it changed while it was read", "a bundle at rest", _AGAIN)
