"""The files of a folder that a stream wants, in natural order, and what in it is passed over. Nothing is opened."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.datatypes import PICTURE_SUFFIXES
from edge_runtime.sources.answered_files import FileStamp

MAX_DEPTH = 16
_OTHER_PICTURES = frozenset({
    ".apng", ".arw", ".avi", ".avif", ".cr2", ".cr3", ".dng", ".exr", ".gif", ".heic", ".heif", ".ico", ".j2k", ".jfif",
    ".jp2", ".jpe", ".jpf", ".jpx", ".jxl", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".nef", ".orf", ".pbm",
    ".pfm", ".raf", ".raw", ".rw2", ".svg", ".tga", ".ts", ".webm", ".xbm", ".xpm",
}) - PICTURE_SUFFIXES  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileKind:
    """Which files of a folder are wanted."""

    name: str
    """Of many of them, for people."""
    suffixes: frozenset[str]
    """In small letters."""
    lookalikes: frozenset[str] = frozenset()
    """Of files that may have been meant, and cannot be taken."""


PICTURES = FileKind("pictures", PICTURE_SUFFIXES, _OTHER_PICTURES)


@dataclass(slots=True)
class Skipped:
    """What a look at a folder passed over."""

    wanted: FileKind = PICTURES
    suffixes: Counter[str] = field(default_factory=Counter)
    """Of files, in small letters."""
    folders: int = 0
    unseen: int = 0
    """Files and folders that are there and cannot be looked at."""
    why_unseen: str = ""
    """The error of the first one."""

    def note_unseen(self, err: OSError) -> None:
        """Count one, unless it is gone."""
        if not isinstance(err, FileNotFoundError):
            self.unseen += 1
            self.why_unseen = self.why_unseen or f"{err.strerror}"

    def explain(self, *, has_wanted: bool) -> str | None:
        """Why files that may have been meant are not used; None when nothing is to be said.

        Next to wanted files only those that look like them are worth a word: other files are common there.
        """
        found = {
            suffix: count
            for suffix, count in self.suffixes.items()
            if not has_wanted or suffix in self.wanted.lookalikes
        }
        parts = []
        if found:
            named = ", ".join(suffix or "no suffix" for suffix in sorted(found)[:8])
            expected = " ".join(sorted(self.wanted.suffixes))
            parts.append(
                f"{sum(found.values())} files are not taken ({named}); {self.wanted.name} end in {expected}"
            )
        if self.folders and not has_wanted:
            parts.append(
                f"{self.folders} folders in it are not looked into; 'subfolders: true' takes their {self.wanted.name}"
            )
        if self.unseen:
            parts.append(f"{self.unseen} files or folders in it cannot be looked at ({self.why_unseen})")
        return "; ".join(parts) or None


def list_files(folder: Path, *, subfolders: bool, skipped: Skipped | None = None) -> Iterator[FileStamp]:
    """Every file of the kind that ``skipped`` wants, in no order; hidden ones and links to folders are left out.

    Raises:
        OSError: the folder cannot be listed. One below it that cannot is counted in ``skipped``.
    """
    skipped = skipped or Skipped()
    waiting = [(os.fspath(folder), "", 0)]
    while waiting:
        path, prefix, depth = waiting.pop()
        try:
            entries = os.scandir(path)
        except OSError as err:
            if depth == 0:
                raise
            skipped.note_unseen(err)
            continue
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    if subfolders and depth < MAX_DEPTH:
                        waiting.append((entry.path, f"{prefix}{entry.name}/", depth + 1))
                    else:
                        skipped.folders += 1
                    continue
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - ten times as fast as Path
                if suffix not in skipped.wanted.suffixes:
                    skipped.suffixes[suffix] += 1
                    continue
                stamp = _look_at(entry, prefix, skipped)
                if stamp is not None:
                    yield stamp


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sort key in which numbers inside names count as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.lower())]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _look_at(entry: "os.DirEntry[str]", prefix: str, skipped: Skipped) -> FileStamp | None:
    try:
        return FileStamp.of(prefix + entry.name, entry.stat()) if entry.is_file() else None
    except OSError as err:
        skipped.note_unseen(err)
        return None
