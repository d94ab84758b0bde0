"""The files of a folder that a model takes, and the frames in a file: a picture, or one or more windows."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from edge_runtime.datatypes import PICTURE_SUFFIXES, Flaw, Frame
from edge_runtime.inference.preparation import Preprocessor, read_or_flaw
from edge_runtime.inference.signals.files import WINDOW_SUFFIXES, read_windows
from edge_runtime.inference.signals.prepare import SignalPreprocessor

Noun = Literal["picture", "window"]


def list_inputs(folder: Path, noun: Noun) -> list[Path]:
    """The files of a folder that are taken for pictures or for windows, by name.

    Raises:
        OSError: it cannot be listed.
    """
    suffixes = WINDOW_SUFFIXES if noun == "window" else PICTURE_SUFFIXES
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file())


def list_frames(path: Path, preprocessor: Preprocessor, most: int | None = None) -> Iterator[Frame]:
    """The picture of a file, or its windows; at most ``most`` of them, evenly spaced."""
    if not isinstance(preprocessor, SignalPreprocessor):
        yield Frame("file", 0, path, 0.0, 0.0, colour=None)
        return
    windows = read_or_flaw(partial(read_windows, path, preprocessor.spec, preprocessor.check_bytes))
    if isinstance(windows, Flaw):
        yield Frame("file", 0, path, 0.0, 0.0, flaw=windows)
        return
    step = 1 if most is None else -(-len(windows) // most)
    for number in range(0, len(windows), step):
        yield Frame("file", number, windows[number], 0.0, 0.0)
