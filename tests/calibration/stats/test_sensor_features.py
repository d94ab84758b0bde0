"""Which measurements a sample has, by its shape."""

import numpy as np
import pytest

from calibration.stats.sensor_features import (
    SENSOR_TAPS,
    SIGNS,
    has_sensor_features,
    sensor_features,
    sensor_features_of_frames,
)

SIGNS_OF = {
    (1, 28, 28): {"detail", "grid"},
    (3, 17, 33): {"detail", "grid"},
    (6, 50): {"spectrum", "dropout"},
}


@pytest.mark.parametrize("shape", SIGNS_OF)
def test_pictures_and_windows_have_their_own(shape):
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    found = sensor_features_of_frames(x)
    assert {sign for sign, taps in SIGNS.items() if found.keys() & set(taps)} == SIGNS_OF[shape]
    assert found.keys() <= set(SENSOR_TAPS)
    for tap, (mean, var) in sensor_features(x[1]).items():
        assert found[tap].mean[1] == pytest.approx(mean)
        assert found[tap].var[1] == pytest.approx(var)


@pytest.mark.parametrize("shape", [(3, 8, 8), (64,), (3, 5), (1, 4, 64, 64)])
def test_what_is_too_small_or_neither_has_none(shape):
    assert not has_sensor_features(shape)
    assert sensor_features_of_frames(np.zeros((2, *shape), np.float32)) == {}
