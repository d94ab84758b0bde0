"""Copies a bundle's folder; its files go to a ``FolderWriter``. Nothing is read through a symbolic link."""

import os
from collections.abc import Iterator
from pathlib import Path

from edge_runtime.deployment.store.folder_writer import FolderWriter
from edge_runtime.errors import BundleError

_CHUNK_BYTES = 1024 * 1024


def copy_folder(folder: Path, writer: FolderWriter) -> None:
    """Write all files below ``folder``.

    Raises:
        BundleError: it cannot be read, or holds what no bundle may.
        StateError: the disk refuses.
    """
    waiting = [folder]
    for here in waiting:  # grows while it is gone through
        for entry in _list(here, folder, writer):
            name = os.path.relpath(entry.path, folder)
            if entry.is_dir(follow_symlinks=False):
                writer.add_folder(name)
                waiting.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                writer.add_file(name, _read(Path(entry.path)))
            else:
                kind = "a symbolic link" if entry.is_symlink() else "a special file"
                raise writer.refuse(
                    name, kind, "plain files and folders", "Copy the file itself into the bundle."
                )


def _list(here: Path, folder: Path, writer: FolderWriter) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(here) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as err:
        name = os.path.relpath(here, folder)
        raise writer.refuse(name, f"cannot be read: {err.strerror}", "a folder", "Check the path.") from err


def _read(path: Path) -> Iterator[bytes]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as err:
        found = f"cannot be read: {err.strerror}"
        raise BundleError(path, found, "a readable file", "Check the permissions.") from err
