"""Behaviours of the simulation: healthy frames take on what today's camera does, and nothing else."""

import time

import cv2
import numpy as np
import pytest

from calibration.search.explanation import fitted_frames
from calibration.search.simulation.camera import fit_camera, hypotheses, simulate_drift
from calibration.search.simulation.detail import Detail
from calibration.search.simulation.noise import Noise, noise_level
from calibration.search.simulation.tones import Fading


def scene(count: int, seed: int, channels: int = 3, side: int = 64) -> np.ndarray:
    """Smooth blotches with sharp-edged boxes, 0..255."""
    rng = np.random.default_rng(seed)
    frames = np.stack(
        [cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 5) for _ in range(count * channels)]
    ).reshape(count, channels, side, side)
    frames = 120 + 160 * frames / np.abs(frames).max()
    for frame in frames:
        for _ in range(6):
            y, x = rng.integers(0, side - 16, 2)
            frame[:, y : y + 16, x : x + 16] += rng.uniform(-60, 60, (channels, 1, 1))
    return np.clip(frames, 0, 255).astype(np.float32)


def relative(got: np.ndarray, wanted: np.ndarray) -> float:
    """Error as a share of the wanted frames' contrast."""
    return float(np.sqrt(((got - wanted) ** 2).mean()) / wanted.std())


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


DRIFTS = {
    "contrast": lambda x: (x - 128) * 0.3 + 128,
    "tint": lambda x: x * np.array([0.5, 0.8, 1.1], np.float32)[:, None, None] + 20,
    "gamma": lambda x: 255 * (np.clip(x, 0, 255) / 255) ** 2,
    "grey": lambda x: np.broadcast_to(0.6 * x.mean(1, keepdims=True) + 60, x.shape),
    "half grey": lambda x: 0.4 * x + 0.6 * x.mean(1, keepdims=True),
    "blur": lambda x: np.stack([[cv2.GaussianBlur(p, (0, 0), 2.0) for p in f] for f in x]),
}


@pytest.mark.parametrize("name", sorted(DRIFTS))
def test_a_drift_seen_on_other_content_is_re_enacted(name):
    healthy, live = scene(24, 1), DRIFTS[name](scene(24, 2)).astype(np.float32)
    wanted = DRIFTS[name](healthy).astype(np.float32)
    got = simulate_drift(healthy, live).draw(rng())
    assert relative(got, wanted) < 0.35
    assert relative(got, wanted) < 0.7 * relative(healthy, wanted)


def test_colours_of_a_scene_are_kept_unless_the_camera_lost_them():
    healthy, live = scene(24, 1), scene(24, 2) * 0.7 + 20
    dull = healthy.mean(1, keepdims=True) + 0.9 * (healthy - healthy.mean(1, keepdims=True))
    assert Fading.fit(healthy, live.astype(np.float32)) is None  # other tones have nothing to do with it
    assert Fading.fit(healthy, dull.astype(np.float32)) is None
    assert Fading.fit(healthy[:, :1], healthy[:, :1] * 0.5) is None


def test_added_noise_has_the_live_level():
    healthy = scene(16, 1)
    live = scene(16, 2) + np.random.default_rng(3).normal(0, 20, (16, 3, 64, 64)).astype(np.float32)
    got = simulate_drift(healthy, live).draw(rng())
    assert noise_level(got[:, 0]) == pytest.approx(noise_level(live[:, 0]), rel=0.15)
    assert noise_level(healthy[:, 0]) < 0.3 * noise_level(live[:, 0])


def test_without_a_drift_little_changes():
    healthy = scene(24, 1)
    assert relative(simulate_drift(healthy, scene(24, 2)).draw(rng()), healthy) < 0.25


def test_the_scale_of_the_prepared_tensors_does_not_matter():
    healthy, live = scene(8, 1), DRIFTS["contrast"](scene(8, 2)).astype(np.float32)
    plain = simulate_drift(healthy, live).draw(rng())
    scaled = simulate_drift((healthy - 127) / 128, (live - 127) / 128).draw(rng())
    assert relative(scaled * 128 + 127, plain) < 1e-2


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_and_another_size_of_the_live_frames(channels):
    healthy, live = scene(4, 1, channels), scene(6, 2, channels, side=40)
    got = simulate_drift(healthy, live * 0.5).draw(rng())
    assert got.shape == healthy.shape
    assert got.dtype == np.float32
    assert got.mean() == pytest.approx(live.mean() * 0.5, rel=0.1)


def test_equal_generators_give_equal_frames_and_inputs_stay():
    healthy, live = scene(4, 1), scene(4, 2) + 10
    before = healthy.copy()
    assert np.array_equal(
        simulate_drift(healthy, live).draw(rng()), simulate_drift(healthy, live).draw(rng())
    )
    assert np.array_equal(healthy, before)


@pytest.mark.parametrize("value", [0.0, -3.5])
def test_black_or_constant_live_frames_give_finite_frames(value):
    got = simulate_drift(scene(4, 1), np.full((4, 3, 64, 64), value, np.float32)).draw(rng())
    assert np.isfinite(got).all()


