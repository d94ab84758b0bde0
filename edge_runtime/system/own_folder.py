"""Folders that only the daemon fills: made where something else is in their place, removed without following a link.

An operator moves a folder to another disk and leaves a link, or restores a backup with a file where a folder was.
Whatever lies behind a link is not ours, so nothing is ever removed there.
"""

import shutil
from pathlib import Path

import structlog

log = structlog.get_logger()


def make_folder(path: Path, *, may_be_link: bool = False) -> None:
    """Make a folder and those above it. Anything else in its place is renamed, so that it costs no start.

    Args:
        path: The folder.
        may_be_link: Whether a link to a folder is as good. It stays even when it leads nowhere: its disk may not be
            mounted yet. Not for a folder that is cleared.

    Raises:
        OSError: the disk refuses, or a link that may be here leads to no folder.
    """
    is_link = path.is_symlink()
    if (is_link and not may_be_link) or (not is_link and path.exists() and not path.is_dir()):
        _set_aside(path)
    path.mkdir(parents=True, exist_ok=True)


def remove(path: Path, below: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; a link goes, and what it leads to stays.

    Nothing happens to what is not there or cannot be removed now; nothing depends on its being gone.

    Args:
        path: What to remove.
        below: A folder above it. A link between the two means that ``path`` is not ours: it stays, which is logged.

    Raises:
        ValueError: ``path`` is not below ``below``.
    """
    parts = path.relative_to(below).parts
    if not parts or ".." in parts:
        raise ValueError(f"{path} is not below {below}")
    for folder in path.parents[: len(parts) - 1]:
        if folder.is_symlink():
            log.warning("not removed, since it lies behind a link", path=str(path), link=str(folder))
            return
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)  # follows no link either
        else:
            path.unlink(missing_ok=True)
    except OSError:  # read-only now
        return


def _set_aside(path: Path) -> None:
    aside, number = path.with_name(f"{path.name}.set-aside"), 1
    while aside.is_symlink() or aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.set-aside-{number}")
    path.rename(aside)
    log.warning("something else was in the place of a folder", path=str(path), moved_to=str(aside))
