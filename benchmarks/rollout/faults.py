"""The ways in which a version is broken, and the pictures that its model breaks on. No framework here."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundles.self_test import prepare_golden
from edge_runtime.bundles.verify import Bundle

CELLS = 4
"""A picture is recognised by its means in so many cells a side."""
FAR = 1e-4
"""Squared distance of those means from every golden picture's, from which on a picture is a live one."""
SPREAD = 1000.0
"""The mean of a picture times this has a fraction as good as drawn at random."""
SOME = 0.08
"""Of the live frames: with fewer, a stage of 60 may see none, and what is not seen is not caught."""
HALF = 0.5
LEAK = 120_000_000
"""Numbers (4 bytes each) that a leaking model asks for and an engine keeps."""
ALL_MEMORY = 2**37
SLOW_SIDE, SLOW_TIMES = 900, 4
"""Products of square matrices that a slow model works out in vain: 6 GFLOP."""


class Fault(StrEnum):
    """What is wrong with a version; every one passes its self-test, but for CRASH."""

    NONE = "good"
    SLOW = "slow"
    NAN = "NaN on live frames"
    LABELS = "wrong labels"
    PREPROCESSING = "wrong preprocessing"
    CRASH = "crashes on load"
    SOMETIMES = "fails on some frames"
    """On 8 % of live frames, by their contents, and on no golden picture."""
    KILLED = "ends the process"
    """``kill -9`` while it is tried, twice; the bundle is sound."""
    LEAK = "takes memory"
    """On live frames, 460 MiB that the engine keeps."""
    DISAGREES = "low agreement"
    """Half of the live frames are answered with nothing."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """The live frames that a model breaks on: far from every known picture, and a share of those."""

    known: NDArray[np.float32]
    """(K, 3 * CELLS * CELLS) means of golden pictures and of the black one of a warm-up, as the model gets them."""
    share: float = 1.0


def trigger_for(bundle: Bundle, share: float = 1.0) -> Trigger:
    """All live frames, or a share of them; never a golden picture."""
    spec = bundle.manifest.preprocess
    golden = [
        prepare_golden(spec, one.input, bundle.read(one.input)).tensor for one in bundle.manifest.golden
    ]
    known = [cell_means(picture) for picture in (*golden, np.zeros_like(golden[0]))]
    return Trigger(np.stack(known).astype(np.float32), share)


def cell_means(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of the cells of a prepared picture (3, H, W), channel by channel."""
    channels, height, width = picture.shape
    high, wide = height // CELLS, width // CELLS
    cells = picture[:, : high * CELLS, : wide * CELLS].reshape(channels, CELLS, high, CELLS, wide)
    return np.asarray(cells.mean((2, 4)).ravel(), np.float32)
