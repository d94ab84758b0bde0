"""The fifteen corruptions of ImageNet-C / CIFAR-10-C, on batches of pictures of any size, repeatable by seed.

Names, formulas and strengths are those of Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019: the table of CIFAR-10-C for pictures of up to 64 pixels, that of
ImageNet-C for larger ones. Written anew since the packages that exist take (224,224,3) only and draw from numpy's
global generator. Two differences: motion blur is computed here instead of by ImageMagick, and frost is drawn
instead of pasted from six photographs. Single corruptions are in ``corruption_kinds``. Pure: no I/O, no clock, no
state.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.drifts import corruption_kinds as kinds

Pixels = NDArray[np.uint8]
Kind = Callable[..., kinds.Batch]

SMALL_SIDE = 64
"""Pictures up to this side use the strengths of CIFAR-10-C."""

_Strengths = tuple[Any, ...]

CORRUPTIONS: Mapping[str, tuple[Kind, _Strengths, _Strengths]] = MappingProxyType(
    {
        "gaussian_noise": (
            kinds.gaussian_noise,
            ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
            ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
        ),
        "shot_noise": (
            kinds.shot_noise,
            ((500,), (250,), (100,), (75,), (50,)),
            ((60,), (25,), (12,), (5,), (3,)),
        ),
        "impulse_noise": (
            kinds.impulse_noise,
            ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
            ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
        ),
        "defocus_blur": (
            kinds.defocus_blur,
            ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
            ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ),
        "glass_blur": (
            kinds.glass_blur,
            ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
            ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ),
        "motion_blur": (
            kinds.motion_blur,
            ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
            ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        ),
        "zoom_blur": (
            kinds.zoom_blur,
            ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
            ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ),
        "snow": (
            kinds.snow,
            (
                (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
                (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
                (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
                (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
                (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
            ),
            (
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ),
        ),
        "frost": (
            kinds.frost,
            ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
            ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        ),
        "fog": (
            kinds.fog,
            ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
            ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ),
        "brightness": (
            kinds.brightness,
            ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
            ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
        ),
        "contrast": (
            kinds.contrast,
            ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
            ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
        ),
        "elastic_transform": (
            kinds.elastic_transform,
            ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
            ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)),
        ),
        "pixelate": (
            kinds.pixelate,
            ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
            ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
        ),
        "jpeg_compression": (
            kinds.jpeg_compression,
            ((80,), (65,), (58,), (50,), (40,)),
            ((25,), (18,), (15,), (10,), (7,)),
        ),
    }
)
"""Per name: the function, the five strengths of CIFAR-10-C, the five of ImageNet-C."""


def corrupt(name: str, pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    """The pictures under a corruption.

    Args:
        name: One of :data:`CORRUPTIONS`.
        pixels: uint8 (N,H,W,C), C 1 or 3 (RGB).
        severity: 0 (unchanged) .. 5.
        rng: Source of every random choice; two equal generators give two equal batches.

    Returns:
        uint8 (N,H,W,C); a new array.

    Raises:
        ValueError: unknown name, severity, dtype or shape.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; expected one of: {', '.join(CORRUPTIONS)}")
    if severity not in range(6):
        raise ValueError(f"severity of {name} is {severity!r}; expected a whole number, 0 to 5")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise ValueError(f"pictures are {pixels.dtype} {pixels.shape}; expected uint8 (N,H,W,1 or 3)")
    if severity == 0 or pixels.size == 0:
        return pixels.copy()
    kind, small, large = CORRUPTIONS[name]
    strengths = small if max(pixels.shape[1:3]) <= SMALL_SIDE else large
    found = kind(pixels.astype(np.float32) / 255, rng, *strengths[severity - 1])
    return np.asarray(np.rint(np.clip(found, 0, 1) * 255), np.uint8)