def test_noise_that_grows_with_the_light_is_drawn_so():
    healthy, light = scene(16, 1), np.random.default_rng(3)
    live = light.poisson(np.clip(scene(16, 2), 0, 255) / 8).astype(np.float32) * 8
    got = simulate_drift(healthy, live).draw(rng())
    off = got - simulate_drift(healthy, live).soft
    dark, bright = off[healthy < 60], off[healthy > 180]
    assert dark.std() == pytest.approx(np.sqrt(8 * 40), rel=0.35)
    assert bright.std() == pytest.approx(np.sqrt(8 * 200), rel=0.35)


def test_single_pixels_that_stand_out_are_drawn_as_often_and_are_no_noise():
    healthy, live, hit = scene(16, 1), scene(16, 2), np.random.default_rng(3).random((16, 3, 64, 64))
    live[hit < 0.03], live[hit > 0.97] = 0, 255
    noise = Noise.fit(healthy[:, 0], live[:, 0])
    assert noise.outliers == pytest.approx(0.06, rel=0.4)
    assert np.isin(noise.values, (0, 255)).mean() > 0.8  # the others are corners
    assert noise.deviation.max() < 8
    assert Noise.fit(healthy[:, 0], scene(16, 2)[:, 0]).outliers == 0


def test_a_contrast_that_changes_within_each_frame_keeps_the_means_of_the_frames():
    means = np.linspace(-60, 60, 24, dtype=np.float32)[:, None, None, None]
    healthy, live = scene(24, 1) + means, scene(24, 2) + means

    def flattened(x):
        return (x - x.mean((2, 3), keepdims=True)) * 0.2 + x.mean((2, 3), keepdims=True)

    wanted = flattened(healthy)
    by_frame = fit_camera(healthy, flattened(live), by_frame=True).show(healthy).draw(rng())
    assert relative(by_frame, wanted) < 0.25
    assert relative(by_frame, wanted) < 0.5 * relative(
        simulate_drift(healthy, flattened(live)).draw(rng()), wanted
    )


@pytest.mark.parametrize("kind", ["resolution", "compression"])
def test_a_coarser_picture_is_among_the_explanations(kind):
    lost = Detail(kind, {"resolution": 3.0, "compression": 10.0}[kind])
    healthy, live = scene(16, 1), lost.apply(scene(16, 2))
    assert lost in [camera.detail for camera in hypotheses(healthy, live)]
    assert relative(lost.apply(healthy), healthy) > 0.02
    assert lost.apply(healthy).shape == healthy.shape


def test_four_channels_are_never_compressed():
    odd = scene(2, 1, channels=4)
    assert Detail("compression", 10.0).apply(odd) is odd
    assert "compression" not in [camera.detail.kind for camera in hypotheses(odd, scene(2, 2, channels=4))]


@pytest.mark.parametrize(("low", "dtype"), [(0, np.float16), (-120, np.float16), (3000, np.float32)])
def test_shown_frames_take_half_the_room_where_8_bits_do_not_suffer(low, dtype):
    healthy, live = scene(4, 1) + low, DRIFTS["contrast"](scene(4, 2)).astype(np.float32) + low
    shown = fit_camera(healthy, live).show(healthy)
    assert shown.soft.dtype == dtype
    exact = fit_camera(healthy, live).colour(healthy)
    assert np.abs(shown.soft - exact).max() < np.ptp(live) / 256 / 2
    assert shown.draw(rng()).dtype == np.float32


def test_more_frames_than_are_shown_at_once_are_the_same_as_alone():
    healthy, live = scene(19, 1), scene(12, 2) * 0.5 + 60
    camera = fit_camera(healthy, live)
    whole = camera.show(healthy).soft
    assert np.array_equal(whole, np.concatenate([camera.show(healthy[i : i + 1]).soft for i in range(19)]))


def test_opencv_without_memory_is_a_memory_error_and_its_other_errors_stay(monkeypatch):
    healthy, live, err = scene(4, 1), scene(4, 2), cv2.error("no room")

    def fail(*_arguments):
        raise err

    camera = fit_camera(healthy, DRIFTS["blur"](live))
    assert camera.detail.strength
    monkeypatch.setattr(cv2, "GaussianBlur", fail)
    for code, expected in ((cv2.Error.StsNoMem, MemoryError), (cv2.Error.StsBadArg, cv2.error)):
        err.code = code
        for make in (lambda: fit_camera(healthy, live), lambda: camera.show(healthy)):
            with pytest.raises(expected):
                make()


@pytest.mark.parametrize(("side", "frames"), [(28, 96), (224, 48), (256, 36), (640, 12)])
def test_a_camera_is_fitted_to_fewer_of_large_frames(side, frames):
    assert fitted_frames((3, side, side)) == frames


def test_constant_healthy_frames_and_tiny_pictures_are_survived():
    live = np.random.default_rng(0).random((2, 1, 2, 2), np.float32)
    got = simulate_drift(np.ones((2, 1, 2, 2), np.float32), live).draw(rng())
    assert np.isfinite(got).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 3, 64, 64\) and \(4, 1, 64, 64\)"):
        simulate_drift(scene(4, 1), scene(4, 1, channels=1))
    with pytest.raises(ValueError):
        simulate_drift(scene(4, 1)[:0], scene(4, 1))


@pytest.mark.integration
def test_thirty_two_pictures_take_about_a_second():
    healthy, live = scene(32, 1, side=224), scene(32, 2, side=224)
    began_s = time.process_time()
    simulate_drift(healthy, live * 0.5).draw(rng())
    assert time.process_time() - began_s < 5.0
