"""When a recalibration is not even tried: healthy frames and single scenes; everything else goes on."""

import cv2
import numpy as np
import pytest

from calibration.search.preconditions import shown_variety, unlikeness
from calibration.stats.moments import FrameMoments, moments_of_frames
from calibration.stats.sensor_features import sensor_features_of_frames

pytestmark = pytest.mark.integration


def pictures(count: int, seed: int) -> np.ndarray:
    """Blotches of changing colour, contrast and width with a little sensor noise, (count, 3, 48, 48)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        coarse = cv2.GaussianBlur(rng.normal(0, 1, (48, 48, 3)), (0, 0), rng.uniform(2, 6))
        scaled = coarse / coarse.std() * rng.uniform(0.6, 1.2) + rng.normal(0, 0.4, 3)
        found.append(scaled + rng.normal(0, 0.05, scaled.shape))
    return np.stack(found).transpose(0, 3, 1, 2).astype(np.float32)


def measured(x: np.ndarray) -> dict[str, FrameMoments]:
    return {"input": moments_of_frames(x), **sensor_features_of_frames(x)}


def changed(x: np.ndarray, change) -> np.ndarray:
    flat = [change(np.ascontiguousarray(frame.transpose(1, 2, 0))).transpose(2, 0, 1) for frame in x]
    return np.stack(flat).astype(np.float32)


def jpeg(frame: np.ndarray) -> np.ndarray:
    pixels = np.clip(frame * 40 + 128, 0, 255).astype(np.uint8)
    coded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    return (cv2.imdecode(coded, cv2.IMREAD_UNCHANGED).astype(np.float32) - 128) / 40


@pytest.mark.parametrize("count", [12, 43])
def test_fresh_healthy_frames_are_explained_by_chance(count):
    healthy = measured(pictures(96, 0))
    for seed in range(1, 5):
        excess = unlikeness(measured(pictures(count, seed)), healthy, np.random.default_rng(0))
        assert max(excess.values()) < 1


@pytest.mark.parametrize(
    ("sign", "change"),
    [
        ("layers", lambda f: f * 0.5 + 0.5),
        ("detail", lambda f: cv2.GaussianBlur(f, (0, 0), 1)),
        ("detail", jpeg),
        ("grid", lambda f: f - 1.5 * np.linspace(0, 1, 48, dtype=np.float32)[None, :, None] ** 4),
    ],
)
def test_a_drift_is_not_explained_and_shows_where_it_belongs(sign, change):
    healthy = measured(pictures(96, 0))
    excess = unlikeness(measured(changed(pictures(43, 1), change)), healthy, np.random.default_rng(0))
    assert excess[sign] > 1


def test_a_baseline_without_sensor_features_compares_what_it_has():
    healthy = {"input": moments_of_frames(pictures(32, 0))}
    assert list(unlikeness(measured(pictures(16, 1)), healthy, np.random.default_rng(0))) == ["layers"]


def test_a_baseline_of_too_few_frames_explains_nothing():
    assert unlikeness(measured(pictures(16, 1)), measured(pictures(7, 0)), np.random.default_rng(0)) == {}


def test_a_single_scene_shows_little_variety_whatever_the_drift():
    healthy = measured(pictures(32, 0))
    scene = np.repeat(pictures(1, 1), 16, axis=0)
    noisy = scene + np.random.default_rng(0).normal(0, 0.1, scene.shape).astype(np.float32)
    assert shown_variety({"input": moments_of_frames(noisy)}, healthy) < 0.01
    assert shown_variety({"input": moments_of_frames(0.3 * pictures(16, 1) + 2)}, healthy) > 0.5
