"""A real small file system in memory, to be filled. Only root may mount one; elsewhere its tests fail and say why."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import WAIT_S


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """The folder as a file system of its own, which is gone afterwards with all that is in it.

    Raises:
        RuntimeError: this user, or this container, may not mount.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, timeout=WAIT_S)
    if done.returncode != 0:
        raise RuntimeError(
            f"a file system of {size_mib} MiB cannot be mounted: {done.stderr.strip()}. Run the tests as root, in a "
            "container with --cap-add SYS_ADMIN"
        )
    try:
        yield folder
    finally:
        # Lazily: a process that a failed test left may still have files open.
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=WAIT_S)


def fill(path: Path, size_mib: int) -> None:
    """A file that takes this much room."""
    subprocess.run(["fallocate", "--length", f"{size_mib}MiB", str(path)], check=True, timeout=WAIT_S)
