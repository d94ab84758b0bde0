"""What each corruption does to a batch; strengths and names are in ``corruptions``.

Every function takes float32 (N,H,W,C) on a scale of 0 to 1, the generator, and its strengths, and gives float
(N,H,W,C), not yet clipped. Pure numpy and OpenCV.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Batch = NDArray[np.floating]
Rng = np.random.Generator


def gaussian_noise(x: Batch, rng: Rng, sigma: float) -> Batch:
    """A noisy sensor in low light."""
    return x + rng.normal(0, sigma, x.shape)


def shot_noise(x: Batch, rng: Rng, photons: float) -> Batch:
    """Few photons: Poisson noise, white being ``photons`` of them."""
    return np.asarray(rng.poisson(x * photons) / photons)


def impulse_noise(x: Batch, rng: Rng, share: float) -> Batch:
    """Salt and pepper: a share of all values is black or white."""
    draw = rng.random(x.shape)
    return np.where(draw < share / 2, 0.0, np.where(draw < share, 1.0, x))


def defocus_blur(x: Batch, _: Rng, radius: float, softness: float) -> Batch:
    """A lens out of focus: a disc, its rim softened."""
    reach = 8 if radius <= 8 else int(radius)
    offsets = np.arange(-reach, reach + 1)
    disc = (offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius**2).astype(np.float32)
    side = 3 if radius <= 8 else 5
    kernel = cv2.GaussianBlur(disc / disc.sum(), (side, side), softness)
    return _each(x, lambda picture: cv2.filter2D(picture, -1, kernel))


def glass_blur(x: Batch, rng: Rng, sigma: float, reach: int, rounds: int) -> Batch:
    """Frosted glass: pixels swapped with near ones, between two soft blurs. All pictures take turns at once."""
    count, height, width = x.shape[:3]
    y, every = gaussian_blur(x, rng, sigma), np.arange(count)
    for _ in range(rounds):
        shifts = rng.integers(-reach, reach, (height, width, 2, count))
        for row in range(height - reach - 1, reach - 1, -1):
            for column in range(width - reach - 1, reach - 1, -1):
                other = every, row + shifts[row, column, 0], column + shifts[row, column, 1]
                moved = y[other]
                y[other] = y[:, row, column]
                y[:, row, column] = moved
    return gaussian_blur(y, rng, sigma)


def gaussian_blur(x: Batch, _: Rng, sigma: float) -> Batch:
    """A soft blur; part of glass blur."""
    return _each(x, lambda picture: cv2.GaussianBlur(picture, (0, 0), sigma))


def motion_blur(x: Batch, rng: Rng, radius: int, sigma: float) -> Batch:
    """A moving camera: one direction a picture, within 45 degrees of the horizontal."""
    return _smeared(x, rng.uniform(-45, 45, len(x)), radius, sigma)


def zoom_blur(x: Batch, _: Rng, most: float, step: float) -> Batch:
    """A camera moving towards the scene: the mean over growing zooms."""
    total, factors = np.zeros_like(x), np.arange(1, most, step)
    for factor in factors:
        total += _zoomed(x, float(factor))
    return (x + total) / (len(factors) + 1)


def snow(
    x: Batch, rng: Rng, mean: float, spread: float, zoom: float, least: float, radius: int, sigma: float, keep: float
) -> Batch:  # fmt: skip
    """Falling flakes in front of a paler picture."""
    flakes = _zoomed(rng.normal(mean, spread, (*x.shape[:3], 1)).astype(np.float32), zoom)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1)
    flakes = _smeared(flakes, rng.uniform(-135, -45, len(x)), radius, sigma)
    grey = x @ _luma(x.shape[3])
    pale = keep * x + (1 - keep) * np.maximum(x, grey[..., None] * 1.5 + 0.5)
    return pale + flakes + flakes[:, ::-1, ::-1]


def frost(x: Batch, rng: Rng, keep: float, share: float) -> Batch:
    """Ice on the lens: drawn crystals (veins over patches), pale and a little blue."""
    veins = 1 - np.abs(2 * plasma(x, rng, 1.4) - 1)
    ice = 0.6 * veins**3 + 0.4 * plasma(x, rng, 2.0)
    tone = np.array([0.85, 0.93, 1.0] if x.shape[3] == 3 else [0.92], np.float32)
    return np.asarray(keep * x + share * ice[..., None] * tone)


def fog(x: Batch, rng: Rng, amount: float, decay: float) -> Batch:
    """Fog in patches."""
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    return np.asarray((x + amount * plasma(x, rng, decay)[..., None]) * brightest / (brightest + amount))


def brightness(x: Batch, _: Rng, amount: float) -> Batch:
    """More light: the value (of HSV) grows, hue and saturation stay."""
    value = x.max(axis=3, keepdims=True)
    more = np.clip(value + amount, 0, 1)
    return np.asarray(np.where(value > 0, x * more / np.maximum(value, 1e-6), more))


def contrast(x: Batch, _: Rng, share: float) -> Batch:
    """Less contrast about the picture's own mean, channel by channel."""
    mean = x.mean(axis=(1, 2), keepdims=True)
    return np.asarray((x - mean) * share + mean)


