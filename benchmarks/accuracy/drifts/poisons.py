"""Ways in which a reference set can be spoilt: broken values, wrong preparation, foreign or useless pictures.

Each takes pictures uint8 (N,H,W,C), the track's preparation and a generator, and gives prepared samples. Pure.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rng = np.random.Generator
Prepare = Callable[[Pixels], Floats]
Poison = Callable[[Pixels, Prepare, Rng], Floats]


def _pictures(change: Callable[[Pixels, Rng], NDArray[np.generic]]) -> Poison:
    """A change of the pictures before they are prepared; values are cut off like a sensor's."""

    def spoil(pixels: Pixels, prepare: Prepare, rng: Rng) -> Floats:
        return prepare(np.clip(change(pixels, rng), 0, 255).astype(np.uint8))

    return spoil


def _preparation(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Poison:
    """Another preparation of the same pictures."""

    def spoil(pixels: Pixels, _prepare: Prepare, _rng: Rng) -> Floats:
        return np.ascontiguousarray(change(pixels.astype(np.float64)).transpose(0, 3, 1, 2), np.float32)

    return spoil


def _value(bad: float) -> Poison:
    """One value of one frame."""

    def spoil(pixels: Pixels, prepare: Prepare, rng: Rng) -> Floats:
        x = prepare(pixels)
        x[rng.integers(len(x)), 0, 5, 5] = bad
        return x

    return spoil


def _patterns(pixels: Pixels, rng: Rng) -> Pixels:
    """Another scene: stripes of random width, direction and colours."""
    side, channels = pixels.shape[1], pixels.shape[3]
    rows, columns = np.mgrid[:side, :side] / side
    found = []
    for _ in pixels:
        direction, width = rng.uniform(0, np.pi), rng.uniform(0.03, 0.18)
        wave = np.sin((rows * np.sin(direction) + columns * np.cos(direction)) / width) > 0
        found.append(np.where(wave[:, :, None], *rng.integers(0, 256, (2, channels))))
    return np.stack(found)


def _shifted(pixels: Pixels, rng: Rng) -> Pixels:
    """One thing only, shifted and mirrored."""
    most = pixels.shape[1] // 8
    shifts = rng.integers(-most, most + 1, (len(pixels), 2))
    return np.stack([np.roll(pixels[0], tuple(by), (0, 1))[:, :: rng.choice([-1, 1])] for by in shifts])


def _frozen(pixels: Pixels, rng: Rng) -> NDArray[np.float64]:
    same = np.repeat(pixels[:1], len(pixels), axis=0)
    return same + rng.normal(0, 6, same.shape)


_IMAGENET_MEAN, _IMAGENET_STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

PARTLY: dict[str, Poison] = {
    "noise": _pictures(lambda pixels, rng: rng.integers(0, 256, pixels.shape)),
    "black": _pictures(lambda pixels, _: np.zeros_like(pixels)),
    "white": _pictures(lambda pixels, _: np.full_like(pixels, 255)),
    "covered lens": _pictures(lambda pixels, rng: rng.normal(12, 8, pixels.shape)),
    "burnt out": _pictures(lambda pixels, _: pixels * 4.0 + 60),
    "test patterns": _pictures(_patterns),
    "upside down": _pictures(lambda pixels, _: pixels[:, ::-1]),
    "inverted": _pictures(lambda pixels, _: 255 - pixels),
    "swapped channels": _pictures(lambda pixels, _: pixels[..., ::-1]),
    "0..255": _preparation(lambda pixels: pixels),
}
"""Also used for a part of the frames."""

WHOLE: dict[str, Poison] = PARTLY | {
    "NaN in one frame": _value(np.nan),
    "infinite in one frame": _value(np.inf),
    "1e6 in one frame": _value(1e6),
    "constant grey": _pictures(lambda pixels, _: np.full_like(pixels, 128)),
    "0..1": _preparation(lambda pixels: pixels / 255),
    "ImageNet mean and std": _preparation(
        lambda pixels: (pixels / 255 - _IMAGENET_MEAN[: pixels.shape[3]]) / _IMAGENET_STD[: pixels.shape[3]]
    ),
    "one picture with noise": _pictures(_frozen),
    "one thing": _pictures(_shifted),
}
