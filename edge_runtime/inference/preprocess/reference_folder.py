"""A reference set an operator put into a folder: pictures or windows, or sub-folders of them named like labels.

They go through the same preprocessing as live ones. What cannot be used is an error that names the files:
an operator's set is small and deliberate, so a damaged one should be noticed, not skipped.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.errors import CalibrationError
from edge_runtime.datatypes import Rejected
from edge_runtime.inference.preparation import Preprocessor
from edge_runtime.inference.preprocess.input_files import Noun, list_frames, list_inputs

_EXAMPLES: Mapping[Noun, str] = {"picture": ".jpg or .png", "window": ".npy or .csv"}
INDEX = re.compile(r"[0-9]{1,6}")


class ReferenceFolderError(CalibrationError):
    """The folder cannot be used as a reference set; the text lists what is wrong."""


def read_reference_folder(
    folder: Path, preprocessor: Preprocessor, labels: tuple[str, ...], most: int
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Prepared pictures or windows, and their labels.

    Args:
        folder: Files directly in it (no labels), or one sub-folder a label; not a mixture. A file may hold several
            windows.
        preprocessor: The bundle's.
        labels: The bundle's label names; a sub-folder is one of them or an index into them.
        most: Upper bound on their number; with more files, every k-th is taken, and of each the same share of windows.

    Returns:
        ``x`` float32 (N, ...) in the model's layout, and ``y`` int64 (N,), None without labels.

    Raises:
        ReferenceFolderError: missing, unreadable, empty, mixed, unknown label, unusable files.
    """
    noun = preprocessor.spec.noun
    try:
        entries = _list_entries(folder, labels, noun)
    except OSError as err:
        raise ReferenceFolderError(
            f"{folder}: cannot be read ({err.strerror}); check the path and its permissions"
        ) from err
    frames, problems = list[tuple[NDArray[np.float32], int | None]](), list[str]()
    for path, label in _mix(entries[:: -(-len(entries) // most)]):
        for frame in list_frames(path, preprocessor, max(1, most // len(entries))):
            prepared = preprocessor.prepare(frame)
            if isinstance(prepared, Rejected):
                problems.append(f"{path.name}: {prepared.reason} ({prepared.detail})")
                break
            frames.append((prepared.tensor, label))
    if problems:
        shown = "; ".join(problems[:10])
        raise ReferenceFolderError(f"{folder}: {len(problems)} {noun}s cannot be used: {shown}. Remove them.")
    x = np.stack([tensor for tensor, _ in frames])
    if frames[0][1] is None:
        return x, None
    return x, np.array([label for _, label in frames], dtype=np.int64)


def _mix(entries: list[tuple[Path, int | None]]) -> list[tuple[Path, int | None]]:
    """The labels in turn: samples count as taken one after the other, and quarters of a site's time show all it has."""
    groups: defaultdict[int | None, list[tuple[Path, int | None]]] = defaultdict(list)
    for entry in entries:
        groups[entry[1]].append(entry)
    turns = zip_longest(*groups.values())
    return [entry for turn in turns for entry in turn if entry is not None]


def _list_entries(folder: Path, labels: tuple[str, ...], noun: Noun) -> list[tuple[Path, int | None]]:
    if not folder.is_dir():
        raise ReferenceFolderError(
            f"{folder}: no such folder; expected {noun}s, or sub-folders named like labels"
        )
    loose = list_inputs(folder, noun)
    groups = sorted(path for path in folder.iterdir() if path.is_dir())
    if loose and groups:
        raise ReferenceFolderError(f"{folder}: holds {noun}s and sub-folders; expected one or the other")
    entries: list[tuple[Path, int | None]] = [(path, None) for path in loose]
    for group in groups:
        index = _label_index(group.name, labels)
        if index is None:
            raise ReferenceFolderError(f"{group}: no label of this bundle has this name; see labels.txt")
        entries += [(path, index) for path in list_inputs(group, noun)]
    if not entries:
        raise ReferenceFolderError(f"{folder}: no {noun}s; expected files like {_EXAMPLES[noun]}")
    return entries


def _label_index(name: str, labels: tuple[str, ...]) -> int | None:
    if name in labels:
        return labels.index(name)
    return int(name) if INDEX.fullmatch(name) and (not labels or int(name) < len(labels)) else None
