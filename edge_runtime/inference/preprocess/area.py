"""The filters ``area`` and ``area_fast``: pixel means where a picture shrinks, linear where it grows.

OpenCV has vector code for means of 2 x 2 pixels, box sums and linear sampling, none for its area filter at ratios that
are no whole numbers. Steps of the former give the same picture within one grey level in a third to an eighth of the
time; ``docs/decisions/0050-the-area-filter-in-fast-steps.md`` has the figures and the bounds below.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

_HALVED_FROM = 3.6
"""Source pixels for one of the result, along an axis: from here on pairs of pixels become one first."""
_BOXED_FROM = 2.8
"""From here on to the next bound the mean of three pixels is sampled; it is exact at 3."""
_DOUBLED_FROM = 1.3
"""From here on to the next bound two samples become one; it is exact at 2. Below one sample is nearer to the mean."""


def resize_area(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize (H,W) or (H,W,3) uint8 to (height,width) or (height,width,3) by OpenCV's filter.

    Means along axes that shrink, linear along axes that grow; OpenCV alone does this only for both alike.
    """
    smaller = (min(width, pixels.shape[1]), min(height, pixels.shape[0]))
    shrunk = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)
    if smaller == (width, height):
        return shrunk  # type: ignore[return-value]
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def resize_in_steps(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """The same within about one grey level, for ``area_fast``."""
    target = (width, height)
    while max(_ratios(pixels, target)) >= _HALVED_FROM:
        size = [_reduce(old, new) for old, new in zip(_size(pixels), target, strict=True)]
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    ratios = _ratios(pixels, target)
    box = [3 if ratio >= _BOXED_FROM else 1 for ratio in ratios]
    if max(box) > 1:
        pixels = cv2.blur(pixels, box, borderType=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    between = [
        2 * new if _DOUBLED_FROM <= ratio < _BOXED_FROM else new
        for new, ratio in zip(target, ratios, strict=True)
    ]
    sampled = cv2.resize(pixels, between, interpolation=cv2.INTER_LINEAR)
    return sampled if _size(sampled) == target else cv2.resize(sampled, target, interpolation=cv2.INTER_AREA)  # type: ignore[return-value, arg-type]


def _reduce(old: int, new: int) -> int:
    """Half the pixels of an axis; of an odd number, which has no halves, the wanted pixels by OpenCV's own filter."""
    if old / new < _HALVED_FROM:
        return old
    return old // 2 if old % 2 == 0 else new


def _size(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[0]


def _ratios(pixels: NDArray[np.uint8], target: tuple[int, int]) -> tuple[float, float]:
    width, height = _size(pixels)
    return width / target[0], height / target[1]
