"""Frames that cannot be what the camera sees are left out and counted; a drift moves all frames and flags none."""

import numpy as np
import pytest

import calibration
from calibration.search import outliers
from calibration.search.reference import Usable
from calibration.stats.moments import INPUT_TAP, moments_of_frames
from calibration.stats.sensor_features import sensor_features_of_frames
from tests.support.onnx_nets import classifier, hazy, pictures

pytestmark = pytest.mark.integration


def measured(x: np.ndarray) -> dict[str, calibration.FrameMoments]:
    return {INPUT_TAP: moments_of_frames(x), **sensor_features_of_frames(x)}


HEALTHY = measured(pictures(96, seed=1))
BASELINE = calibration.profile(classifier(seed=4), pictures(64, seed=1), created_wall_s=0.0)
NOISE = np.random.default_rng(0).uniform(-1, 1, (64, 3, 16, 16)).astype(np.float32)


def spoilt(share: float, others: np.ndarray, drift=hazy) -> tuple[np.ndarray, np.ndarray]:
    """Drifted pictures, some replaced; and which."""
    x, bad = drift(pictures(64, seed=2)), np.zeros(64, bool)
    bad[np.random.default_rng(1).permutation(64)[: round(64 * share)]] = True
    x[bad] = others[bad]
    return x, bad


@pytest.mark.parametrize(
    "drift",
    [
        lambda x: x,
        hazy,
        lambda x: x * 0.2 - 0.5,
        lambda x: np.clip(x * 1.4, -1, 1),
        lambda x: x + NOISE[: len(x)] * 0.5,
        lambda x: x * np.asarray([1.4, 0.8, 0.4], np.float32).reshape(1, 3, 1, 1),
    ],
)
def test_a_drift_makes_no_stranger(drift) -> None:
    x = drift(pictures(64, seed=2)).astype(np.float32)
    assert outliers.unlike_the_majority(measured(x), HEALTHY).mean() < 0.05


def test_frames_that_a_drift_burns_out_stay_too_few_to_refuse_the_others() -> None:
    x = np.clip(pictures(64, seed=2) * 2, -1, 1)
    assert outliers.unlike_the_majority(measured(x), HEALTHY).mean() < outliers.MOST_STRANGERS / 1.5


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_noise_pictures_among_drifted_ones_are_found(share: float) -> None:
    x, bad = spoilt(share, NOISE)
    found = outliers.unlike_the_majority(measured(x), HEALTHY)
    assert found[bad].all()
    assert found[~bad].mean() < 0.05


def test_the_order_of_the_frames_does_not_matter() -> None:
    x, _ = spoilt(0.3, NOISE)
    order = np.random.default_rng(3).permutation(64)
    found = outliers.unlike_the_majority(measured(x), HEALTHY)
    assert (outliers.unlike_the_majority(measured(x[order]), HEALTHY) == found[order]).all()


def test_half_of_two_kinds_is_a_problem_and_not_a_choice() -> None:
    x, _ = spoilt(0.5, NOISE)
    verdict = outliers.drop_outliers(x, Usable(np.arange(64), {}), BASELINE)
    assert verdict.problem is not None
    assert verdict.problem


def test_a_baseline_of_few_frames_flags_nothing() -> None:
    few = measured(pictures(4, seed=1))
    assert not outliers.unlike_the_majority(measured(spoilt(0.3, NOISE)[0]), few).any()


def test_values_far_from_those_of_8_bit_pictures_are_impossible() -> None:
    x = pictures(8, seed=3)
    possible = outliers.possible_values(BASELINE)
    assert not possible.has_not(x).any()
    assert not possible.has_not(x * 1.5 + 0.5).any()  # simulated without cutting it off
    x[2, 1, 4, 4], x[5, 0, 0, 0] = 4.0, -6.0
    assert np.flatnonzero(possible.has_not(x)).tolist() == [2, 5]


@pytest.mark.parametrize("keeps_pictures", [True, False])
def test_without_8_bit_steps_there_is_room_for_a_drift_but_not_for_another_preparation(
    keeps_pictures: bool,
) -> None:
    scaled = (pictures(64, seed=1) * np.float32(1.37) + NOISE * 1e-3).astype(np.float32)
    baseline = calibration.profile(classifier(seed=4), scaled, created_wall_s=0.0)
    if not keeps_pictures:
        baseline = baseline.without_samples()
    possible = outliers.possible_values(baseline)
    assert not possible.has_not(scaled * 2 + 1).any()
    assert possible.has_not(pictures(8) * 128 + 127).all()


def test_another_preparation_is_refused_with_what_to_do() -> None:
    verdict = calibration.recalibrate(classifier(seed=4), BASELINE, pictures(48, seed=2) * 128 + 127)
    assert not verdict.accepted
    assert "48 of 48" in verdict.reasons[0]


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_a_recalibration_comes_to_the_patch_it_would_make_without_them(share: float) -> None:
    model, (x, bad) = classifier(seed=4), spoilt(share, NOISE)
    poisoned, clean = (calibration.recalibrate(model, BASELINE, part) for part in (x, x[~bad]))
    assert poisoned.frames.left_out[outliers.UNLIKE] >= bad.sum()
    assert poisoned.accepted
    assert poisoned.patch is not None
    assert clean.patch is not None
    assert poisoned.patch.id == clean.patch.id
