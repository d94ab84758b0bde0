"""All bytes of a picture or window that lies in a file."""

import os
from collections.abc import Callable
from pathlib import Path

from calibration.stats.regular_file import open_regular
from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw


def read_file(path: Path, check_bytes: Callable[[int], None]) -> bytes:
    """All bytes of a regular file; ``check_bytes`` is given its size first and raises where that is too much.

    Raises:
        InputFlaw: missing, unreadable, not a regular file, too large.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            check_bytes(size)
            return file.read(size)
    except OSError as err:
        raise InputFlaw(RejectReason.UNREADABLE, f"{path} cannot be read: {err.strerror}") from err
    except ValueError as err:  # a NUL in the path
        raise InputFlaw(RejectReason.UNREADABLE, f"{str(path)!r} is no path: {err}") from err
