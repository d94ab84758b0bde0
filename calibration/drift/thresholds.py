"""How far a window of frames may be from the baseline by chance: thresholds from healthy frames alone.

Thresholds come from simulated healthy streams. Frames are drawn in blocks, because those of a fixed camera resemble
their neighbours; every stream gets a baseline drawn in the same way, because the real one has its sampling error
too; and half of the streams see only frames that are alike, because a belt that shows one product for an hour is no
drift. Those frames are kept out of the space in which they are scored: the next product will be one that the
baseline has never seen. Pure; the generator is an argument.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.drift.mahalanobis import Matrix, Whitening

STREAMS, WINDOWS_PER_STREAM = 160, 12
PARTS = 40
"""Different parts of the content that skewed streams show."""
TAIL = 0.05
"""Share of the simulated values that the tail is fitted to."""
SKEWED_SHARE, SKEWED_LEAST = 0.1, 4
"""Share and least number of the frames that a content-skewed stream sees: one class of ten."""
SKEWED_QUANTILE = 0.99
"""Share of the looks at content-skewed streams that must stay below the threshold."""
LASTING_QUANTILE = 0.9
"""Share of the content-skewed streams that the CUSUM must forgive for as long as they last."""
LEAST_CUSUM = 10.0
"""At least four windows in a row that are as bad as can be."""
SKEWED_MARGIN = 1.1
"""The next product may differ a little more than those that the baseline shows."""

CHANCE_RATE, CHANCE_MARGIN, CHANCE_FLOOR = 0.002, 1.5, 0.03
"""For a single window of known content; fresh pictures of unknown objects reach 1.1 times what chance alone gives."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What healthy streams do."""

    score: float
    """Both of two windows in a row above this: alarm."""
    cusum: float
    mean: float
    spread: float
    """Mean and standard deviation of a healthy window's score; the CUSUM counts in these."""
    allowance: float
    """How many spreads above the mean the CUSUM forgives: the error of the baseline itself is persistent."""


@dataclass(frozen=True, slots=True)
class Cadence:
    """When a group is looked at, and how rarely it may be wrong.

    Attributes:
        window_frames: Frames in a window.
        stride_frames: Frames between two looks.
        apart_frames: Frames between the two windows that must both be above.
        false_alarms_per_frame: The wanted rate, e.g. 1 / (30 days of frames).
        floor: No threshold below this distance; higher for few frames.
    """

    window_frames: int
    stride_frames: int
    apart_frames: int
    false_alarms_per_frame: float
    floor: float


