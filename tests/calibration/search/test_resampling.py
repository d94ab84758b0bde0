"""Healthy vectors under drifts that other samples could have told."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.baseline.baseline import HealthySamples
from calibration.baseline.packing import pack_healthy_samples
from calibration.outputs.values import Numbers, Values
from calibration.search.options import Options
from calibration.search.resampling import VECTORS, resample
from calibration.search.shares import MOST_OBSERVED, frames_to_observe
from calibration.search.simulation.choice import hypotheses
from calibration.search.simulation.model import DriftModel
from calibration.stats.sampling import MOST_SAMPLES
from tests.support.machine_signals import features, louder, signals

ALL = np.arange(64)


def kept(x: np.ndarray) -> HealthySamples:
    return pack_healthy_samples(x).with_answers(
        Numbers(x.reshape(len(x), -1).astype(np.float64)), Values.PLAIN
    )


def explained(healthy: np.ndarray, live: np.ndarray) -> DriftModel:
    return next(iter(hypotheses(healthy, live)))


def test_every_round_shows_all_samples_with_gains_of_its_own() -> None:
    healthy, live = features(64, seed=1), louder(features(64, seed=2))
    found = resample(explained(healthy, live), kept(healthy), live, ALL, seed=0)
    assert found is not None
    rounds = found.frames.reshape(-1, *healthy.shape)
    assert rounds.dtype == np.float32
    assert len(rounds) == VECTORS // 64
    gains = rounds.std(axis=1) / healthy.std(axis=0)
    assert np.median(gains, axis=0) == pytest.approx(1.6, rel=0.5)
    assert (gains.std(axis=0) > 0.02).all()


def test_a_gain_goes_on_beyond_what_the_live_samples_show() -> None:
    healthy, live = features(64, seed=1), louder(features(64, seed=2))
    found = resample(explained(healthy, live), kept(healthy), live, ALL, seed=0)
    assert found is not None
    assert (found.frames.max(axis=0) > live.max(axis=0)).any()


def test_a_range_that_is_exceeded_stays_a_curve() -> None:
    healthy = features(64, seed=1)
    live = np.minimum(features(64, seed=2), 6).astype(np.float32)
    *_, curved = hypotheses(healthy, live)
    found = resample(curved, kept(healthy), live, ALL, seed=0)
    assert found is not None
    assert found.frames.max() <= 6


def test_the_same_seed_shows_the_same() -> None:
    healthy, live = features(64, seed=1), louder(features(64, seed=2))
    one, same, other = (
        resample(explained(healthy, live), kept(healthy), live, ALL, seed) for seed in (1, 1, 2)
    )
    assert one is not None
    assert same is not None
    assert other is not None
    assert np.array_equal(one.frames, same.frames)
    assert not np.array_equal(one.frames, other.frames)


def test_only_the_observed_samples_tell_the_drift() -> None:
    healthy, live = features(64, seed=1), louder(features(64, seed=2))
    live[32:] *= 100
    found = resample(explained(healthy, live[:32]), kept(healthy), live, np.arange(32), seed=0)
    assert found is not None
    assert np.abs(found.frames).max() < 100


def test_windows_classes_and_baselines_without_samples_have_none() -> None:
    healthy, live = features(64, seed=1), louder(features(64, seed=2))
    sensor = explained(healthy, live)
    classes = replace(kept(healthy), numbers=None, probabilities=np.full((64, 4), 0.25, np.float32))
    windows = signals(64, seed=1)
    assert resample(sensor, classes, live, ALL, seed=0) is None
    assert resample(sensor, None, live, ALL, seed=0) is None
    assert resample(explained(windows, windows), kept(windows), windows, ALL, seed=0) is None


def test_an_answer_that_is_no_number_is_infinitely_wrong() -> None:
    healthy, live = features(64, seed=1), louder(features(64, seed=2))
    found = resample(explained(healthy, live), kept(healthy), live, ALL, seed=0)
    assert found is not None
    answers = np.tile(healthy.astype(np.float64), (VECTORS // 64, 1))
    assert found.measure_error(Numbers(answers)) == 0
    answers[5] = np.nan
    assert found.measure_error(Numbers(answers)) == np.inf


def test_of_vectors_all_are_observed_and_of_others_48() -> None:
    assert frames_to_observe((8,), Options()) == MOST_SAMPLES
    assert frames_to_observe((3, 48), Options()) == frames_to_observe((3, 16, 16), Options()) == MOST_OBSERVED
    assert frames_to_observe((8,), Options(most_observed=20)) == 20
