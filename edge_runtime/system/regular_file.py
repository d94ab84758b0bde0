"""What can be known of a file that another program may be writing; ``calibration.stats.regular_file`` reads it."""

import errno
import fcntl
import os
import signal
from contextlib import suppress
from pathlib import Path

TRANSIENT = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EINTR,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EIO,
    }
)
"""Errors that say nothing of the file: too many descriptors, no memory, a share that does not answer now."""

Marks = tuple[tuple[int, ...] | None, ...]


def read_marks(*paths: Path) -> Marks:
    """Numbers for each file that change when it is written or another one takes its place; None where there is none."""
    return tuple(map(_read_mark, paths))


def _read_mark(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_being_written(path: Path) -> bool:
    """Whether a program has the file open for writing, as far as that can be seen: a read lease is refused then.

    Only the file's owner and root may ask (fcntl(2), "Leases"); for others the answer is False.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # A writer that comes just now makes the kernel send a signal; this one is ignored unless it is handled.
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as err:
        return err.errno == errno.EAGAIN
    else:
        return False
    finally:
        with suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(handle)