def elastic_transform(x: Batch, rng: Rng, amount: float, width: float, tilt: float) -> Batch:
    """A rubber sheet: a small affine change and smooth local shifts. Lengths are shares of the side."""
    side = min(x.shape[1:3])

    def stretched(picture: Batch) -> Batch:
        height, columns = picture.shape[:2]
        rows_map, columns_map = (
            _smooth(rng.uniform(-1, 1, (height, columns)), width * side) * amount * side for _ in "yx"
        )
        centre, reach = np.array([height, columns]) // 2, side // 3
        corners = np.array(
            [centre + reach, [centre[0] + reach, centre[1] - reach], centre - reach], np.float32
        )
        moved = corners + rng.uniform(-tilt * side, tilt * side, corners.shape).astype(np.float32)
        matrix = cv2.getAffineTransform(corners, moved)
        tilted = cv2.warpAffine(picture, matrix, (columns, height), borderMode=cv2.BORDER_REFLECT_101)
        rows, cols = np.mgrid[:height, :columns]
        to_x, to_y = (cols + columns_map).astype(np.float32), (rows + rows_map).astype(np.float32)
        return np.asarray(cv2.remap(tilted, to_x, to_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))

    return _each(x, stretched)


def pixelate(x: Batch, _: Rng, share: float) -> Batch:
    """Fewer pixels: scaled down by area and up again without smoothing."""
    height, width = x.shape[1:3]
    small = max(1, int(width * share)), max(1, int(height * share))

    def coarse(picture: Batch) -> Batch:
        fewer = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(fewer, (width, height), interpolation=cv2.INTER_NEAREST))

    return _each(x, coarse)


def jpeg_compression(x: Batch, _: Rng, quality: int) -> Batch:
    """A strongly compressed picture."""

    def coded(picture: Batch) -> Batch:
        pixels = np.rint(picture * 255).astype(np.uint8)
        _ok, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        again = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        assert again is not None, "what was just coded can be read"
        return again.reshape(picture.shape)[..., ::-1].astype(np.float32) / 255

    return _each(x, coded)


def plasma(x: Batch, rng: Rng, decay: float) -> NDArray[np.float64]:
    """Smooth random patches (N,H,W), 0 to 1 in each picture, for pictures like ``x`` (diamond-square, periodic).

    Source: Fournier, Fussell & Carpenter 1982; amplitudes fall by decay squared an octave, as in ImageNet-C.
    """
    count, height, width = x.shape[:3]
    side = 2 ** int(np.ceil(np.log2(max(height, width, 2))))
    field = np.zeros((count, side, side))
    step, amplitude = side, 1.0
    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        square = corners + np.roll(corners, -1, 1)
        centres = (square + np.roll(square, -1, 2)) / 4 + amplitude * rng.uniform(-1, 1, corners.shape)
        across = corners + np.roll(corners, -1, 2) + centres + np.roll(centres, 1, 1)
        down = corners + np.roll(corners, -1, 1) + centres + np.roll(centres, 1, 2)
        field[:, half::step, half::step] = centres
        field[:, ::step, half::step] = across / 4 + amplitude * rng.uniform(-1, 1, corners.shape)
        field[:, half::step, ::step] = down / 4 + amplitude * rng.uniform(-1, 1, corners.shape)
        step, amplitude = half, amplitude / decay**2
    field -= field.min(axis=(1, 2), keepdims=True)
    field /= field.max(axis=(1, 2), keepdims=True)
    return field[:, :height, :width]


def _each(x: Batch, change: Callable[[Batch], NDArray[Any]]) -> Batch:
    """``change`` on every picture; OpenCV drops a single channel, which is put back."""
    changed = [np.asarray(change(picture)).reshape(picture.shape) for picture in x]
    return np.asarray(np.stack(changed), x.dtype)


def _smeared(x: Batch, angles: NDArray[np.float64], radius: int, sigma: float) -> Batch:
    """Every picture smeared along its angle (degrees), more weakly the farther (one-sided Gaussian)."""
    reach = np.arange(2 * radius + 1)
    weights = np.exp(-(reach**2) / (2 * sigma**2))
    out = np.empty_like(x)
    for i, angle in enumerate(np.deg2rad(angles)):
        kernel = np.zeros((4 * radius + 3, 4 * radius + 3), np.float32)
        rows = np.rint(2 * radius + 1 - reach * np.sin(angle)).astype(int)
        columns = np.rint(2 * radius + 1 + reach * np.cos(angle)).astype(int)
        np.add.at(kernel, (rows, columns), weights)
        out[i] = cv2.filter2D(x[i], -1, kernel / kernel.sum()).reshape(x[i].shape)
    return out


def _zoomed(x: Batch, factor: float) -> Batch:
    """The middle of every picture, enlarged to the whole."""
    height, width = x.shape[1:3]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, factor)
    return _each(
        x, lambda picture: cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    )


def _smooth(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma)) if sigma > 0 else values


def _luma(channels: int) -> NDArray[np.float32]:
    return np.array([0.299, 0.587, 0.114] if channels == 3 else [1.0], np.float32)
