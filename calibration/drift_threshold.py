"""How far a window of frames may be from the baseline by chance: distance and thresholds from healthy frames alone.

The distance is *content-aware*: changes that healthy frames show among themselves (another product, another pose)
count little, changes that they never show (a tint, noise, blur) count much. That is the Mahalanobis distance of a
window's mean features, with the covariance of healthy frames shrunk for small samples. Measured against the
symmetric Kullback-Leibler divergence on two nets: the worst one-class healthy window scores below every drift that
costs 5 points or more, where the divergence puts noise and tint below it.

Thresholds come from simulated healthy streams. Frames are drawn in blocks, because those of a fixed camera resemble
their neighbours; every stream gets a baseline drawn in the same way, because the real one has its sampling error
too; and half of the streams see only frames that are alike, because a belt that shows one product for an hour is no
drift. Pure; the generator is an argument. Called by ``drift``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

STREAMS, WINDOWS_PER_STREAM = 160, 12
TAIL = 0.05
"""Share of the simulated values that the tail is fitted to."""
SKEWED_SHARE, SKEWED_LEAST = 0.1, 4
"""Share and least number of the frames that a content-skewed stream sees: one class of ten."""
SKEWED_QUANTILE = 0.99
"""Share of the looks at content-skewed streams that must stay below the threshold."""
LEAST_CUSUM = 10.0
"""At least four windows in a row that are as bad as can be."""
SKEWED_MARGIN = 1.25
"""The frames of one class may differ from the rest a little more than the most alike ones of the baseline."""
VARIANCE_FLOOR = 1e-3
"""Of the mean variance over a tap's channels: a nearly dead channel must not decide."""
STILL = 0.02
"""Frame-to-frame spread below this share of a channel's contrast (about a grey level) counts as this much: a perfectly
still scene must not alarm at every cloud."""


@dataclass(frozen=True, slots=True)
class Units:
    """What makes moments of any tap and scale comparable: the healthy mean and variance of every channel (C,)."""

    mean: Matrix
    var: Matrix

    @classmethod
    def of(cls, mean: Matrix, var: Matrix, widths: tuple[int, ...]) -> "Units":
        """From healthy single-frame moments (N, C); ``widths`` are the channels of each tap and sum to C."""
        centre, spread = mean.mean(axis=0), var.mean(axis=0)
        per_tap = np.split(spread, np.cumsum(widths)[:-1])
        floor = np.concatenate([np.full(len(v), VARIANCE_FLOOR * v.mean() + 1e-12) for v in per_tap])
        return cls(centre, spread + floor)

    def features(self, mean: Matrix, var: Matrix) -> Matrix:
        """(..., 2C): shift of the mean and log ratio of the contrast, both in units of the healthy contrast."""
        shift = (mean - self.mean) / np.sqrt(self.var)
        contrast = 0.5 * np.log((var + VARIANCE_FLOOR * self.var) / self.var)
        return np.concatenate([shift, contrast], axis=-1)


@dataclass(frozen=True, slots=True)
class Space:
    """Healthy frames in feature space: where they are, and in which directions they vary."""

    centre: Matrix
    whitener: Matrix
    """(D, D): brings the covariance of healthy frames to about the identity."""

    @classmethod
    def fit(cls, features: Matrix, effective: float) -> "Space":
        """From healthy frames (N, D) that are worth ``effective`` independent ones."""
        centre = features.mean(axis=0)
        scale = np.hypot(features.std(axis=0), STILL)
        z = (features - centre) / scale
        share = float(np.clip(8 / max(effective, 1.0) + 0.02, 0.02, 0.9))
        covariance = (1 - share) * (z.T @ z) / len(z) + share * np.eye(z.shape[1])
        root = np.linalg.cholesky(covariance)
        return cls(centre, np.linalg.inv(root) / scale)

    def whiten(self, features: Matrix) -> Matrix:
        """(..., D) -> (..., D): about uncorrelated, with variance 1, for healthy frames."""
        return np.asarray((features - self.centre) @ self.whitener.T, np.float64)

    def distance(self, window: Matrix) -> float:
        """For the mean features (D,) of a window; a single ordinary healthy frame has about 1."""
        return float((self.whiten(window) ** 2).mean())


@dataclass(frozen=True, slots=True)
class Limits:
    """What healthy streams do."""

    score: float
    """Both of two windows in a row above this: alarm."""
    cusum: float
    mean: float
    spread: float
    """Mean and standard deviation of a healthy window's score; the CUSUM counts in these."""
    allowance: float
    """How many spreads above the mean the CUSUM forgives: the error of the baseline itself is persistent."""
    effective_frames: float
    """How many independent frames the baseline is worth."""
    extrapolated: bool
    """True when the wanted rate is rarer than anything simulated: the exponential tail fit was used."""


def effective_frames(features: Matrix) -> float:
    """How many independent frames (N, D) are worth, from the correlation of each with the next."""
    return len(features) * (1 - _correlation(features)) / (1 + _correlation(features))


