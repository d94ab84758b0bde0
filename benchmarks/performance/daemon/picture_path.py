"""From a JPEG of 1280 x 720 to the model's tensor: ``benchmarks run picture-path``.

The daemon's picture code, and that which documentation shows with OpenCV and with Pillow, take turns picture by picture
in one thread of one process.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.performance.bare_runs import BUNDLE, Report, pictures_in
from benchmarks.performance.peers.pictures import READERS
from edge_runtime.bundles.verify import load_bundle
from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess import make_preprocessor

OURS = "daemon"


def measure(*, rounds: int, seconds: float) -> Report:
    """Median milliseconds a picture of each way, round by round."""
    preprocessor = make_preprocessor(load_bundle(BUNDLE).manifest.preprocess)
    ways: dict[str, Callable[[bytes], object]] = {
        OURS: lambda picture: preprocessor.prepare(Frame("bench", 0, picture, 0.0, 0.0)),
        **READERS,
    }
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        pictures = [path.read_bytes() for path in pictures_in(Path(name) / "pictures")]
    return {"rounds": [_round(ways, pictures, seconds) for _ in range(rounds)]}


def _round(
    ways: dict[str, Callable[[bytes], object]], pictures: list[bytes], seconds: float
) -> dict[str, float]:
    took_ms: dict[str, list[float]] = {name: [] for name in ways}
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        for picture in pictures:
            for name, prepare in ways.items():
                began_s = time.perf_counter()
                prepare(picture)
                took_ms[name].append(1000 * (time.perf_counter() - began_s))
    return {f"{name}_ms": float(np.median(values)) for name, values in took_ms.items()}
