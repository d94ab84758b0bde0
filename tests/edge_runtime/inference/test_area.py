from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_runtime.inference.preprocess.area import resize_area, resize_in_steps
from edge_runtime.sources import demo

PICTURES = sorted(Path(demo.__file__).with_name("pictures").glob("*.jpg"))


def photograph(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture  # type: ignore[return-value]


def exact(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float32]:
    """Means in floating-point numbers where an axis shrinks, linear where it grows."""
    smaller = (min(width, pixels.shape[1]), min(height, pixels.shape[0]))
    shrunk = cv2.resize(pixels.astype(np.float32), smaller, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def apart(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float32]:
    resized = resize_in_steps(pixels, width, height)
    assert resized.dtype == np.uint8
    assert resized.shape == (height, width, *pixels.shape[2:])
    return np.abs(resized - exact(pixels, width, height))  # type: ignore[return-value]


@pytest.mark.parametrize("is_grey", [False, True])
@pytest.mark.parametrize(
    "ratio", [1.1, 1.31, 1.607, 2.4, 2.79, 2.81, 3.214, 3.59, 3.61, 4.4, 4.82, 5.5, 7.1, 9.64]
)
def test_photographs_are_within_about_a_level_of_the_exact_filter(ratio: float, is_grey: bool) -> None:
    means = []
    for path in PICTURES:
        pixels = photograph(path)
        pixels = np.ascontiguousarray(pixels[..., 1]) if is_grey else pixels
        difference = apart(pixels, round(pixels.shape[1] / ratio), round(pixels.shape[0] / ratio))
        means.append(difference.mean())
        assert difference.max() < 48
    assert np.mean(means) < 1.1


@pytest.mark.parametrize(("columns", "rows"), [(5.71, 3.21), (2.86, 1.1), (4, 0.8), (1.4, 3), (0.7, 6)])
def test_each_axis_has_a_ratio_of_its_own(columns: float, rows: float) -> None:
    pixels = photograph(PICTURES[0])
    assert apart(pixels, round(pixels.shape[1] / columns), round(pixels.shape[0] / rows)).mean() < 1.3


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_whole_ratios_are_exact(ratio: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60 * ratio, 90 * ratio, 3), np.uint8)
    assert apart(pixels, 90, 60).max() <= 1


@pytest.mark.parametrize("shape", [(481, 723), (1, 900), (900, 1), (7, 31)])
def test_an_odd_size_loses_no_row_or_column(shape: tuple[int, int]) -> None:
    pixels = np.zeros(shape, np.uint8)
    pixels[-1], pixels[:, -1] = 200, 200
    width, height = max(1, shape[1] // 5), max(1, shape[0] // 5)
    np.testing.assert_allclose(resize_in_steps(pixels, width, height), exact(pixels, width, height), atol=1)


def test_only_the_pixels_of_the_region_count() -> None:
    canvas = np.full((300, 300, 3), 255, np.uint8)
    canvas[50:250, 50:250] = 90
    for size in (60, 64, 75, 110, 150, 160, 199):
        assert (resize_in_steps(canvas[50:250, 50:250], size, size) == 90).all()


def test_pictures_are_prepared_by_the_worker_alone() -> None:
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize(("width", "height"), [(40, 40), (300, 20), (20, 300), (300, 300)])
def test_small_pictures_are_resized_as_older_releases_did(width: int, height: int) -> None:
    pixels = photograph(PICTURES[0])[:60, :80]
    # two steps where one axis shrinks and the other grows, each rounded
    np.testing.assert_allclose(resize_area(pixels, width, height), exact(pixels, width, height), atol=1.5)
