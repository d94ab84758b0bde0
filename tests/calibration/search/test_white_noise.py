"""White noise alone is told from noise on top of a signal, and nothing is said where too little shows."""

import numpy as np
import pytest

from calibration.search.white_noise import is_white_noise
from tests.support.signal_bundles import machine_windows


def windows(count, seed):
    """Float32 (N, 3, 256), standardised."""
    x = np.stack(machine_windows(count, seed)).transpose(0, 2, 1)
    return np.asarray(
        (x - x.mean(axis=(0, 2), keepdims=True)) / x.std(axis=(0, 2), keepdims=True), np.float32
    )


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


HEALTHY, LIVE = windows(64, 1), windows(64, 2)


@pytest.mark.parametrize("level", [0.1, 1.0, 5.0])
def test_noise_alone_is_found_however_loud(level):
    assert is_white_noise(level * noise(LIVE.shape) + 3, HEALTHY)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0, 2.0])
def test_noise_on_top_of_the_signal_is_another_thing(level):
    assert not is_white_noise(LIVE + level * noise(LIVE.shape), HEALTHY)


def test_one_channel_that_measures_is_enough():
    live = noise(LIVE.shape)
    live[:, 2] = LIVE[:, 2]
    assert not is_white_noise(live, HEALTHY)


def test_nothing_is_said_where_healthy_windows_are_noise_as_well():
    assert not is_white_noise(noise(LIVE.shape), noise(HEALTHY.shape, 1))


def test_other_noise_is_not_white():
    brown = np.cumsum(noise(LIVE.shape), axis=2)
    assert not is_white_noise(brown, HEALTHY)


@pytest.mark.parametrize("shape", [(64, 3), (64, 3, 4)])
def test_vectors_and_short_windows_have_no_spectrum(shape):
    assert not is_white_noise(noise(shape), noise(shape, 1))
