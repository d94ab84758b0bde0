"""Where the model's input pixels come from: crop, stretch or letterbox, with the filter that the bundle names.

Pure functions of arrays.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Geometry
from edge_runtime.inference.preprocess.area import resize_area, resize_in_steps
from edge_runtime.inference.specs import Filter, PictureSpec

_CV2_FILTERS = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
# Measured on 720p JPEGs: at these the reduced decode moves pixels by about one level and the outputs of
# EfficientNet-Lite0 by 5-8 % of their spread; at 1.0 it is twice that.
_OVERSAMPLING: dict[Filter, float] = {
    "area": 1.25,
    "area_fast": 1.25,
    "antialias_bilinear": 2.0,
    "antialias_bicubic": 2.0,
}
# libjpeg-turbo is fast at powers of two only: 5/8 takes longer than the whole picture.
_REDUCTIONS = (8, 4, 2)
_BLOCK = 1 << 18  # sums of an antialiased resize at a time: 1 MiB, about what a core's cache holds


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in pixels of a picture."""

    x: int
    y: int
    width: int
    height: int


def reduction(spec: PictureSpec, width: int, height: int) -> int:
    """By how much (1, 2, 4 or 8) a picture of this size may be shrunk while decoding, with the result still right.

    The filters that do not smooth when shrinking give another picture from smoothed pixels: they get all of them.
    """
    oversampling = _OVERSAMPLING.get(spec.filter)
    if oversampling is None:
        return 1
    source, target = source_region(spec, width, height), target_region(spec, width, height)
    spare = min(source.width / target.width, source.height / target.height) / oversampling
    return next((factor for factor in _REDUCTIONS if factor <= spare), 1)


