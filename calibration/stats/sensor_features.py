"""Properties of the sensor that channel moments do not show: those of a camera, or those of a signal's sensor.

Chosen by the shape of a sample: (C, H, W) is a picture, (C, T) a window of a signal. They are moments of single frames
under separate names, so that the drift monitor treats them like taps. Pure numpy.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.stats.moments import FrameMoments, MeanVar
from calibration.stats.picture_features import (
    DETAIL_TAP,
    GRID_TAP,
    QUIET_TAP,
    has_picture_features,
    picture_features,
)
from calibration.stats.signal_features import (
    DROPOUT_TAP,
    SPECTRUM_TAP,
    has_signal_features,
    signal_features,
)

SPECTRUM, DROPOUT = "spectrum", "dropout"
"""The groups of a signal."""
SIGNS: Mapping[str, tuple[str, ...]] = {
    "detail": (DETAIL_TAP, QUIET_TAP),
    "grid": (GRID_TAP,),
    SPECTRUM: (SPECTRUM_TAP,),
    DROPOUT: (DROPOUT_TAP,),
}
"""Which measurements are watched together, by the name under which the drift monitor tells of them."""
SENSOR_TAPS = tuple(tap for taps in SIGNS.values() for tap in taps)


def has_sensor_features(shape: Sequence[int]) -> bool:
    """Whether a sample (C, ...) is a picture or a window that is large enough."""
    return has_picture_features(shape) or has_signal_features(shape)


def sensor_features(sample: NDArray[np.float32]) -> dict[str, MeanVar]:
    """The measurements of one prepared sample (C, H, W) or (C, T): name -> (mean (K,), var (K,)), float64."""
    return picture_features(sample) if sample.ndim == 3 else signal_features(sample)


def sensor_features_of_frames(x: NDArray[np.float32]) -> dict[str, FrameMoments]:
    """The same for (N, C, ...); nothing for samples that have none."""
    if not has_sensor_features(x.shape[1:]):
        return {}
    found: Sequence[Mapping[str, MeanVar]] = [sensor_features(sample) for sample in x]
    return {
        tap: FrameMoments(np.stack([f[tap][0] for f in found]), np.stack([f[tap][1] for f in found]))
        for tap in found[0]
    }
