"""Writes the files of a bundle that is not trusted yet, below one folder and within limits.

Bytes are counted as they are written, never as a header promises them. Names that leave the folder, come twice or
hide control characters are refused. Nothing is overwritten.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from calibration.stats.atomic_file import sync_directory
from edge_runtime.bundles.verify import (
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_FOLDER_DEPTH,
    MAX_FOLDERS,
    MAX_TOTAL_BYTES,
)
from edge_runtime.deployment.store.place import give_to_owner
from edge_runtime.errors import BundleError
from edge_runtime.system.disk import as_state_error

MAX_FOLDERS_ABOVE = 2
"""Folders of an archive that a bundle may lie in, such as ``parts/4``."""
MAX_NAME = 200
FILE_MODE, FOLDER_MODE = 0o644, 0o755
"""Readable for the daemon's user, also where another one installs; <state_dir> itself may keep others out."""
AGAIN = "Get the bundle again from its publisher."


@dataclass(frozen=True, slots=True)
class Limits:
    """What one bundle may have; the defaults are those of ``bundles.verify``."""

    file_bytes: int = MAX_FILE_BYTES
    total_bytes: int = MAX_TOTAL_BYTES
    files: int = MAX_FILES
    folders: int = MAX_FOLDERS
    depth: int = MAX_FOLDER_DEPTH + MAX_FOLDERS_ABOVE
    """Of folders in folders."""


class FolderWriter:
    """Files and folders below ``folder``, which is made. Errors name ``source``, where they come from.

    Files get their final permissions and the owner of ``root``; folders get them from :meth:`settle`.
    """

    def __init__(self, folder: Path, source: Path, root: Path, limits: Limits) -> None:
        self.folder, self.source, self.root, self.limits = folder, source, root, limits
        with as_state_error(root):
            folder.mkdir(FOLDER_MODE)
        self._folders: set[tuple[str, ...]] = {()}
        self._files = 0
        self._bytes = 0

    def add_folder(self, name: str) -> None:
        """Make a folder, and those above it. One that is there already is as good.

        Raises:
            BundleError: the name is unsafe, or a limit is passed.
            StateError: the disk refuses.
        """
        self._make_folders(name, self._split(name))

    def add_file(self, name: str, chunks: Iterable[bytes], promised: int | None = None) -> None:
        """Write a file and bring it to the disk.

        Args:
            name: Relative path with '/'.
            chunks: Its content.
            promised: Its length, if that is known: another one is refused.

        Raises:
            BundleError: the name is unsafe or comes twice, a limit is passed, or the length differs.
            StateError: the disk refuses.
        """
        parts = self._split(name)
        if not parts or parts in self._folders:
            raise self.refuse(name, "a file and a folder of one name", "every name once")
        if promised is not None and not 0 <= promised <= self.limits.file_bytes:
            raise self.refuse(name, f"{promised} bytes", f"at most {self.limits.file_bytes} bytes")
        self._files += 1
        if self._files > self.limits.files:
            raise self.refuse(name, f"more than {self.limits.files} files", "the files of one bundle")
        self._make_folders(name, parts[:-1])
        written = self._write(name, self.folder.joinpath(*parts), chunks)
        if promised is not None and written != promised:
            raise self.refuse(name, f"{written} of {promised} bytes", "a whole file", AGAIN)

    def settle(self) -> None:
        """Bring the folders to the disk, with their final permissions.

        Raises:
            StateError: the disk refuses.
        """
        with as_state_error(self.root):
            for parts in sorted(self._folders, key=len, reverse=True):
                here = self.folder.joinpath(*parts)
                here.chmod(FOLDER_MODE)  # whatever the umask says
                give_to_owner(here, self.root)
                sync_directory(here)

    def refuse(self, name: str, found: str, expected: str, fix: str = AGAIN) -> BundleError:
        """The error about one member of the source."""
        return BundleError(self.source, f"{name[:200]!r}: {found}", expected, fix)

    def _write(self, name: str, path: Path, chunks: Iterable[bytes]) -> int:
        flags, written = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0
        with as_state_error(self.root):
            try:
                handle = os.open(path, flags, FILE_MODE)
            except FileExistsError as err:
                raise self.refuse(name, "it comes twice", "every name once") from err
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, FILE_MODE)  # whatever the umask says
                give_to_owner(handle, self.root)
                for chunk in chunks:
                    written += len(chunk)
                    self._count(name, written, len(chunk))
                    file.write(chunk)
                file.flush()
                os.fsync(handle)
        return written

    def _count(self, name: str, of_file: int, more: int) -> None:
        self._bytes += more
        if of_file > self.limits.file_bytes:
            raise self.refuse(name, "more bytes than a file may have", f"at most {self.limits.file_bytes}")
        if self._bytes > self.limits.total_bytes:
            found = f"more bytes in all than a bundle may have, at {name[:200]!r}"
            raise BundleError(self.source, found, f"at most {self.limits.total_bytes}", AGAIN)

    def _make_folders(self, name: str, parts: tuple[str, ...]) -> None:
        if len(parts) > self.limits.depth:
            raise self.refuse(name, f"{len(parts)} folders deep", f"at most {self.limits.depth}")
        for depth in range(1, len(parts) + 1):
            here = parts[:depth]
            if here in self._folders:
                continue
            self._folders.add(here)
            if len(self._folders) > self.limits.folders:
                raise self.refuse(
                    name, f"more than {self.limits.folders} folders", "the folders of one bundle"
                )
            with as_state_error(self.root):
                try:
                    self.folder.joinpath(*here).mkdir(FOLDER_MODE)
                except FileExistsError as err:
                    raise self.refuse(name, "a file and a folder of one name", "every name once") from err

    def _split(self, name: str) -> tuple[str, ...]:
        """The parts of a relative path; ``./`` and a slash at the end count for nothing."""
        if name.startswith("/"):
            raise self.refuse(name, "an absolute path", "paths below the bundle")
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if ".." in parts:
            raise self.refuse(name, "a path that leaves the bundle", "paths below the bundle")
        if any("\\" in part or not part.isprintable() or len(part) > MAX_NAME for part in parts):
            raise self.refuse(
                name, "a name with strange characters or of great length", "plain names of files"
            )
        return parts
