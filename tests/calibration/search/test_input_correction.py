"""The correction of the input by its moments."""

import numpy as np
import pytest

from calibration.patch import correction
from calibration.search.input_correction import correct_input
from calibration.stats.moments import TapMoments

HEALTHY = TapMoments(np.array([0.0, 1e5]), np.array([1.0, 1e12]), 64)
SEEN = TapMoments(np.array([3.0, 1e5]), np.array([4.0, 1e12]), 64)


def test_each_channel_of_a_signal_has_its_unit():
    found = correct_input(SEEN, HEALTHY, (2, 40))
    assert found.scale == pytest.approx([0.5, 1.0], rel=1e-3)
    assert found.offset == pytest.approx([-1.5, 0.0], rel=1e-3)


def test_pictures_are_corrected_as_before():
    found, before = correct_input(SEEN, HEALTHY, (2, 8, 8)), correction(SEEN, HEALTHY)
    assert found.scale.tolist() == before.scale.tolist()
    assert found.offset.tolist() == before.offset.tolist()