def draw_thresholds(
    features: Matrix,
    space: Whitening,
    effective: float,
    pace: Cadence,
    rng: np.random.Generator,
    *,
    forgives_content: bool,
) -> Thresholds:
    """Thresholds from healthy frames.

    Args:
        features: Healthy frames (N, D) in the order in which they were seen.
        space: Fitted to them.
        effective: How many independent frames they are worth.
        pace: Sizes and rates.
        rng: Draws the simulated streams.
        forgives_content: Whether a stream that shows only a part of the content must stay below.
    """
    size, stride, floor = pace.window_frames, pace.stride_frames, pace.floor
    white = space.whiten(features)
    plain = _plain(white, effective, size, stride, rng)
    skewed = _skewed(features, white, effective, size, stride, rng) if forgives_content else plain
    step = max(1, pace.apart_frames // stride)
    pairs, skewed_pairs = (np.minimum(s[:, step:], s[:, :-step]) for s in (plain, skewed))
    caution = _caution(effective)
    mean, spread = float(plain.mean()), max(float(plain.std()), floor / 8)
    persistent = float(np.quantile(skewed.mean(axis=1), LASTING_QUANTILE))
    allowance = 0.5 + max(0.0, (persistent - mean) / spread)
    value, paths = np.zeros(len(plain)), list[Matrix]()
    for scores in plain.T[:: max(1, size // stride)]:
        value = cusum_step(value, (scores - mean) / spread, allowance)
        paths.append(value)
    return Thresholds(
        score=max(
            max(caution, _unseen(effective) if forgives_content else 1.0) * floor,
            caution * _upper_quantile(pairs.ravel(), pace.false_alarms_per_frame * stride),
            SKEWED_MARGIN * float(np.quantile(skewed_pairs, SKEWED_QUANTILE)),
        ),
        cusum=max(
            LEAST_CUSUM, caution * _upper_quantile(np.concatenate(paths), pace.false_alarms_per_frame * size)
        ),
        mean=mean,
        spread=spread,
        allowance=allowance,
    )


def chance_limit(white: Matrix, effective: float, size: int, rng: np.random.Generator) -> float:
    """The distance that one healthy window of ``size`` frames hardly ever has, with the content of the baseline.

    Args:
        white: Whitened healthy frames (N, D) in the order in which they were seen.
        effective: How many independent frames they are worth.
        size: Frames in the window.
        rng: Draws the simulated windows.
    """
    plain = _plain(white, effective, size, size, rng)
    by_chance = CHANCE_MARGIN * _upper_quantile(plain.ravel(), CHANCE_RATE)
    return _caution(effective) * max(CHANCE_FLOOR, by_chance)


def draw_blocks(count: int, length: int, effective: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """``length`` frame numbers below ``count``, drawn in runs of frames that resemble their neighbours.

    ``effective`` is how many independent frames the ``count`` are worth. The end joins the beginning.
    """
    block = int(np.clip(round(count / max(effective, 1.0)), 1, max(1, count // 4)))
    starts = rng.integers(0, count, -(-length // block))
    return np.asarray((starts[:, None] + np.arange(block)).ravel()[:length] % count, np.int64)


def cusum_step(value: float | Matrix, standardised: float | Matrix, allowance: float) -> Matrix:
    """One step of the one-sided CUSUM (Page 1954). One wild window counts at most three spreads."""
    return np.maximum(0.0, value + np.minimum(standardised, allowance + 3.0) - allowance)


def _caution(effective: float) -> float:
    """Few frames know little about the tail: 16 raise a threshold by three quarters."""
    return 1 + 12 / max(effective, 4.0)


def _unseen(effective: float) -> float:
    """What the floor is multiplied by: the fewer frames a baseline has, the more products it has never seen.

    Measured on cut-outs, baselines of 123 frames: without this, up to 11 % of the streams of four unknown objects
    alarmed.
    """
    return min(3.0, 0.8 + 120 / effective)


def _plain(white: Matrix, effective: float, size: int, stride: int, rng: np.random.Generator) -> Matrix:
    """Scores (S, W) of healthy streams, from whitened frames (N, D)."""
    count, length = len(white), WINDOWS_PER_STREAM * size
    found = []
    for _ in range(STREAMS // 2):
        centre = white[draw_blocks(count, count, effective, rng)].mean(axis=0)
        found.append(_scores(white[draw_blocks(count, length, effective, rng)] - centre, size, stride))
    return np.stack(found)


def _skewed(
    features: Matrix, white: Matrix, effective: float, size: int, stride: int, rng: np.random.Generator
) -> Matrix:
    """Scores (S, W) of healthy streams that see only frames that are alike, in a space that does not know these.

    ``white`` are the whitened ``features`` (N, D).
    """
    count, length = len(features), WINDOWS_PER_STREAM * size
    few = min(count // 2, max(SKEWED_LEAST, round(SKEWED_SHARE * count)))
    found = []
    for _ in range(PARTS):
        alike = np.argsort(((white - white[rng.integers(count)]) ** 2).sum(axis=1))
        part, rest = features[alike[:few]], features[np.sort(alike[few:])]
        space = Whitening.fit(rest, effective * len(rest) / count)
        seen, others = space.whiten(part), space.whiten(rest)
        for _ in range(STREAMS // 2 // PARTS):
            centre = others[rng.integers(0, len(rest), len(rest))].mean(axis=0)
            found.append(_scores(seen[rng.integers(0, few, length)] - centre, size, stride))
    return np.stack(found)


def _scores(white: Matrix, size: int, stride: int) -> Matrix:
    """Distance of every window of ``size`` frames of a stream (N, D), ``stride`` apart."""
    sums = np.concatenate([np.zeros((1, white.shape[1])), np.cumsum(white, axis=0)])
    means = (sums[size:] - sums[:-size])[::stride] / size
    return np.asarray((means * means).mean(axis=1), np.float64)


def _upper_quantile(values: Matrix, rate: float) -> float:
    """The level exceeded with probability ``rate``; beyond the data by an exponential tail (mean excess)."""
    if rate >= TAIL:
        return float(np.quantile(values, 1 - min(rate, 1.0)))
    start = float(np.quantile(values, 1 - TAIL))
    beyond = values[values > start]
    excess = float((beyond - start).mean()) if beyond.size else 0.0
    return start + excess * float(np.log(TAIL / rate))
