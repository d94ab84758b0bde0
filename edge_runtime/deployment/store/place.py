"""The folder of the store: its owner, its lock, and the work folders next to the bundles.

A work folder is in the same file system, so that a rename moves a bundle in or out of it. Only the holder of the lock
has one: whatever lies there when the lock is taken is of a process that has died.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calibration.stats.atomic_file import sync_directory
from edge_runtime.errors import StateError
from edge_runtime.system.disk import as_state_error
from edge_runtime.system.own_folder import remove

WORK_PREFIX = ".incoming-"
LOCK_FILE = ".lock"
WAIT_S = 600.0
"""For another command that changes the store: copying and hashing 2 GiB on a slow card takes minutes."""
_LOOK_EVERY_S = 0.1


def make_root(root: Path) -> None:
    """Make the folder of the store where it is missing, for the owner of the folder above it.

    Raises:
        StateError: it cannot be made, or is no folder.
    """
    missing = [folder for folder in (root, *root.parents) if not folder.exists()]
    with as_state_error(root):
        for folder in reversed(missing):
            folder.mkdir()
            folder.chmod(0o755)
            give_to_owner(folder, folder.parent)
        if not root.is_dir():
            raise StateError(f"{root} is no folder; name the folder of the installed bundles")


def give_to_owner(path: Path | int, model: Path) -> None:
    """Give what root has made (a path that is no link, or a handle) to the owner of the folder ``model``.

    A daemon of another user shall read it.
    """
    if os.geteuid() == 0:
        owner = model.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def open_to_change(root: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """The store for one command alone, swept of what dead ones have left. Readers need no lock.

    Raises:
        StateError: another command holds it for longer than ``wait_s``, or it cannot be locked.
    """
    with as_state_error(root):
        lock = root / LOCK_FILE
        handle = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        with as_state_error(root):
            give_to_owner(handle, root)
            _wait_for_lock(handle, root, wait_s)
        sweep(root)
        yield
    finally:
        os.close(handle)


def _wait_for_lock(handle: int, root: Path, wait_s: float) -> None:
    end_s = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            if time.monotonic() >= end_s:
                found = f"another command has been changing {root} for {wait_s:g} s"
                raise StateError(f"{found}; wait for it, or end it, and try again") from err
            time.sleep(_LOOK_EVERY_S)
        else:
            return


def sweep(root: Path) -> int:
    """Remove the work folders of dead processes, for the holder of the lock; how many there were."""
    left = list(root.glob(f"{WORK_PREFIX}*"))
    for folder in left:
        remove(folder, below=root)
    return len(left)


@contextmanager
def make_work_folder(root: Path) -> Iterator[Path]:
    """A folder for what is not whole yet, or no longer; gone afterwards.

    Raises:
        StateError: it cannot be made.
    """
    with as_state_error(root):
        work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=root))
    try:
        yield work
    finally:
        remove(work, below=root)


def move(source: Path, target: Path) -> None:
    """Rename, and make that survive a power cut.

    Raises:
        OSError: the disk refuses, or something is there.
    """
    source.rename(target)
    sync_directory(target.parent)
