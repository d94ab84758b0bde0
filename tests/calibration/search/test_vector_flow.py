"""The whole flow on a small net for vectors of features (N, F)."""

import numpy as np
import pytest

import calibration as c
from calibration.targets.open import open_onnx
from tests.support.machine_signals import FEATURES, feature_net, features, louder

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def model() -> bytes:
    return feature_net()


@pytest.fixture(scope="module")
def baseline(model: bytes) -> c.Baseline:
    return c.profile(model, features(128, seed=1), created_wall_s=0.0)


def answers(model: bytes, x: np.ndarray) -> np.ndarray:
    return np.asarray(open_onnx(model).runner()(x)["answers"]).argmax(1)


@pytest.mark.parametrize("gain", [1.6, np.where(np.arange(FEATURES) == 2, 3.0, 1.0)], ids=["all", "one"])
def test_a_gain_with_an_offset_is_corrected(model: bytes, baseline: c.Baseline, gain: np.ndarray) -> None:
    def drifted(x: np.ndarray) -> np.ndarray:
        return (gain * x + 3 * (np.asarray(gain) > 1)).astype(np.float32)

    verdict = c.recalibrate(model, baseline, drifted(features(64, seed=2)))
    assert verdict.accepted, verdict.reasons
    test = features(300, seed=3)
    healthy = answers(model, test)
    before = (answers(model, drifted(test)) == healthy).mean()
    assert (answers(c.apply(model, verdict.patch), drifted(test)) == healthy).mean() > before + 0.2


@pytest.mark.parametrize("seed", [1, 6])
def test_few_vectors_awake_no_dead_unit_of_a_regression(seed: int) -> None:
    """Of this net, units that no baseline sees alive answer with a thousand times the weight of the others."""
    model = feature_net(answers=2)
    baseline = c.profile(model, features(128, seed=100 + seed), created_wall_s=0.0, layout=c.Values.PLAIN)
    live, test = features(64, seed=200 + seed), features(20_000, seed=300 + seed)
    verdict = c.recalibrate(model, baseline, louder(live), options=c.Options(seed=seed))
    assert verdict.accepted, verdict.reasons
    healthy, drifted = (open_onnx(model).runner()(x)["answers"] for x in (test, louder(test)))
    patched = open_onnx(c.apply(model, verdict.patch)).runner()(louder(test))["answers"]
    assert np.square(patched - healthy).mean() < 0.8 * np.square(drifted - healthy).mean()


@pytest.mark.parametrize("seed", range(3))
def test_healthy_vectors_are_left_as_they_are(model: bytes, baseline: c.Baseline, seed: int) -> None:
    verdict = c.recalibrate(model, baseline, features(64, seed=10 + seed))
    assert not verdict.accepted
    assert verdict.frames.left_out == {}


OTHERS = {
    "one kind": features(64, seed=2, kinds=1),
    "one scene": features(1, seed=2) + np.random.default_rng(0).normal(0, 0.05, (64, FEATURES)),
    "features that know nothing of each other": np.random.default_rng(0).normal(0, 3, (64, FEATURES)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_content_is_not_patched(model: bytes, baseline: c.Baseline, name: str) -> None:
    assert not c.recalibrate(model, baseline, OTHERS[name].astype(np.float32)).accepted


def test_a_dead_feature_is_named(model: bytes, baseline: c.Baseline) -> None:
    live = features(64, seed=2)
    live[:, 3] = 0
    assert c.recalibrate(model, baseline, live).dead_channels == (3,)


def test_the_monitor_sees_an_offset(model: bytes, baseline: c.Baseline) -> None:
    for shift, verdict in ((0, "healthy"), (3, "sensor")):
        status = c.watch_drift(model, baseline, features(64, seed=2) + np.float32(shift)).status
        assert status is not None
        assert status.verdict == verdict


def test_vectors_that_differ_by_rounding_are_no_baseline(model: bytes) -> None:
    x = np.tile(1e4 + 1e-3 * np.arange(16)[:, np.newaxis], FEATURES).astype(np.float32)
    assert len(np.unique(x)) == 16
    with pytest.raises(c.DataError):
        c.profile(model, x)
