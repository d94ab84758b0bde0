"""What a bench plays: pictures as a camera gives them, or windows as a folder of a sensor holds them.

Of the bundle, its golden inputs (pictures become JPEGs of one size); or those of a folder of the user's.
"""

import shutil
from pathlib import Path

import cv2
import numpy as np

from calibration.stats.sampling import spread_over
from edge_runtime.bundles.verify import Bundle
from edge_runtime.datatypes import PICTURE_SUFFIXES
from edge_runtime.errors import BundleError
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.signals.files import WINDOW_SUFFIXES, read_windows, write_window
from edge_runtime.inference.signals.prepare import SignalPreprocessor
from edge_runtime.inference.specs import SignalSpec

QUALITY = 90
"""Of the JPEGs; cameras send 80 to 95."""
MOST_WINDOWS = 1000
"""Of a folder, evenly spread: one record may hold millions."""


def write_inputs(bundle: Bundle, given: Path | None, size: tuple[int, int], folder: Path) -> list[Path]:
    """Put the files to bench with into ``folder``, each one input: those of the folder ``given``, or the golden ones.

    ``size`` is width and height of golden pictures as JPEGs, in pixels.

    Raises:
        BundleError: there is none, or one cannot be read.
    """
    spec = bundle.manifest.preprocess
    if isinstance(spec, SignalSpec):
        return _write_golden_windows(bundle, folder) if given is None else _write_windows(given, spec, folder)
    if given is None:
        return _write_golden_pictures(bundle, size, folder)
    names = _list_files(given, PICTURE_SUFFIXES, "no pictures in it", "JPEG, PNG or other pictures")
    return [Path(shutil.copyfile(path, folder / path.name)) for path in names]


def _list_files(given: Path, suffixes: frozenset[str], found: str, expected: str) -> list[Path]:
    names = sorted(path for path in given.iterdir() if path.suffix.lower() in suffixes)
    if not names:
        raise BundleError(given, found, expected, "Give another folder.")
    return names


def _write_golden_pictures(bundle: Bundle, size: tuple[int, int], folder: Path) -> list[Path]:
    made = []
    for number, golden in enumerate(bundle.manifest.golden):
        pixels = cv2.imdecode(np.frombuffer(bundle.read(golden.input), np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            found, fix = "cannot be decoded", "Give --inputs FOLDER."
            raise BundleError(bundle.path / golden.input, found, "a picture", fix)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        made.append(folder / f"{number:03}.jpg")
        made[-1].write_bytes(encoded.tobytes())
    return made


def _write_golden_windows(bundle: Bundle, folder: Path) -> list[Path]:
    made = []
    for number, golden in enumerate(bundle.manifest.golden):
        made.append(folder / f"{number:04}{Path(golden.input).suffix}")
        made[-1].write_bytes(bundle.read(golden.input))
    return made


def _write_windows(given: Path, spec: SignalSpec, folder: Path) -> list[Path]:
    """Each window of the files in ``given`` as a file of the same kind that golden windows are."""
    found = []
    for path in _list_files(given, WINDOW_SUFFIXES, "no files of samples in it", "windows or records"):
        try:
            windows = read_windows(path, spec, SignalPreprocessor(spec).check_bytes)
        except InputFlaw as err:
            raise BundleError(path, str(err), "a window or a record", "Give another folder.") from err
        found += [window for window in windows if len(window) == spec.input_length]
    if not found:
        expected = f"windows of {spec.input_length} samples"
        raise BundleError(given, "only shorter windows in it", expected, "Give another folder.")
    made = [folder / f"{number:04}.npy" for number in range(min(len(found), MOST_WINDOWS))]
    for path, at in zip(made, spread_over(len(found), MOST_WINDOWS), strict=True):
        path.write_bytes(write_window(found[at], spec.payload))
    return made
