"""A step needs two values of the loss and goes down it; the loss is what its formula says."""

import numpy as np
import pytest

from benchmarks.accuracy.methods.zeroth_order import (
    SEEN,
    ZerothOrderSettings,
    affines,
    loss_of,
    spsa_step,
)
from calibration import TapMoments


def moments(mean: list[float], var: list[float]) -> TapMoments:
    return TapMoments(np.array(mean), np.array(var), 100)


def test_steps_go_down_a_bowl() -> None:
    calls = 0
    aim = np.linspace(-1, 1, 10)

    def loss(at: np.ndarray) -> float:
        nonlocal calls
        calls += 1
        return float(((at - aim) ** 2).sum())

    settings, rng, at = ZerothOrderSettings(rate=0.06), np.random.default_rng(0), np.zeros(10)
    for _ in range(200):
        at = spsa_step(loss, at, settings, rng)
    assert calls == 400
    assert loss(at) < 0.1 * loss(np.zeros(10))


def test_the_start_changes_nothing_and_offsets_are_in_healthy_spreads() -> None:
    healthy = {"input": moments([0, 0], [1, 4]), "a": moments([5], [9])}
    start = affines(np.zeros(6), ["input", "a"], healthy)
    assert all((one.scale == 1).all() and (one.offset == 0).all() for one in start.values())
    found = affines(np.array([0, 0, 0.1, 0.5, 0.5, 1.0]), ["input", "a"], healthy)
    np.testing.assert_allclose(found["input"].offset, [0.5, 1.0], rtol=1e-4)
    np.testing.assert_allclose(found["a"].scale, np.exp([0.1]), rtol=1e-6)
    np.testing.assert_allclose(found["a"].offset, [3.0], rtol=1e-4)


def test_loss_is_entropy_and_distance_of_the_statistics() -> None:
    healthy = {"a": moments([0.0], [1.0])}
    maps = np.random.default_rng(0).normal(0, 1, (4, 1, 50, 50))
    maps = (maps - maps.mean()) / maps.std()
    sure, unsure = np.array([[50.0, 0.0]] * 4), np.zeros((4, 2))
    assert loss_of({"logits": sure, SEEN + "a": maps}, ["a"], healthy, 1.0) == pytest.approx(0, abs=1e-6)
    assert loss_of({"logits": unsure, SEEN + "a": maps}, ["a"], healthy, 1.0) == pytest.approx(np.log(2))
    far = loss_of({"logits": sure, SEEN + "a": 3 * maps + 1}, ["a"], healthy, 0.5)
    assert far == pytest.approx(0.5 * (1 + 4), rel=0.03)
