"""Behaviours of the simulated camera drifts."""

import numpy as np
import pytest

from edge_runtime.sources.demo import camera_drift
from edge_runtime.sources.demo.camera_drift import DRIFTS


def picture(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", sorted(DRIFTS))
def test_same_seed_gives_the_same_picture_and_leaves_the_input_alone(name):
    x = picture()
    before = x.copy()
    first = camera_drift.apply(name, x, 1.0, np.random.default_rng(3))
    second = camera_drift.apply(name, x, 1.0, np.random.default_rng(3))
    assert np.array_equal(first, second)
    assert np.array_equal(x, before)
    assert first.dtype == np.uint8
    assert first.shape == x.shape
    assert not np.array_equal(first, x)


@pytest.mark.parametrize("name", sorted(DRIFTS))
def test_severity_zero_changes_nothing_and_more_severity_changes_more(name):
    rows = np.linspace(20, 200, 48)[:, None, None]
    x = np.clip(rows + np.random.default_rng(1).normal(0, 25, (48, 64, 3)), 0, 255).astype(np.uint8)
    changes = [
        np.abs(camera_drift.apply(name, x, s, np.random.default_rng(0)).astype(float) - x).mean()
        for s in (0.0, 0.3, 1.0)
    ]
    assert changes[0] == 0
    assert changes[0] < changes[1] < changes[2]


def test_full_strength_is_the_published_formula():
    x = picture()
    f = x.astype(np.float64)
    expected = {
        "contrast": (f - 128) * 0.3 + 128,
        "bright": 0.6 * f + 100,
        "tint": f * (0.5, 0.8, 1.1) + (0, 10, 40),
        "haze": 0.35 * f + (150, 155, 160),
    }
    for name, formula in expected.items():
        got = camera_drift.apply(name, x, 1.0, np.random.default_rng(0))
        assert np.array_equal(got, np.clip(np.rint(formula), 0, 255)), name


def test_noisy_drifts_have_the_published_noise():
    x = np.full((200, 200, 3), 120, np.uint8)
    for name, mean, sigma in (("noise", 120, 40), ("dark", 24, 6), ("grey", 132, 15)):
        got = camera_drift.apply(name, x, 1.0, np.random.default_rng(0)).astype(float)
        assert got.mean() == pytest.approx(mean, abs=0.5)
        assert got.std() == pytest.approx(sigma, rel=0.03)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'fog'.*blur.*haze"):
        camera_drift.apply("fog", picture(), 1.0, np.random.default_rng(0))


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_severity_outside_its_range_is_refused(severity):
    with pytest.raises(ValueError, match=r"0\.\.1"):
        camera_drift.apply("haze", picture(), severity, np.random.default_rng(0))


def test_a_grey_or_float_picture_is_refused():
    with pytest.raises(ValueError, match="uint8"):
        camera_drift.apply("haze", picture()[:, :, 0], 1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="uint8"):
        camera_drift.apply("haze", picture().astype(np.float32), 1.0, np.random.default_rng(0))
