"""What a recipe names besides the model: labels, golden inputs, and the folders to quantize with and to measure on."""

import re
from pathlib import Path

import numpy as np

from edge_runtime.bundles.build.candidates import Pictures
from edge_runtime.bundles.build.recipe_file import RecipeFile
from edge_runtime.errors import BundleError
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preprocess import make_preprocessor
from edge_runtime.inference.preprocess.input_files import list_inputs
from edge_runtime.inference.preprocess.reference_folder import read_reference_folder
from edge_runtime.inference.signals.files import read_windows, write_window
from edge_runtime.inference.specs import PreprocessSpec, SignalSpec

MOST_GOLDEN = 64
MOST_CALIBRATION, MOST_LABELLED = 300, 2000
MOST_BYTES = 512 * 1024 * 1024
"""Of one folder's prepared inputs in memory; of a larger folder every k-th is taken."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_+-]+")


def read_labels(recipe: RecipeFile) -> tuple[str, ...]:
    """Names of the classes; none where the recipe has none.

    Raises:
        BundleError: their file cannot be read.
    """
    if recipe.labels is None:
        return ()
    if not isinstance(recipe.labels, Path):
        return recipe.labels
    try:
        text = recipe.labels.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise BundleError(recipe.labels, f"cannot be read ({err})", "a name a line", "Check labels.") from err
    return tuple(line.strip() for line in text.rstrip().splitlines())


def read_golden(folder: Path, spec: PreprocessSpec) -> dict[str, bytes]:
    """Encoded pictures, or windows as array files, by a name that is safe in a bundle.

    Raises:
        BundleError: the folder cannot be read, or has too few or too many.
    """
    which = "different" if spec.noun == "window" else "colourful, different"
    fix = f"Put 4 to 16 {which} {spec.noun}s there; they travel with the bundle."
    try:
        paths = list_inputs(folder, spec.noun)
        found = {
            f"{i:02d}-{_UNSAFE.sub('-', p.stem)[:60]}{_golden_suffix(p, spec)}": _golden_bytes(p, spec)
            for i, p in enumerate(paths)
        }
    except OSError as err:
        found_instead = f"cannot be read ({err.strerror or err})"
        raise BundleError(folder, found_instead, f"a folder of golden {spec.noun}s", fix) from err
    if not 1 <= len(found) <= MOST_GOLDEN:
        raise BundleError(folder, f"{len(found)} golden {spec.noun}s", f"1 to {MOST_GOLDEN}", fix)
    return found


def _golden_suffix(path: Path, spec: PreprocessSpec) -> str:
    return ".npy" if isinstance(spec, SignalSpec) else path.suffix.lower()


def _golden_bytes(path: Path, spec: PreprocessSpec) -> bytes:
    """The picture as it is; of a window the numbers, whatever format the file has."""
    if not isinstance(spec, SignalSpec):
        return path.read_bytes()
    try:
        window = read_windows(path, spec, lambda _: None)[0]
    except InputFlaw as flaw:
        raise BundleError(path, str(flaw), "a golden window", "Correct it, or take another.") from flaw
    return write_window(window, spec.payload)


def read_pictures(recipe: RecipeFile, spec: PreprocessSpec, labels: tuple[str, ...]) -> Pictures | None:
    """The prepared inputs of the calibration folder, and of the labelled one; None without such a folder.

    Raises:
        BundleError: the labelled folder has no labels.
        CalibrationError: a folder cannot be used.
    """
    if recipe.calibration is None:
        return None
    preprocessor = make_preprocessor(spec)
    most = max(32, MOST_BYTES // (4 * int(np.prod(spec.tensor_shape))))
    x, _ = read_reference_folder(recipe.calibration, preprocessor, labels, min(most, MOST_CALIBRATION))
    if recipe.labelled is None:
        return Pictures(x)
    labelled, y = read_reference_folder(recipe.labelled, preprocessor, labels, min(most, MOST_LABELLED))
    if y is None:
        fix = f"Put the {spec.noun}s into sub-folders named like labels."
        raise BundleError(recipe.labelled, f"{spec.noun}s without labels", "a sub-folder a class", fix)
    return Pictures(x, (labelled, y))
