"""What a disk refuses, in the words of all that writes, and the room that must be left on it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_runtime.errors import StateError

SPARE_BYTES = 16 * 1024 * 1024
"""Of the disk, which stay free."""


@contextmanager
def as_state_error(path: Path) -> Iterator[None]:
    """Around what writes.

    Raises:
        StateError: the disk refuses; ``path`` is in the message.
    """
    try:
        yield
    except OSError as err:
        raise StateError(f"cannot write {path}: {err.strerror}; check space and permissions") from err


def require_space(folder: Path, needed_bytes: int) -> None:
    """Before a bundle is loaded, which is unpacked or put together next to what was loaded.

    Raises:
        StateError: the disk is too small.
    """
    free, needed = shutil.disk_usage(folder).free, needed_bytes + SPARE_BYTES
    if needed > free:
        raise StateError(f"{folder} has {free} bytes free; the bundle needs {needed}: make room")
