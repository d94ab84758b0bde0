import numpy as np
import pytest

from calibration.drift.mahalanobis import effective_frames
from calibration.errors import ModelError
from calibration.stats.moments import FrameMoments


def moments(frames: int, channels: int) -> FrameMoments:
    rng = np.random.default_rng(frames)
    return FrameMoments(rng.normal(0, 1, (frames, channels)), rng.uniform(1, 2, (frames, channels)))


def test_layers_whose_first_axis_is_no_frame_are_named() -> None:
    assert 0 < effective_frames({"input": moments(16, 3), "conv": moments(16, 8)}) <= 16
    with pytest.raises(ModelError, match="attention"):
        effective_frames({"input": moments(16, 3), "attention": moments(144, 8)})
