"""Behaviours of the simulation of signals: healthy windows take on what today's sensor does, and nothing else."""

import numpy as np
import pytest

from calibration.search.simulation.choice import hypotheses as chosen
from calibration.search.simulation.dropout import Dropout
from calibration.search.simulation.sensor import Sensor, hypotheses
from calibration.search.simulation.spectra import LowPass, fit_response


def windows(count: int, seed: int, channels: int = 2, length: int = 64) -> np.ndarray:
    """Tones and walks of unlike strength."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 0.4, (count, channels, length)), axis=2)
    t = np.arange(length)
    tone = np.sin(2 * np.pi * rng.uniform(0.05, 0.4, (count, channels, 1)) * t)
    strength = rng.choice([0.3, 1.0, 2.0], (count, 1, 1))
    return (strength * (walk + 2 * tone + rng.normal(0, 0.1, walk.shape))).astype(np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def filtered(x: np.ndarray) -> np.ndarray:
    lines = np.fft.rfft(np.concatenate([x, x[..., ::-1]], axis=-1))
    lines[..., lines.shape[-1] // 2 :] = 0
    return np.fft.irfft(lines)[..., : x.shape[-1]].astype(np.float32)


def held(x: np.ndarray) -> np.ndarray:
    lost = np.random.default_rng(5).random((len(x), 1, x.shape[2])) < 0.1
    lost[..., 0] = False
    source = np.maximum.accumulate(np.where(lost, 0, np.arange(x.shape[2])), axis=-1)
    return np.take_along_axis(x, np.broadcast_to(source, x.shape), axis=-1)


DRIFTS = {
    "gain": lambda x: 1.6 * x + 3,
    "gain of one": lambda x: x * np.array([[0.5], [1.0]], np.float32),
    "band": filtered,
    "clipped": lambda x: np.clip(x, -2, 2),
}


def nearest(healthy: np.ndarray, live: np.ndarray, wanted: np.ndarray) -> float:
    """Error of the best hypothesis, as a share of the wanted windows' spread."""
    return min(
        float(np.sqrt(((sensor.show(healthy).draw(rng()) - wanted) ** 2).mean()) / wanted.std())
        for sensor in hypotheses(healthy, live)
    )


@pytest.mark.parametrize("name", sorted(DRIFTS))
def test_a_drift_seen_on_other_content_is_simulated(name):
    healthy, live = windows(96, 1), DRIFTS[name](windows(96, 2)).astype(np.float32)
    wanted = DRIFTS[name](healthy).astype(np.float32)
    unchanged = float(np.sqrt(((healthy - wanted) ** 2).mean()) / wanted.std())
    assert nearest(healthy, live, wanted) < min(0.3, 0.6 * unchanged)


def test_no_drift_changes_little():
    healthy = windows(128, 1)
    assert nearest(healthy, windows(128, 2), healthy) < 0.15


def test_gain_band_and_noise_of_a_channel_are_told_apart():
    healthy, live = windows(128, 1)[:, 0], windows(128, 2)[:, 0]
    live = 2 * filtered(live) + np.random.default_rng(3).normal(0, 0.2, live.shape).astype(np.float32)
    found = fit_response(healthy, live)
    assert found.gain == pytest.approx(2, rel=0.2)
    assert found.noise == pytest.approx(0.2, rel=0.2)
    assert found.band is not None
    assert found.band.cutoff == pytest.approx(0.5, rel=0.2)


def test_a_low_pass_halves_the_power_at_its_cutoff():
    factors = LowPass(0.5, 4).factors(101)
    assert factors[0] == 1
    assert factors[50] ** 2 == pytest.approx(0.5)
    assert factors[-1] < 0.07


def test_lost_records_are_held_as_often_and_in_all_channels_at_once():
    healthy, live = windows(64, 1), held(windows(64, 2))
    found = Dropout.fit(healthy, live)
    assert found is not None
    assert found.is_of_records
    again = np.diff(found.apply(healthy, rng()), axis=2) == 0
    assert again.mean() == pytest.approx((np.diff(live, axis=2) == 0).mean(), abs=0.02)
    assert (again.all(axis=1) == again.any(axis=1)).all()


def test_one_channel_that_loses_values_is_held_alone():
    live = windows(64, 2)
    live[:, 1:] = held(live[:, 1:])
    found = Dropout.fit(windows(64, 1), live)
    assert found is not None
    assert not found.is_of_records
    again = np.diff(found.apply(windows(64, 1), rng()), axis=2) == 0
    assert again[:, 0].sum() == 0
    assert again[:, 1].mean() == pytest.approx(0.1, abs=0.03)


def test_nothing_is_held_where_nothing_was():
    assert Dropout.fit(windows(32, 1), windows(32, 2)) is None


def test_vectors_of_features_have_gain_and_offset():
    healthy, live = windows(96, 1)[..., 0], 3 * windows(96, 2)[..., 0] + 1
    plain = next(iter(hypotheses(healthy, live)))
    again = plain.show(healthy).draw(rng())
    assert again.shape == healthy.shape
    assert again.mean(axis=0) == pytest.approx(live.mean(axis=0), abs=0.5)
    assert again.std(axis=0) == pytest.approx(live.std(axis=0), rel=0.3)


def test_values_stay_between_those_that_the_live_windows_show():
    live = windows(8, 2)
    for sensor in hypotheses(windows(64, 1), live):
        again = sensor.show(windows(64, 1)).draw(rng())
        assert again.min() >= live.min()
        assert again.max() <= live.max()


def test_a_constant_channel_is_simulated_as_one():
    healthy, live = windows(16, 1), windows(16, 2)
    healthy[:, 1] = live[:, 1] = 5.0
    for sensor in hypotheses(healthy, live):
        assert np.unique(sensor.show(healthy).draw(rng())[:, 1]) == pytest.approx([5.0])


def test_the_shape_of_a_sample_chooses_what_simulates_it():
    assert all(isinstance(one, Sensor) for one in chosen(windows(8, 1), windows(8, 2)))
    pictures = np.random.default_rng(0).random((8, 3, 16, 16), np.float32)
    assert not isinstance(next(iter(chosen(pictures, pictures))), Sensor)


@pytest.mark.parametrize("live", [np.zeros((4, 3, 64), np.float32), np.zeros((0, 2, 64), np.float32)])
def test_other_channels_and_nothing_are_refused(live):
    with pytest.raises(ValueError):
        next(iter(hypotheses(windows(4, 1), live)))
