"""How many independent frames a recording is worth: those of a fixed camera resemble their neighbours.

From the single-frame moments that a baseline keeps, with the features and the formula of ``drift_space``. Pure.
Called when a baseline is made.
"""

from collections.abc import Mapping

import numpy as np

from calibration.drift import mahalanobis
from calibration.errors import ModelError
from calibration.stats.moments import FrameMoments


def effective_frames(frames: Mapping[str, FrameMoments]) -> float:
    """The effective sample size of frames in the order in which they were seen, at most their number.

    Args:
        frames: Single-frame moments per tap, (N, C) each, of the same N frames.

    Raises:
        ModelError: a layer's output has another axis first, such as the tokens of some transformers.
    """
    taps = list(frames.values())
    count = len(taps[0].mean)
    odd = [name for name, tap in frames.items() if len(tap.mean) != count]
    if odd:
        fix = "Export it with the frames first, as with batch_first=True in torch."
        raise ModelError("model", "another axis than the frames comes first", "(N, C, ...)", fix, odd)
    mean = np.concatenate([tap.mean for tap in taps], axis=1)
    var = np.concatenate([tap.var for tap in taps], axis=1)
    units = mahalanobis.Units.of(mean, var, tuple(tap.mean.shape[1] for tap in taps))
    return mahalanobis.effective_frames(units.features(mean, var))
