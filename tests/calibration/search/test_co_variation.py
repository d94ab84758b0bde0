"""Rank correlations tell other content from a sensor."""

import numpy as np
import pytest

from calibration.search.co_variation import disagreement


def features(count: int, seed: int, mixing: int = 9) -> np.ndarray:
    mix = np.random.default_rng(mixing).normal(0, 1, (6, 6))
    return (np.random.default_rng(seed).normal(0, 1, (count, 6)) @ mix).astype(np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("seed", range(5))
def test_fresh_samples_agree(seed: int) -> None:
    assert disagreement(features(64, seed), features(96, 50), rng()) < 1


def test_curves_of_any_unit_change_nothing() -> None:
    live = features(64, 1)
    bent = np.exp(live) * np.array([1e-6, 1, 1e6, 1, 1, 1])
    assert disagreement(bent.astype(np.float32), features(96, 50), rng()) == pytest.approx(
        disagreement(live, features(96, 50), rng())
    )


def test_features_that_vary_otherwise_disagree() -> None:
    assert disagreement(features(64, 1, mixing=10), features(96, 50), rng()) > 2
    alone = np.random.default_rng(1).normal(0, 1, (64, 6)).astype(np.float32)
    assert disagreement(alone, features(96, 50), rng()) > 2


def test_a_single_feature_and_constant_ones_say_nothing() -> None:
    assert disagreement(features(64, 1)[:, :1], features(96, 50)[:, :1], rng()) == 0
    constant = np.ones((64, 3), np.float32)
    assert disagreement(constant, constant, rng()) == 0


def test_many_features_are_taken_in_part() -> None:
    wide = np.random.default_rng(0).normal(0, 1, (200, 3000)).astype(np.float32)
    assert disagreement(wide[:64], wide[64:], rng()) < 1
