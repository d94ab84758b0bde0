"""Which channels of a signal are dead."""

import numpy as np
import pytest

from calibration.baseline.baseline import Baseline
from calibration.search.dead_channels import find_dead_channels, in_words
from calibration.stats.moments import INPUT_TAP, Moments, moments_of_frames


def signals(count: int, seed: int, shape: tuple[int, ...] = (3, 40)) -> np.ndarray:
    """Windows of unlike strength: some machines stand still."""
    rng = np.random.default_rng(seed)
    strength = rng.choice([0.05, 1.0, 3.0], (count, *[1] * len(shape)))
    return (strength * rng.normal(0, 1, (count, *shape)) + 10).astype(np.float32)


def baseline_of(x: np.ndarray) -> Baseline:
    frames = moments_of_frames(x)
    moments = Moments({INPUT_TAP: frames.pool()})
    return Baseline(moments, {INPUT_TAP: frames}, "0" * 64, x.shape[1:], len(x), len(x), 0.0, "test")


def dead_in(live: np.ndarray, healthy: np.ndarray) -> dict[int, int]:
    return dict(find_dead_channels(moments_of_frames(live), baseline_of(healthy)))


def test_a_constant_channel_is_dead_at_any_value():
    live = signals(20, 1)
    live[:, 1] = 10.0
    assert dead_in(live, signals(64, 0)) == {1: 20}
    live[:, 1], live[:, 2] = 0.0, 1e4
    assert dead_in(live, signals(64, 0)) == {1: 20, 2: 20}


def test_a_channel_that_died_half_way_is_dead():
    live = signals(20, 1)
    live[10:, 0] = live[10, 0, 0]
    assert dead_in(live, signals(64, 0)) == {0: 10}


def test_a_machine_that_stands_still_is_no_dead_channel():
    healthy = signals(64, 0)
    quiet = healthy[healthy.std(axis=(1, 2)) < 0.1]
    assert dead_in(quiet, healthy) == {}


def test_a_channel_that_is_often_constant_says_nothing_when_it_is():
    healthy, live = signals(64, 0), signals(20, 1)
    healthy[::4, 1] = 10.0
    live[:, 1] = 10.0
    assert dead_in(live, healthy) == {}


def test_a_feature_of_one_value_is_dead_unless_all_are():
    healthy, live = signals(64, 0, (5,)), signals(20, 1, (5,))
    live[:, 3] = 7.0
    assert dead_in(live, healthy) == {3: 20}
    assert dead_in(np.repeat(live[:1], 20, axis=0), healthy) == {}


def test_pictures_have_none():
    healthy, live = signals(32, 0, (3, 16, 16)), signals(20, 1, (3, 16, 16))
    live[:, 1] = 0.0
    assert dead_in(live, healthy) == {}


@pytest.mark.parametrize(("dead", "said"), [({3: 20}, ["3", "5", "20"]), ({0: 4, 2: 9}, ["0", "2", "9"])])
def test_the_reason_names_them(dead, said):
    text = in_words(dead, 6, 64)
    assert all(word in text for word in said)


def test_healthy_windows_have_none():
    assert dead_in(signals(20, 1), signals(64, 0)) == {}
