"""Files that are either the old or the new one, never half: temp file, fsync, rename, fsync of the directory."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from edge_runtime.errors import StateError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content; one that is there keeps its permissions, and its owner where that is allowed.

    Raises:
        StateError: the disk refuses; the old content is still there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                _take_over_permissions(path, handle)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        sync_directory(path.parent)
    except OSError as err:
        raise StateError(f"cannot write {path}: {err.strerror}; check space and permissions") from err


def _take_over_permissions(path: Path, handle: int) -> None:
    """Else a file that root edits could no longer be read by the daemon's user."""
    try:
        old = path.stat()
    except FileNotFoundError:
        return
    with contextlib.suppress(PermissionError):  # only root may give a file away
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def sync_directory(path: Path) -> None:
    """Make a rename in this directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
