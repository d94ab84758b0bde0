"""Frames of a reference set that cannot be what this camera sees now: impossible values, and unlike the majority.

A drift moves all frames together; a frame that moved elsewhere (noise, a covered lens, another scene, another
preparation) would pull the moments away from the frames that matter. Such frames are left out and counted; when
they are too many to tell who is right, nothing is changed. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import Baseline
from calibration.drift.monitor import groups_in
from calibration.search.reference import Usable
from calibration.stats.moments import INPUT_TAP, FrameMoments, moments_of_frames
from calibration.stats.sensor_features import DROPOUT, sensor_features_of_frames
from calibration.stats.signal_features import is_signal
from calibration.targets.base import Batch

MOST_STRANGERS = 1 / 3
"""Of the frames; with more of them there is no majority to trust."""
ALLOWANCE = 1.5
"""A frame may be this many times as far from the core as the furthest healthy one is from its own. Of 64 frames under
28 drifts, at most 2 were further on Fashion-MNIST, at most 5 on cut-outs but for drifts that burn out a part of the
pictures (exposure 16, snow 17), and 7 of 65 on a street video; 10 and 30 % noise, flat or dark pictures all were."""
CORE_QUANTILE = 0.25
"""Of the distances: how wide the core is, measured well inside it."""
ROOM = 4.0
"""Without 8-bit steps to count, values may leave the healthy range by this many times its width."""
LEVELS = 255

IMPOSSIBLE = "values that no sample prepared for this model has"
UNLIKE = "unlike the majority of the reference"

Flags = NDArray[np.bool_]


def drop_outliers(x: Batch, found: Usable, baseline: Baseline) -> Usable:
    """The usable frames without those that cannot be this camera's, and a problem when these are too many.

    ``found`` tells which of all frames ``x`` (N, C, ...) are usable so far.
    """
    if not len(found.index):
        return found
    kept = found.without(possible_values(baseline).has_not(x[found.index]), IMPOSSIBLE)
    kept = _refuse_too_many(
        found,
        kept,
        f"hold {IMPOSSIBLE}: they seem to be prepared in another way than the healthy ones. Prepare them exactly as "
        "for this model.",
    )
    if kept.problem or not len(kept.index):
        return kept
    seen = x[kept.index]
    live = {INPUT_TAP: moments_of_frames(seen), **sensor_features_of_frames(seen)}
    return _refuse_too_many(
        kept,
        kept.without(unlike_the_majority(live, baseline.frames), UNLIKE),
        "are further from the others than healthy frames are from each other: they do not show one and the "
        "same state.",
    )


def _refuse_too_many(before: Usable, after: Usable, why: str) -> Usable:
    lost, count = len(before.index) - len(after.index), len(before.index)
    if lost > MOST_STRANGERS * count:
        return replace(after, problem=f"{lost} of {count} reference frames {why}")
    return after


@dataclass(frozen=True, slots=True)
class Range:
    """The values that prepared samples can have, per input channel (C,)."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def has_not(self, x: Batch) -> Flags:
        """(N,) True for frames of ``x`` (N, C, ...) with a value outside."""
        flat = x.reshape(x.shape[0], x.shape[1], -1)
        is_outside = (flat.min(axis=2) < self.low) | (flat.max(axis=2) > self.high)
        return np.asarray(is_outside.any(axis=1), np.bool_)


def possible_values(baseline: Baseline) -> Range:
    """From the healthy samples, whose 8-bit steps tell the scale; else the healthy range with room on both sides."""
    kept = baseline.healthy_samples
    if kept is not None and kept.packed.dtype == np.uint8:
        # Two full scales to either side of the lowest level seen: that holds the scale itself wherever it lies, and
        # what a simulated drift adds without cutting it off.
        lowest, reach = kept.low.astype(np.float64), 2.0 * LEVELS * kept.step
        return Range(lowest - reach, lowest + reach)
    if kept is not None:
        flat = np.moveaxis(kept.samples(), 1, 0).reshape(kept.packed.shape[1], -1)
        low, high = flat.min(axis=1).astype(np.float64), flat.max(axis=1).astype(np.float64)
    else:
        frames = baseline.frames[INPUT_TAP]
        reach = 3 * np.sqrt(frames.var)
        low, high = (frames.mean - reach).min(axis=0), (frames.mean + reach).max(axis=0)
    width = high - low
    # The channels of a picture have one scale, each channel of a signal has its unit.
    has_units = is_signal(baseline.input_shape)
    room = ROOM * (np.where(width > 0, width, width.max()) if has_units else width.max())
    return Range(low - room, high + room)


def unlike_the_majority(live: Mapping[str, FrameMoments], healthy: Mapping[str, FrameMoments]) -> Flags:
    """(N,) True for frames further from the core of the reference than any healthy one is from the healthy core.

    Both distances are taken in the space of the drift monitor and in units of the core's own width, so that a drift,
    which moves all frames and may stretch their differences, does not count. A baseline of few frames flags nothing.
    """
    flags = np.zeros(len(next(iter(live.values())).mean), np.bool_)
    for sign, group in groups_in(live, healthy).items():
        if sign == DROPOUT:  # of a few lost values some windows have none, and others several
            continue
        usual, seen = (
            _from_the_core(group.space.whiten(part)) for part in (group.features, group.features_in(live))
        )
        width, usual_width = (float(np.quantile(part, CORE_QUANTILE)) for part in (seen, usual))
        furthest = float(usual.max()) / usual_width
        flags |= seen > ALLOWANCE**2 * furthest * max(width, usual_width)
    return flags


def _from_the_core(whitened: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) mean squared distance from the middle of the half of the frames that lie closest together.

    The half around the frame whose nearest half is the nearest of all: with up to half of them outliers it holds
    frames of one kind only. Source: the shortest half, Rousseeuw 1984, with frames as centres.
    """
    squares = (whitened**2).mean(axis=1)
    between = squares[:, None] + squares[None, :] - 2 * (whitened @ whitened.T) / whitened.shape[1]
    half = (len(whitened) + 1) // 2
    reach = np.partition(between, half - 1, axis=1)[:, half - 1]
    core = whitened[np.argsort(between[reach.argmin()], kind="stable")[:half]]
    return np.asarray(((whitened - core.mean(axis=0)) ** 2).mean(axis=1))
