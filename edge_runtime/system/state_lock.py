"""One daemon per state directory: locks that the kernel releases however their holder ends.

Two of them: the file ``lock``, which daemons of earlier versions know, and the directory itself, which cannot be
deleted while it is used, as a file can. A file system that cannot lock a directory has the file only.
"""

import fcntl
import os
from contextlib import ExitStack
from pathlib import Path

from edge_runtime.errors import StateError


def find_holder(state_dir: Path, locks: Path = Path("/proc/locks")) -> int | None:
    """The process of the daemon that runs on this state directory, by /proc/locks.

    No lock is taken, not even for a moment: a daemon that starts just then would be refused.

    0 for one of another container, whose number is not shown; None without a daemon, or where /proc does not say.
    """
    try:
        lines = locks.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    held = [words for words in map(str.split, lines) if len(words) > 5 and words[1] == "FLOCK"]
    by_number = list[set[int]]()
    for path in (state_dir, state_dir / "lock"):
        try:
            status = path.stat()
        except OSError:
            continue
        inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for words in held:
            if words[5] == inode:
                return max(0, int(words[4]))
        number = str(status.st_ino)
        by_number.append({max(0, int(words[4])) for words in held if words[5].rpartition(":")[2] == number})
    # btrfs has another device in stat than in /proc/locks: there the numbers of both, locked by one process, tell.
    both = by_number[0] & by_number[1] if len(by_number) == 2 else set()
    return min(both, default=None)


def lock_state_dir(state_dir: Path) -> ExitStack:
    """The locks, held until what is returned is closed or the process ends.

    Raises:
        StateError: another daemon holds one, or the directory cannot be used.
    """
    with ExitStack() as held:
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            flags = os.O_CLOEXEC | os.O_NONBLOCK
            file = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | flags, 0o666)
            held.callback(os.close, file)
            folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | flags)
            held.callback(os.close, folder)
        except OSError as err:
            raise StateError(
                f"cannot use the state directory {state_dir}: {err.strerror}; "
                "create it for the daemon's user or set state_dir in the configuration"
            ) from err
        for handle in (file, folder):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as err:
                if handle == folder and not isinstance(err, BlockingIOError):
                    continue  # such as NFS, where only a file that is open for writing can be locked
                raise StateError(
                    f"another daemon uses the state directory {state_dir}; stop it or set state_dir"
                ) from err
        return held.pop_all()
