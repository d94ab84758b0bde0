"""Pictures of an operator stand for what the camera shows now only where both show the same drift."""

import numpy as np
import pytest

from calibration.baseline.baseline import Baseline
from calibration.search.likeness import find_unlikeness
from calibration.stats.moments import INPUT_TAP, Moments, moments_of_frames


def seen(count, seed, drift=lambda x: x):
    """What a camera shows whose pictures differ in brightness and contrast: the input alone is compared."""
    rng = np.random.default_rng(seed)
    light, spread = rng.normal(0, 0.3, (count, 3, 1, 1)), rng.uniform(0.7, 1.3, (count, 3, 1, 1))
    x = drift(rng.normal(0, 1, (count, 3, 8, 8)) * spread + light).astype(np.float32)
    frames = moments_of_frames(x)
    taps = Moments({INPUT_TAP: frames.pool()})
    return Baseline(taps, {INPUT_TAP: frames}, "a" * 64, (3, 8, 8), count, float(count), 0.0, "0.1")


def hazy(x):
    return x * 0.5 + 1.5


def dark(x):
    return x * 0.5 - 1.5


HEALTHY = seen(96, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_pictures_under_the_same_drift_are_alike(seed):
    assert find_unlikeness(seen(48, seed, hazy), seen(32, 10 + seed, hazy), HEALTHY) is None


@pytest.mark.parametrize(
    ("given", "live"),
    [(hazy, dark), (dark, hazy), (lambda x: x, hazy)],
    ids=["haze for darkness", "darkness for haze", "healthy for haze"],
)
def test_pictures_of_another_state_are_not(given, live):
    assert find_unlikeness(seen(48, 1, given), seen(48, 2, live), HEALTHY) is not None


def test_nothing_stands_for_a_healthy_site():
    healthy = seen(48, 2)
    assert find_unlikeness(seen(48, 1, hazy), healthy, HEALTHY) is not None
    assert find_unlikeness(healthy, healthy, HEALTHY) is not None


@pytest.mark.parametrize("few", ["given", "live"])
def test_too_few_frames_cannot_be_compared(few):
    counts = {"given": 48, "live": 48, few: 7}
    given, live = (seen(counts[name], seed, hazy) for seed, name in enumerate(("given", "live"), 1))
    assert "7 frames" in find_unlikeness(given, live, HEALTHY)
