"""Packs healthy samples: a byte a value where they came from 8-bit pictures. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import HealthySamples
from calibration.stats.signal_features import is_signal


def pack_healthy_samples(x: NDArray[np.float32], chosen: NDArray[np.intp] | None = None) -> HealthySamples:
    """Store the ``chosen`` of the samples (M, C, ...), finite, compactly, still without answers; None takes all.

    As uint8 when they lie on a grid of at most 256 steps per channel, else as float16, or float32 for large values;
    signals as float16 around the middle of each channel.
    One after the other: all of a large detector at once take hundreds of megabytes.
    """
    frames, channels = list(x) if chosen is None else [x[i] for i in chosen], x.shape[1]
    grids = [grid for c in range(channels) if (grid := _grid([frame[c] for frame in frames])) is not None]
    if len(grids) == channels:
        steps, lows = np.asarray(grids, np.float32).T.copy()
        shape = (-1,) + (1,) * (x.ndim - 2)
        step, low = steps.reshape(shape), lows.reshape(shape)
        packed = np.empty((len(frames), *x.shape[1:]), np.uint8)
        for i, frame in enumerate(frames):
            packed[i] = np.rint((frame - low) / step)
        return HealthySamples(packed, steps, lows, None)
    if is_signal(x.shape[1:]):
        return _pack_centred(frames, channels)
    small = max(np.abs(frame).max(initial=0) for frame in frames) < np.finfo(np.float16).max
    plain = np.stack([frame.astype(np.float16 if small else np.float32) for frame in frames])
    return HealthySamples(plain, np.ones(channels, np.float32), np.zeros(channels, np.float32), None)


def _pack_centred(frames: Sequence[NDArray[np.float32]], channels: int) -> HealthySamples:
    """Float16 around the middle of each channel: a signal may have a mean far from 0, and a unit for each channel."""
    flat = np.stack(frames).astype(np.float64).reshape(len(frames), channels, -1)
    low, high = flat.min(axis=(0, 2)), flat.max(axis=(0, 2))
    middle = ((low + high) / 2).astype(np.float32)
    reach = np.maximum((high - low) / 2, np.finfo(np.float32).tiny).astype(np.float32)
    packed = (flat - middle[:, np.newaxis]) / reach[:, np.newaxis]
    shape = (len(frames), *frames[0].shape)
    return HealthySamples(packed.astype(np.float16).reshape(shape), reach, middle, None)


def _grid(planes: Sequence[NDArray[np.float32]]) -> tuple[float, float] | None:
    """Step and lowest value of data that came from 8-bit pictures; None when it did not."""
    levels = np.unique(np.concatenate([np.unique(plane) for plane in planes]))
    low, high = float(levels[0]), float(levels[-1])
    if len(levels) == 1:
        return 1.0, low
    tolerance = 1e-5 * max(abs(low), abs(high))  # float32 rounding of the normalisation
    gaps = np.diff(levels.astype(np.float64))
    gaps = gaps[gaps > 4 * tolerance]
    if not gaps.size:
        return None
    rough = float(gaps.min())
    count = round((high - low) / rough)
    if not 1 <= count <= 255:
        return None
    step = (high - low) / count
    off = np.abs((levels - low) / step - np.rint((levels - low) / step)).max()
    return (step, low) if off < 0.25 else None
