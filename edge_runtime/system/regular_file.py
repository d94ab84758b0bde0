"""Reads of files that a person or another program may put anything in the place of."""

import errno
import fcntl
import os
import signal
import stat
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


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The first ``most_bytes`` of a file. Never waits: a pipe or a device in its place is an error.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "no regular file, but a folder, a pipe, a socket or a device")
        return file.read(most_bytes)


def is_being_written(path: Path) -> bool:
    """Whether a program has the file open for writing, as far as that can be seen: a read lease is refused then.

    Only the file's owner and root may ask (fcntl(2), "Leases"); for others the answer is False.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        # A writer that comes just now makes the kernel send a signal; this one is ignored unless somebody handles it.
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
