"""What the measurements of a window see, and what they leave alone."""

import numpy as np
import pytest

from calibration.stats.signal_features import (
    DROPOUT_TAP,
    SPECTRUM_TAP,
    has_signal_features,
    held_share,
    is_signal,
    signal_features,
)


def window(seed: int = 0, channels: int = 2, length: int = 128) -> np.ndarray:
    """A slow walk with a little white noise, (channels, length)."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 0.3, (channels, length)), axis=1)
    return (walk + rng.normal(0, 0.05, walk.shape)).astype(np.float32)


def energy(x: np.ndarray) -> np.ndarray:
    """(channels, octaves)."""
    return signal_features(x)[SPECTRUM_TAP][0].reshape(len(x), -1)


def test_a_gain_moves_all_octaves_of_its_channel_alike():
    sample = window()
    louder = sample * np.array([[1.6], [1.0]], np.float32)
    change = energy(louder) - energy(sample)
    assert change[0] == pytest.approx(np.full(change.shape[1], np.log(1.6)), abs=1e-4)
    assert change[1] == pytest.approx(0.0, abs=1e-6)


def test_an_offset_moves_none():
    assert energy(window() + 100) == pytest.approx(energy(window()), abs=1e-3)


def test_a_band_limit_lowers_the_highest_octaves_and_noise_lifts_them():
    sample = window()
    soft = np.stack([np.convolve(c, np.ones(5) / 5, "same") for c in sample]).astype(np.float32)
    noisy = sample + np.random.default_rng(1).normal(0, 0.5, sample.shape).astype(np.float32)
    assert (energy(soft) - energy(sample))[:, 0].max() < -0.5
    assert (energy(noisy) - energy(sample))[:, 0].min() > 0.5
    assert abs(energy(noisy) - energy(sample))[:, -1].max() < 0.3


def test_held_values_are_counted_in_their_channel():
    sample = window(length=101)
    sample[1, 20:30] = sample[1, 19]
    assert signal_features(sample)[DROPOUT_TAP][0] == pytest.approx([0.0, 0.1])
    assert held_share(np.zeros((4, 2, 9), np.float32)) == pytest.approx(np.ones((4, 2)))


def test_a_dead_channel_gives_numbers():
    found = signal_features(np.zeros((1, 16), np.float32))
    assert all(np.isfinite(part).all() for pair in found.values() for part in pair)


@pytest.mark.parametrize(
    ("shape", "signal", "measured"),
    [((64,), True, False), ((3, 7), True, False), ((3, 8), True, True), ((3, 32, 32), False, False)],
)
def test_signals_are_known_by_their_shape(shape, signal, measured):
    assert is_signal(shape) is signal
    assert has_signal_features(shape) is measured
