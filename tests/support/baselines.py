"""A small baseline with or without healthy samples."""

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.baseline.packing import pack_healthy_samples
from calibration.stats.moments import Moments, TapMoments, moments_of_frames
from tests.support.onnx_nets import pictures


def two_tap_baseline(healthy_samples: bool = True) -> Baseline:
    x = pictures(12)
    frames = moments_of_frames(x)
    taps = {"input": frames.pool(), "conv": TapMoments(np.arange(4.0), np.ones(4), 12.0)}
    packed = (
        pack_healthy_samples(x[:5]).with_answers(np.full((5, 3), 1 / 3), None) if healthy_samples else None
    )
    return Baseline(Moments(taps), {"input": frames}, "a" * 64, (3, 16, 16), 12, 6.5, 1.7e9, "0.1", packed)
