"""The whole flow on a small net for signals: yes under a sensor's drift, no under other content."""

import numpy as np
import pytest

import calibration as c
from calibration.baseline.packing import pack_healthy_samples
from calibration.targets.open import open_onnx
from tests.support.machine_signals import another_machine, louder, signal_net, signals

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def model() -> bytes:
    return signal_net()


@pytest.fixture(scope="module")
def baseline(model: bytes) -> c.Baseline:
    return c.profile(model, signals(128, seed=1), created_wall_s=0.0)


def agreement(model: bytes, x: np.ndarray, healthy: np.ndarray, net: bytes) -> float:
    given, wanted = open_onnx(model).runner()(x)["answers"], open_onnx(net).runner()(healthy)["answers"]
    return float((given.argmax(1) == wanted.argmax(1)).mean())


def test_a_gain_with_an_offset_is_corrected(model: bytes, baseline: c.Baseline) -> None:
    verdict = c.recalibrate(model, baseline, louder(signals(64, seed=2)))
    assert verdict.accepted, verdict.reasons
    assert verdict.patch is not None
    test = signals(200, seed=3)
    before = agreement(model, louder(test), test, model)
    after = agreement(c.apply(model, verdict.patch), louder(test), test, model)
    assert before < 0.5
    assert 1 - after < 0.3 * (1 - before)


@pytest.mark.parametrize("seed", range(3))
def test_healthy_windows_are_left_as_they_are(model: bytes, baseline: c.Baseline, seed: int) -> None:
    assert not c.recalibrate(model, baseline, signals(64, seed=10 + seed)).accepted


def test_a_dead_channel_is_named_and_nothing_is_patched(model: bytes, baseline: c.Baseline) -> None:
    live = louder(signals(64, seed=2))
    live[:, 1] = 0.25
    verdict = c.recalibrate(model, baseline, live)
    assert not verdict.accepted
    assert verdict.dead_channels == (1,)
    assert verdict.to_json()["dead_channels"] == [1]


@pytest.mark.parametrize(
    "live", [another_machine(64, seed=2), signals(64, seed=2, kinds=1)], ids=["knocks", "one hum"]
)
def test_other_content_is_not_patched(model: bytes, baseline: c.Baseline, live: np.ndarray) -> None:
    verdict = c.recalibrate(model, baseline, live)
    assert not verdict.accepted
    assert verdict.dead_channels == ()


@pytest.mark.parametrize(
    "drift",
    [louder, lambda x: x + 1, lambda x: x / 2, lambda x: 2 * x],
    ids=["louder", "shifted", "weaker", "stronger"],
)
@pytest.mark.parametrize("share", [0.5, 0.6])
@pytest.mark.parametrize("seed", [2, 12, 22])
def test_a_sensor_that_drifts_to_and_fro_is_not_patched(
    model: bytes, baseline: c.Baseline, drift, share: float, seed: int
) -> None:
    count = round(64 * share)
    live = np.concatenate([drift(signals(count, seed)), signals(64 - count, seed + 9)]).astype(np.float32)
    verdict = c.recalibrate(model, baseline, live)
    assert not verdict.accepted, verdict.reasons


@pytest.mark.parametrize(
    "drift", [lambda x: 0.7 * x, lambda x: x + 0.5, lambda x: 2 * x], ids=["weaker", "shifted", "stronger"]
)
def test_a_small_or_large_drift_of_all_windows_is_corrected(
    model: bytes, baseline: c.Baseline, drift
) -> None:
    verdict = c.recalibrate(model, baseline, drift(signals(64, seed=31)).astype(np.float32))
    assert verdict.accepted, verdict.reasons


def test_the_monitor_tells_the_sensor_from_the_healthy_site(model: bytes, baseline: c.Baseline) -> None:
    healthy = c.watch_drift(model, baseline, signals(64, seed=2)).status
    drifted = c.watch_drift(model, baseline, louder(signals(64, seed=2))).status
    assert healthy is not None
    assert drifted is not None
    assert (healthy.verdict, drifted.verdict) == ("healthy", "sensor")
    noisy = signals(64, seed=2) + np.random.default_rng(0).normal(0, 0.5, (64, 3, 48)).astype(np.float32)
    status = c.watch_drift(model, baseline, noisy).status
    assert status is not None
    assert status.sign == "spectrum"


@pytest.mark.parametrize("mean", [0.0, 1e5])
def test_signals_are_packed_around_their_own_middle(mean: float) -> None:
    x = (signals(16) + mean).astype(np.float32)
    packed = pack_healthy_samples(x)
    assert packed.packed.dtype == np.float16
    assert np.abs(packed.samples() - x).max() < 0.02


def test_channels_of_any_unit_are_packed_alike() -> None:
    units = np.array([[1e-4], [1.0], [1e7]], np.float32)
    x = signals(16) * units
    assert np.abs((pack_healthy_samples(x).samples() - x) / units).max() < 0.01
