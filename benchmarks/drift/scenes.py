"""Three sites for the drift monitor: cut-outs, clothes, and a street whose frames resemble their neighbours.

Each gives a model, healthy pictures for the baseline, other healthy pictures to watch, and how many of them the
model gets right. Pictures come from Debian packages (see ``cutouts``, ``fashion``, ``street_video``); no statistics
here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.datasets import cutouts, street_video
from edge_runtime.sources.demo import camera_drift

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

FRESH_ROUNDS = 4
"""Times that each watched product is composed anew on each of the three backgrounds."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One site."""

    name: str
    model: bytes
    baseline: Pixels
    """uint8 (N,H,W,1|3), healthy."""
    watched: Pixels
    """Others of the same site, healthy; in the order of time when ``is_video``."""
    content: NDArray[np.int64] | None
    """Which product each watched picture shows; None: no streams of few products."""
    prepare: Callable[[Pixels], Floats]
    accuracy: Callable[[NDArray[np.int64]], float] | None
    """Share of right answers of (N,) predicted classes on the watched pictures; None: not known."""
    is_video: bool = False
    fresh: tuple[Pixels, NDArray[np.int64]] | None = None
    """More pictures of the watched products, and which one each shows: a camera never gives the same picture twice."""


def drifted(pixels: Pixels, drift: str, severity: float, seed: int) -> Pixels:
    """The pictures as the camera would deliver them; grey ones stay grey."""
    rng = np.random.default_rng([seed, *drift.encode()])
    colour = np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
    found = np.stack([camera_drift.apply(drift, picture, severity, rng) for picture in colour])
    if pixels.shape[3] == 3:
        return found
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None] for picture in found])


def cutout_scene(model: Path, seed: int, baseline_frames: int | None = None) -> Scene:
    """EfficientNet-Lite0: a baseline of 41 objects on three backgrounds, 73 other objects to watch.

    The baseline has 123 pictures, or the first ``baseline_frames`` of them.
    """
    split = cutouts.load_split(seed, new_objects=True)
    fresh = cutouts.fresh_test(seed, FRESH_ROUNDS)
    kinds = {kind: i for i, kind in enumerate(sorted(set(split.test.accepted), key=sorted))}
    return Scene(
        "cut-outs, EfficientNet-Lite0 int8",
        model.read_bytes(),
        split.baseline.pixels[:baseline_frames],
        split.test.pixels,
        np.array([kinds[kind] for kind in split.test.accepted]),
        cutouts.prepare,
        split.test.accuracy,
        fresh=(fresh.pixels, np.array([kinds[kind] for kind in fresh.accepted])),
    )


def fashion_scene(folder: Path, seed: int, baseline_frames: int | None = None) -> Scene:
    """A small int8 net on 28x28 grey pictures of ten kinds of clothes; 512 pictures of baseline, or the first of them.

    The baseline has seen all ten kinds.
    """
    from benchmarks.accuracy.datasets import fashion

    split = fashion.load_split(seed)
    return Scene(
        "Fashion-MNIST, small CNN int8",
        fashion.trained_net(seed, folder).int8,
        split.baseline.pixels[:baseline_frames],
        split.test.pixels,
        split.test.labels,
        fashion.prepare,
        lambda predicted: float((predicted == split.test.labels).mean()),
    )


def street_scene(model: Path, video: Path) -> Scene:
    """A fixed camera over a street, 0.2 s between frames: the first half is the baseline, the second is watched."""
    frames, _ = street_video.frames_of(video, first=0, step=2)
    small = np.stack([cv2.resize(f, (cutouts.SIDE,) * 2, interpolation=cv2.INTER_AREA) for f in frames])
    half = len(small) // 2
    return Scene(
        "street video, EfficientNet-Lite0 int8",
        model.read_bytes(),
        small[:half],
        small[half:],
        None,
        cutouts.prepare,
        None,
        is_video=True,
    )
