"""Files that are either the old or the new one, never half, and survive a power cut."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def write_atomically(path: Path, data: bytes, new_mode: int = 0o644) -> None:
    """Replace a file's content: temporary file, fsync, rename, fsync of the directory.

    Args:
        path: The file. One that exists keeps its permissions, and its owner where that is allowed.
        data: The whole content.
        new_mode: Permissions of a file that does not exist yet.

    Raises:
        OSError: the disk refuses; it names ``path``. The old content is still there, but for one case: when only the
            fsync of the directory fails, the new one is. The temporary file is removed, unless the disk refuses that.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _set_permissions(path, handle, new_mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:  # after the rename there is nothing to remove
            with contextlib.suppress(OSError):
                temporary.unlink()
        sync_directory(path.parent)
    except OSError as err:
        raise OSError(err.errno, err.strerror, str(path)) from err


def sync_directory(path: Path) -> None:
    """Make renames and deletions in this directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _set_permissions(path: Path, handle: int, new_mode: int) -> None:
    """Those of the old file: else a file that root edits could no longer be read by the daemon's user."""
    old = None
    with contextlib.suppress(OSError):  # none, or a link to itself
        old = path.stat()
    # Permissions of a device that a link names are none for a file.
    if old is None or not stat.S_ISREG(old.st_mode):
        with contextlib.suppress(PermissionError):  # a file system without permissions
            os.fchmod(handle, new_mode)
        return
    with contextlib.suppress(PermissionError):  # only root may give a file away
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))
