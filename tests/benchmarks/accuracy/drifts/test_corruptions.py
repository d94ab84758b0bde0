import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accuracy.drifts.by_name import CAMERA_DRIFTS, CORRUPTION_DRIFTS, drifted
from benchmarks.accuracy.drifts.corruption_kinds import plasma
from benchmarks.accuracy.drifts.corruptions import CORRUPTIONS, corrupt


def pictures(side: int, channels: int, count: int = 3) -> NDArray[np.uint8]:
    """Bright shapes on dark ground, each another one."""
    rng = np.random.default_rng(5)
    found = np.zeros((count, side, side, channels), np.uint8)
    for picture in found:
        corner = rng.integers(2, side // 3, 2)
        picture[corner[0] : corner[0] + side // 2, corner[1] : corner[1] + side // 3] = rng.integers(
            120, 255, channels
        )
    return found


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (96, 3)])
def test_keeps_shape_and_type_and_changes_every_picture(name: str, side: int, channels: int) -> None:
    before = pictures(side, channels)
    kept = before.copy()
    after = corrupt(name, before, 5, np.random.default_rng(0))
    assert after.shape == before.shape
    assert after.dtype == np.uint8
    assert (after != before).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(before, kept)


@pytest.mark.parametrize("name", [*CORRUPTION_DRIFTS, *CAMERA_DRIFTS])
def test_same_seed_gives_the_same_pictures(name: str) -> None:
    one, two = (drifted(pictures(28, 1), name, 3, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_0_changes_nothing(name: str) -> None:
    before = pictures(28, 1)
    np.testing.assert_array_equal(corrupt(name, before, 0, np.random.default_rng(0)), before)


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "shot_noise", "impulse_noise", "contrast", "brightness", "frost"]
)
def test_higher_severity_is_farther_from_the_original(name: str) -> None:
    before = pictures(64, 3)
    far = [
        np.abs(corrupt(name, before, s, np.random.default_rng(0)).astype(float) - before).mean()
        for s in (1, 3, 5)
    ]
    assert far[0] < far[1] < far[2]


def test_gaussian_noise_has_the_published_strength() -> None:
    grey = np.full((4, 32, 32, 3), 128, np.uint8)
    noise = corrupt("gaussian_noise", grey, 3, np.random.default_rng(0)).astype(float) - 128
    assert noise.std() == pytest.approx(0.08 * 255, rel=0.03)


def test_contrast_keeps_the_mean_and_shrinks_the_spread() -> None:
    before = pictures(32, 1)
    after = corrupt("contrast", before, 3, np.random.default_rng(0))
    np.testing.assert_allclose(after.mean(axis=(1, 2)), before.mean(axis=(1, 2)), atol=0.6)
    np.testing.assert_allclose(after.std(axis=(1, 2)), 0.4 * before.std(axis=(1, 2)), rtol=0.02)


def test_glass_blur_only_moves_pixels() -> None:
    before = np.random.default_rng(0).integers(0, 255, (2, 28, 28, 1), dtype=np.uint8)
    after = corrupt("glass_blur", before, 1, np.random.default_rng(0))  # its blur is too narrow to act
    assert (after != before).any()
    np.testing.assert_array_equal(np.sort(after, axis=None), np.sort(before, axis=None))


def test_blurs_lose_fine_detail() -> None:
    before = np.random.default_rng(0).integers(0, 255, (2, 96, 96, 1), dtype=np.uint8)
    for name in ("defocus_blur", "motion_blur", "zoom_blur", "pixelate"):
        after = corrupt(name, before, 3, np.random.default_rng(0))
        energies = [cv2.Laplacian(one[0, :, :, 0], cv2.CV_64F).var() for one in (before, after)]
        assert energies[1] < 0.5 * energies[0], name


def test_plasma_fills_the_scale_in_every_picture() -> None:
    field = plasma(np.zeros((3, 28, 28, 1)), np.random.default_rng(0), 2.0)
    assert field.shape == (3, 28, 28)
    assert 0 <= field.min() < 0.2
    assert 0.8 < field.max() <= 1


def test_grey_pictures_meet_camera_drifts_as_one_channel() -> None:
    before = pictures(28, 1)
    after = drifted(before, "camera:tint", 5, np.random.default_rng(0))
    assert after.shape == before.shape
    np.testing.assert_allclose(after, np.clip(np.rint(before * 0.8 + 10), 0, 255))


@pytest.mark.parametrize(
    ("name", "severity", "pixels"),
    [
        ("sepia", 3, pictures(28, 1)),
        ("fog", 6, pictures(28, 1)),
        ("fog", 3, pictures(28, 1).astype(np.float32)),
        ("fog", 3, pictures(28, 1)[0]),
    ],
)
def test_refuses_what_it_cannot_corrupt(name: str, severity: int, pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError):
        corrupt(name, pixels, severity, np.random.default_rng(0))
