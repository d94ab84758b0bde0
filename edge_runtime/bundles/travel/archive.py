"""A verified bundle as one .tar file: the same bundle always gives the same bytes."""

import os
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from calibration.stats.atomic_file import sync_directory
from edge_runtime.bundles.travel.files import BundleFiles
from edge_runtime.errors import StateError

_MODE = 0o644


def pack_bundle(files: BundleFiles, target: Path) -> int:
    """Write a bundle to ``target`` as ``<name>/<version>/...``, whole or not at all; returns its bytes.

    Sorted by path, with times, owners and permissions that are always the same, and uncompressed, as weights do not
    shrink.

    Raises:
        BundleError: a file changed since it was verified.
        StateError: the disk refuses.
    """
    above = files.bundle.id
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w+b") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
                    for path in sorted(files.sizes):
                        member = tarfile.TarInfo(f"{above}/{path}")
                        member.size, member.mode = files.sizes[path], _MODE
                        with files.open(path) as content:
                            archive.addfile(member, content)
                files.check()
                os.fchmod(handle, _MODE & ~_umask())
                os.fsync(handle)
                size = file.seek(0, os.SEEK_END)
            Path(name).replace(target)
        finally:
            with suppress(OSError):
                Path(name).unlink()
        sync_directory(target.parent)
    except OSError as err:
        raise StateError(f"cannot write {target}: {err.strerror}; check space and permissions") from err
    return size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
