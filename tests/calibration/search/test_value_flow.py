"""The whole flow on small nets that answer numbers: a regression, and the score of an anomaly."""

from pathlib import Path

import numpy as np
import pytest

import calibration as c
from calibration.targets.open import open_onnx
from tests.support.machine_signals import CHANNELS, another_machine, louder, signal_net, signals

pytestmark = pytest.mark.integration


def values(model: bytes, x: np.ndarray) -> np.ndarray:
    return np.asarray(open_onnx(model).runner()(x)["answers"])


@pytest.fixture(scope="module", params=[1, 3])
def model(request: pytest.FixtureRequest) -> bytes:
    return signal_net(answers=request.param)


@pytest.fixture(scope="module")
def baseline(model: bytes) -> c.Baseline:
    return c.profile(model, signals(128, seed=1), created_wall_s=0.0, layout=c.Values.PLAIN)


def test_a_gain_with_an_offset_is_corrected(model: bytes, baseline: c.Baseline) -> None:
    verdict = c.recalibrate(model, baseline, louder(signals(64, seed=2)))
    assert verdict.accepted, verdict.reasons
    assert verdict.frames.distilled_from > 0
    x = signals(200, seed=3)
    healthy = values(model, x)
    before = np.square(values(model, louder(x)) - healthy).mean()
    after = np.square(values(c.apply(model, verdict.patch), louder(x)) - healthy).mean()
    assert before > healthy.var(axis=0).mean()  # worse than one answer for all
    assert after < 0.2 * before


@pytest.mark.parametrize("seed", range(3))
def test_healthy_windows_are_left_as_they_are(model: bytes, baseline: c.Baseline, seed: int) -> None:
    assert not c.recalibrate(model, baseline, signals(64, seed=10 + seed)).accepted


def test_another_machine_and_a_dead_channel_are_not_patched(model: bytes, baseline: c.Baseline) -> None:
    assert not c.recalibrate(model, baseline, another_machine(64, seed=2)).accepted
    live = louder(signals(64, seed=2))
    live[:, CHANNELS - 1] = 0
    assert c.recalibrate(model, baseline, live).dead_channels == (CHANNELS - 1,)


def test_a_baseline_keeps_the_numbers(tmp_path: Path, baseline: c.Baseline) -> None:
    baseline.save(tmp_path / "b")
    again = c.Baseline.load(tmp_path / "b")
    assert again.healthy_samples is not None
    assert baseline.healthy_samples is not None
    assert again.healthy_samples.layout is c.Values.PLAIN
    assert again.healthy_samples.numbers == pytest.approx(baseline.healthy_samples.numbers)
    assert again.to_bytes() == baseline.to_bytes()


def test_a_baseline_has_the_features_of_every_number(model: bytes, baseline: c.Baseline) -> None:
    frames = baseline.frames["output/answers"]
    assert frames.mean.shape[1] == open_onnx(model).runner()(signals(8))["answers"].shape[1] + 16


def test_numbers_are_never_inferred(model: bytes) -> None:
    kept = c.profile(model, signals(32, seed=1)).healthy_samples
    assert kept is not None
    assert kept.numbers is None


def test_pooled_baselines_keep_the_numbers(model: bytes, baseline: c.Baseline) -> None:
    other = c.profile(model, signals(64, seed=5), layout=c.Values.PLAIN)
    pooled = c.pool([baseline, other]).healthy_samples
    assert pooled is not None
    assert pooled.numbers is not None
    assert len(pooled.numbers) == len(pooled) == 192


def test_labels_are_refused(model: bytes, baseline: c.Baseline) -> None:
    with pytest.raises(c.DataError):
        c.recalibrate(model, baseline, louder(signals(64, seed=2)), np.zeros(64, np.int64))
