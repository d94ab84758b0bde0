"""One daemon per state directory: a file lock that the kernel releases however its holder ends."""

import fcntl
from pathlib import Path
from typing import IO

from edge_runtime.errors import StateError


def is_in_use(state_dir: Path) -> bool:
    """Whether a daemon runs on this state directory; nothing is made. What cannot be seen is taken as no."""
    try:
        with (state_dir / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # never used, or another user's
        return False
    return False


def lock_state_dir(state_dir: Path) -> IO[bytes]:
    """The lock, held until the returned file is closed or the process ends.

    Raises:
        StateError: another daemon holds it, or the directory cannot be used.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        file = (state_dir / "lock").open("ab")
    except OSError as err:
        raise StateError(
            f"cannot use the state directory {state_dir}: {err.strerror}; "
            "create it for the daemon's user or set state_dir in the configuration"
        ) from err
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        file.close()
        raise StateError(
            f"another daemon uses the state directory {state_dir}; stop it or set state_dir"
        ) from err
    return file
