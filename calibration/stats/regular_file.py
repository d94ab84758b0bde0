"""Reads of files that a person or another program may put anything in the place of."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The first ``most_bytes`` of a file. Never waits: a pipe or a device in its place is an error.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return file.read(most_bytes)


def read_whole(path: Path, most_bytes: int) -> bytes:
    """All of a file. Never waits, and reads nothing of a file that is longer than ``most_bytes``.

    Raises:
        OSError: it cannot be read, is no regular file (EINVAL) or is too long (EFBIG).
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise OSError(errno.EFBIG, f"{size} bytes; at most {most_bytes} are read", str(path))
        return file.read(size)


def open_regular(path: Path) -> BinaryIO:
    """Opens a file to read. Never waits.

    Raises:
        OSError: it cannot be opened, or is no regular file (EINVAL).
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        found = "no regular file, but a folder, a pipe, a socket or a device"
        raise OSError(errno.EINVAL, found, str(path))
    return file
