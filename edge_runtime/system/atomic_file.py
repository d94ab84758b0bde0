"""Atomic writes of the daemon's own files, which only its user may read."""

from pathlib import Path

from calibration.stats import atomic_file
from edge_runtime.system.disk import as_state_error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content, whole or not at all; makes the folders above it.

    Raises:
        StateError: the disk refuses; the old content is still there.
    """
    with as_state_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_file.write_atomically(path, data, new_mode=0o600)
