"""Every drift of the evaluation under one name: corruptions, and camera drifts as ``camera:NAME``.

Severity is that of the corruption benchmarks, 0 (unchanged) to 5; for a camera drift 5 is its full strength.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.drifts.corruptions import CORRUPTIONS, corrupt
from edge_runtime.sources.demo import camera_drift

Pixels = NDArray[np.uint8]

HEALTHY = "none"
BOTH = "&"
"""Between the names of drifts that meet in one picture, the first one first."""
CAMERA = "camera:"
CORRUPTION_DRIFTS = tuple(CORRUPTIONS)
CAMERA_DRIFTS = tuple(CAMERA + name for name in camera_drift.DRIFTS)
SEVEREST = 5
TUNED_ON = tuple(
    CAMERA + name for name in ("contrast", "bright", "dark", "noise", "blur", "tint", "haze", "grey")
)
"""The gate was tuned on these with the seeds 0 to 3; other drifts and seeds are for confirmation."""


def drifted(pixels: Pixels, drift: str, severity: int, rng: np.random.Generator) -> Pixels:
    """The pictures uint8 (N,H,W,1 or 3) under a drift.

    ``one&two`` is the second drift after the first. A grey picture meets a camera drift as three equal channels, of
    which a grey sensor keeps the green one.

    Raises:
        ValueError: unknown drift, or a severity outside 0..5.
    """
    if BOTH in drift:
        for one in drift.split(BOTH):
            pixels = drifted(pixels, one, severity, rng)
        return pixels
    if drift == HEALTHY:
        return pixels.copy()
    if not drift.startswith(CAMERA):
        return corrupt(drift, pixels, severity, rng)
    colour = np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
    name, share = drift.removeprefix(CAMERA), severity / SEVEREST
    found = np.stack([camera_drift.apply(name, picture, share, rng) for picture in colour])
    return found[..., 1:2] if pixels.shape[3] == 1 else found