def limits(
    white: Matrix,
    effective: float,
    *,
    size: int,
    stride: int,
    apart: int,
    false_alarms_per_frame: float,
    floor: float,
    rng: np.random.Generator,
) -> Limits:
    """Thresholds for windows of ``size`` frames, from healthy frames.

    Args:
        white: Whitened features (N, D) of healthy frames in the order in which they were seen.
        effective: How many independent frames they are worth.
        size: Frames in a window.
        stride: Frames between two looks.
        apart: Frames between the two windows that must both be above.
        false_alarms_per_frame: The wanted rate, e.g. 1 / (30 days of frames).
        floor: No threshold below this distance; higher for few frames.
        rng: Draws the simulated streams.
    """
    plain, skewed = _simulate(white, effective, size, stride, rng)
    step = max(1, apart // stride)
    pairs, skewed_pairs = (np.minimum(s[:, step:], s[:, :-step]) for s in (plain, skewed))
    caution = 1 + 12 / max(
        effective, 4.0
    )  # few frames know little about the tail: 16 raise it by three quarters
    rate = false_alarms_per_frame * stride
    mean, spread = float(plain.mean()), max(float(plain.std()), floor / 8)
    persistent = SKEWED_MARGIN * float(np.quantile(skewed.mean(axis=1), SKEWED_QUANTILE))
    allowance = 0.5 + max(0.0, (persistent - mean) / spread)
    paths = cusum_paths((plain[:, :: max(1, size // stride)] - mean) / spread, allowance)
    return Limits(
        score=max(
            caution * floor,
            caution * _upper_quantile(pairs.ravel(), rate),
            SKEWED_MARGIN * float(np.quantile(skewed_pairs, SKEWED_QUANTILE)),
        ),
        cusum=max(LEAST_CUSUM, caution * _upper_quantile(paths.ravel(), false_alarms_per_frame * size)),
        mean=mean,
        spread=spread,
        allowance=allowance,
        effective_frames=effective,
        extrapolated=rate * pairs.size < 10,
    )


def cusum_step(value: float | Matrix, standardised: float | Matrix, allowance: float) -> Matrix:
    """One step of the one-sided CUSUM (Page 1954). One wild window counts at most three spreads."""
    return np.maximum(0.0, value + np.minimum(standardised, allowance + 3.0) - allowance)


def cusum_paths(standardised: Matrix, allowance: float) -> Matrix:
    """CUSUM along the second axis of (S, W)."""
    paths, value = np.empty_like(standardised), np.zeros(len(standardised))
    for i in range(standardised.shape[1]):
        value = cusum_step(value, standardised[:, i], allowance)
        paths[:, i] = value
    return paths


def _simulate(
    white: Matrix, effective: float, size: int, stride: int, rng: np.random.Generator
) -> tuple[Matrix, Matrix]:
    """Scores (S, W) of healthy streams, and of healthy streams that see only a part of the frames."""
    count, length = len(white), WINDOWS_PER_STREAM * size
    block = int(np.clip(round(count / max(effective, 1.0)), 1, max(1, count // 4)))
    few = min(count, max(SKEWED_LEAST, round(SKEWED_SHARE * count)))
    plain, skewed = [], []
    for _ in range(STREAMS // 2):
        centre = white[_blocks(count, count, block, rng)].mean(axis=0)
        plain.append(_scores(white[_blocks(count, length, block, rng)] - centre, size, stride))
        part = np.argsort(((white - white[rng.integers(count)]) ** 2).sum(axis=1))[:few]
        skewed.append(_scores(white[rng.choice(part, length)] - centre, size, stride))
    return np.stack(plain), np.stack(skewed)


def _blocks(count: int, length: int, block: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``length`` frame numbers below ``count``, drawn in runs of ``block`` (the end joins the beginning)."""
    starts = rng.integers(0, count, -(-length // block))
    return np.asarray((starts[:, None] + np.arange(block)).ravel()[:length] % count, np.int64)


def _scores(white: Matrix, size: int, stride: int) -> Matrix:
    """Distance of every window of ``size`` frames of a stream (N, D), ``stride`` apart."""
    sums = np.concatenate([np.zeros((1, white.shape[1])), np.cumsum(white, axis=0)])
    means = (sums[size:] - sums[:-size])[::stride] / size
    return np.asarray((means * means).mean(axis=1), np.float64)


def _correlation(features: Matrix) -> float:
    """Mean correlation of a frame with the next one over all features, 0..0.95."""
    z = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-12)
    return float(np.clip((z[1:] * z[:-1]).mean(), 0.0, 0.95)) if len(z) > 2 else 0.0


def _upper_quantile(values: Matrix, rate: float) -> float:
    """The level exceeded with probability ``rate``; beyond the data by an exponential tail (mean excess)."""
    if rate >= TAIL:
        return float(np.quantile(values, 1 - min(rate, 1.0)))
    start = float(np.quantile(values, 1 - TAIL))
    beyond = values[values > start]
    excess = float((beyond - start).mean()) if beyond.size else 0.0
    return start + excess * float(np.log(TAIL / rate))
