"""A reference set an operator put into a folder: pictures, or sub-folders of pictures named like labels.

Pictures go through the same preprocessing as live frames. What cannot be used is an error that names the files:
an operator's set is small and deliberate, so a damaged one should be noticed, not skipped.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.errors import CalibrationError
from edge_runtime.datatypes import PICTURE_SUFFIXES, Frame, Rejected
from edge_runtime.inference.preparation import Preprocessor

INDEX = re.compile(r"[0-9]{1,6}")


class ReferenceFolderError(CalibrationError):
    """The folder cannot be used as a reference set; the text lists what is wrong."""


def read_reference_folder(
    folder: Path, preprocessor: Preprocessor, labels: tuple[str, ...], most: int
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Prepared pictures and their labels.

    Args:
        folder: Pictures directly in it (no labels), or one sub-folder a label; not a mixture.
        preprocessor: The bundle's.
        labels: The bundle's label names; a sub-folder is one of them or an index into them.
        most: Upper bound on the number of pictures; with more, every k-th is taken.

    Returns:
        ``x`` float32 (N, ...) in the model's layout, and ``y`` int64 (N,), None without labels.

    Raises:
        ReferenceFolderError: missing, unreadable, empty, mixed, unknown label, unusable pictures.
    """
    try:
        entries = _list_entries(folder, labels)
    except OSError as err:
        raise ReferenceFolderError(
            f"{folder}: cannot be read ({err.strerror}); check the path and its permissions"
        ) from err
    step = -(-len(entries) // most)
    frames, problems = [], []
    for path, label in entries[::step]:
        prepared = preprocessor.prepare(Frame("reference", 0, path, 0.0, 0.0, colour=None))
        if isinstance(prepared, Rejected):
            problems.append(f"{path.name}: {prepared.reason} ({prepared.detail})")
        else:
            frames.append((prepared.tensor, label))
    if problems:
        shown = "; ".join(problems[:10])
        raise ReferenceFolderError(
            f"{folder}: {len(problems)} pictures cannot be used: {shown}. Remove them."
        )
    x = np.stack([tensor for tensor, _ in frames])
    if frames[0][1] is None:
        return x, None
    return x, np.array([label for _, label in frames], dtype=np.int64)


def _list_entries(folder: Path, labels: tuple[str, ...]) -> list[tuple[Path, int | None]]:
    if not folder.is_dir():
        raise ReferenceFolderError(
            f"{folder}: no such folder; expected pictures, or sub-folders named like labels"
        )
    loose = _list_pictures(folder)
    groups = sorted(path for path in folder.iterdir() if path.is_dir())
    if loose and groups:
        raise ReferenceFolderError(f"{folder}: holds pictures and sub-folders; expected one or the other")
    entries: list[tuple[Path, int | None]] = [(path, None) for path in loose]
    for group in groups:
        index = _label_index(group.name, labels)
        if index is None:
            raise ReferenceFolderError(f"{group}: no label of this bundle has this name; see labels.txt")
        entries += [(path, index) for path in _list_pictures(group)]
    if not entries:
        raise ReferenceFolderError(f"{folder}: no pictures; expected files like .jpg or .png")
    return entries


def _list_pictures(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )


def _label_index(name: str, labels: tuple[str, ...]) -> int | None:
    if name in labels:
        return labels.index(name)
    return int(name) if INDEX.fullmatch(name) and (not labels or int(name) < len(labels)) else None
