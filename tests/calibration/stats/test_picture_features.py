"""What the measurements of a prepared picture see, and what they leave alone."""

import cv2
import numpy as np
import pytest

from calibration.stats.picture_features import (
    DETAIL_TAP,
    GRID_TAP,
    QUIET_TAP,
    has_picture_features,
    picture_features,
)
from calibration.stats.sensor_features import sensor_features_of_frames


def picture(seed: int = 0, side: int = 64) -> np.ndarray:
    """Coarse blotches with a little sensor noise, (3, side, side)."""
    rng = np.random.default_rng(seed)
    coarse = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 3)), (0, 0), 6)
    pixels = coarse / coarse.std() + rng.normal(0, 0.03, (side, side, 3))
    return pixels.transpose(2, 0, 1).astype(np.float32)


def each(sample: np.ndarray, change) -> np.ndarray:
    return np.stack([change(np.ascontiguousarray(plane)) for plane in sample]).astype(np.float32)


def test_grid_is_the_mean_and_variance_of_every_cell():
    sample = picture()
    mean, var = picture_features(sample)[GRID_TAP]
    cells = sample.mean(0).astype(np.float64).reshape(4, 16, 4, 16).transpose(0, 2, 1, 3).reshape(16, -1)
    assert mean == pytest.approx(cells.mean(1), abs=1e-6)
    assert var == pytest.approx(cells.var(1), rel=1e-4)


def test_a_dark_corner_shows_in_its_cells_only():
    sample = picture()
    dark = sample.copy()
    dark[:, :16, :16] -= 1
    change = picture_features(dark)[GRID_TAP][0] - picture_features(sample)[GRID_TAP][0]
    assert change[0] == pytest.approx(-1, abs=1e-5)
    assert change[1:] == pytest.approx(np.zeros(15), abs=1e-6)


def test_blur_takes_the_quiet_energy_away_and_noise_adds_to_it():
    sample = picture()
    blurred = each(sample, lambda plane: cv2.GaussianBlur(plane, (0, 0), 1))
    noisy = sample + np.random.default_rng(1).normal(0, 0.1, sample.shape).astype(np.float32)
    usual, soft, rough = (picture_features(x)[QUIET_TAP][1] for x in (sample, blurred, noisy))
    finest = slice(3, 6)  # the diagonal details of the finest width
    assert (soft[finest] < usual[finest] / 4).all()
    assert (rough[finest] > usual[finest] * 4).all()


def test_a_busy_object_leaves_the_quiet_parts_as_they_are():
    sample = picture()
    busy = sample.copy()
    busy[:, :24, :24] += np.random.default_rng(1).normal(0, 1, (3, 24, 24)).astype(np.float32)
    usual, loud = (picture_features(x) for x in (sample, busy))
    quietest = slice(0, None, 3)
    assert loud[QUIET_TAP][1][quietest] == pytest.approx(usual[QUIET_TAP][1][quietest], rel=0.3)
    assert loud[DETAIL_TAP][1][0] > 3 * usual[DETAIL_TAP][1][0]


def test_a_flat_picture_gives_finite_numbers():
    for mean, var in picture_features(np.full((3, 32, 32), 7, np.float32)).values():
        assert np.isfinite(mean).all()
        assert (var >= 0).all()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 33), (4, 225, 224)])
def test_any_picture_size_works_and_frames_are_stacked(shape):
    x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    found = sensor_features_of_frames(x)
    assert all(part.mean.shape == part.var.shape for part in found.values())
    assert found[GRID_TAP].mean[1] == pytest.approx(picture_features(x[1])[GRID_TAP][0])


@pytest.mark.parametrize("shape", [(3, 8, 8), (64,), (3, 100), (1, 4, 64, 64)])
def test_what_is_no_picture_has_none(shape):
    assert not has_picture_features(shape)