def source_region(spec: PictureSpec, width: int, height: int) -> Region:
    """The part of a picture that the model sees; at least one pixel."""
    if spec.geometry != "crop":
        return Region(0, 0, width, height)
    scale = min(width / spec.width, height / spec.height) * spec.crop_fraction
    wide, high = _centre(spec.width * scale, width), _centre(spec.height * scale, height)
    return Region((width - wide) // 2, (height - high) // 2, wide, high)


def _centre(wanted: float, available: int) -> int:
    """A whole number of pixels near ``wanted`` that leaves equal margins: half a pixel off centre is visible."""
    size = min(available, max(1, round(wanted)))
    if (available - size) % 2:
        size += 1 if wanted > size or size == 1 else -1
    return size


def target_region(spec: PictureSpec, width: int, height: int) -> Region:
    """The part of the model's input that the picture fills."""
    if spec.geometry != "letterbox":
        return Region(0, 0, spec.width, spec.height)
    scale = min(spec.width / width, spec.height / height)
    wide = min(spec.width, max(1, round(width * scale)))
    high = min(spec.height, max(1, round(height * scale)))
    if spec.letterbox_anchor == "top_left":
        return Region(0, 0, wide, high)
    return Region((spec.width - wide) // 2, (spec.height - high) // 2, wide, high)


def fit(
    spec: PictureSpec, pixels: NDArray[np.uint8], full_width: int, full_height: int
) -> tuple[NDArray[np.uint8], Geometry]:
    """The model's input pixels and how they map back to the frame.

    ``pixels`` are upright, (H,W) or (H,W,3). ``full_width`` and ``full_height`` are those of the frame they show, which
    is larger when it was decoded at a reduced size.
    """
    height, width = pixels.shape[:2]
    source, target = source_region(spec, width, height), target_region(spec, width, height)
    part = pixels[source.y : source.y + source.height, source.x : source.x + source.width]
    resized = resize(part, target.width, target.height, spec.filter)
    if (target.width, target.height) != (spec.width, spec.height):
        canvas = np.full((spec.height, spec.width, *pixels.shape[2:]), spec.pad_level, np.uint8)
        canvas[target.y : target.y + target.height, target.x : target.x + target.width] = resized
        resized = canvas
    per_x, per_y = full_width / width, full_height / height
    scale_x, scale_y = target.width / (source.width * per_x), target.height / (source.height * per_y)
    return resized, Geometry(
        frame_width=full_width,
        frame_height=full_height,
        scale_x=scale_x,
        scale_y=scale_y,
        offset_x=target.x - source.x * per_x * scale_x,
        offset_y=target.y - source.y * per_y * scale_y,
    )


def resize(pixels: NDArray[np.uint8], width: int, height: int, filter_name: Filter) -> NDArray[np.uint8]:
    """Resize (H,W) or (H,W,C) uint8 with a named filter."""
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    if filter_name == "area":
        return resize_area(pixels, width, height)
    if filter_name == "area_fast":
        return resize_in_steps(pixels, width, height)
    if filter_name in _CV2_FILTERS:  # these take their samples where OpenCV does, smoothing nothing
        return cv2.resize(pixels, (width, height), interpolation=_CV2_FILTERS[filter_name])  # type: ignore[return-value]
    cubic = filter_name == "antialias_bicubic"
    # Rows first; but not where that makes more of them and the columns get fewer: the picture between the two steps
    # is never larger than the first and the last one.
    axes = (0, 1) if height <= pixels.shape[0] or width >= pixels.shape[1] else (1, 0)
    for axis in axes:
        pixels = _resize_antialiased(pixels, (height, width)[axis], axis, cubic=cubic)
    return np.ascontiguousarray(pixels)


def _resize_antialiased(pixels: NDArray[np.uint8], size: int, axis: int, *, cubic: bool) -> NDArray[np.uint8]:
    """Resize one axis as PIL does: the filter is as wide as the pixels it replaces.

    Done in blocks of the other axis, so that the sums need little memory, whatever the size of the picture.
    """
    if pixels.shape[axis] == size:
        return pixels
    first, weights = _filter_taps(pixels.shape[axis], size, cubic=cubic)
    last = pixels.shape[axis] - 1
    shape = (size, *pixels.shape[1:]) if axis == 0 else (pixels.shape[0], size, *pixels.shape[2:])
    resized = np.empty(shape, np.uint8)
    source, target = (pixels, resized) if axis == 0 else (pixels.swapaxes(0, 1), resized.swapaxes(0, 1))
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    step = max(1, _BLOCK // (max(size, 1) * channels))
    for start in range(0, source.shape[1], step):
        block = np.ascontiguousarray(source[:, start : start + step])
        flat = block.reshape(len(block), -1)
        total = np.zeros((size, flat.shape[1]), np.float32)
        for tap in range(weights.shape[1]):
            total += flat[np.minimum(first + tap, last)] * weights[:, tap, None]
        rounded = np.clip(total + 0.5, 0, 255).astype(np.uint8)
        target[:, start : start + step] = rounded.reshape(size, *block.shape[1:])
    return resized


@lru_cache(maxsize=32)  # at most 1 MiB each: 4 bytes a tap, about 4 taps for each pixel of the longest side
def _filter_taps(old: int, new: int, *, cubic: bool) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """First source index (new,) and weights (new, taps). Source: PIL's Resample.c, precompute_coeffs."""
    ratio = old / new
    stretch = max(ratio, 1.0)
    reach = (2.0 if cubic else 1.0) * stretch
    centre = (np.arange(new) + 0.5) * ratio
    first = np.maximum((centre - reach + 0.5).astype(np.intp), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.intp), old)
    offsets = np.arange(int((last - first).max()))
    taps = first[:, None] + offsets
    at = np.abs((taps + 0.5 - centre[:, None]) / stretch)
    weights = _cubic(at) if cubic else np.maximum(1 - at, 0)
    inside = np.where(taps < last[:, None], weights, 0.0)
    shares = inside / inside.sum(axis=1, keepdims=True)
    return first, shares.astype(np.float32)


def _cubic(at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -0.5, PIL's choice (OpenCV's is -0.75)."""
    near = ((1.5 * at) - 2.5) * at * at + 1
    far = (((-0.5 * at) + 2.5) * at - 4) * at + 2
    shape: NDArray[np.float64] = np.where(at < 1, near, np.where(at < 2, far, 0.0))
    return shape
