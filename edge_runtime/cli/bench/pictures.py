"""Pictures as a camera gives them: the bundle's golden pictures as JPEGs of one size, or a folder of the user's."""

import shutil
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.bundles.verify import Bundle
from edge_runtime.datatypes import PICTURE_SUFFIXES
from edge_runtime.errors import BundleError

QUALITY = 90
"""Of the JPEGs; cameras send 80 to 95."""


def write_pictures(bundle: Bundle, given: Path | None, size: tuple[int, int], folder: Path) -> list[Path]:
    """Put the pictures to bench with into ``folder``: those of the folder ``given``, or else the bundle's golden ones.

    ``size`` is width and height of the golden ones as JPEGs, in pixels.

    Raises:
        BundleError: the bundle takes no pictures, there is none, or one cannot be read.
    """
    if bundle.manifest.preprocess.noun != "picture":
        fix = "Use `tune`, which measures the engine alone."
        raise BundleError(bundle.path, "a model of signals", "one of pictures: bench plays cameras", fix)
    if given is not None:
        names = sorted(path for path in given.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
        if not names:
            expected = "JPEG, PNG or other pictures"
            raise BundleError(given, "no pictures in it", expected, "Give another folder.")
        return [Path(shutil.copyfile(path, folder / path.name)) for path in names]
    made = []
    for number, golden in enumerate(bundle.manifest.golden):
        pixels = cv2.imdecode(np.frombuffer(bundle.read(golden.input), np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            found, fix = "cannot be decoded", "Give --pictures FOLDER."
            raise BundleError(bundle.path / golden.input, found, "a picture", fix)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        made.append(folder / f"{number:03}.jpg")
        made[-1].write_bytes(encoded.tobytes())
    return made
