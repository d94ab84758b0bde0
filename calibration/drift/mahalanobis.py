"""How far a window of frames is from healthy frames: scaling, distance, and effective sample size.

The distance is *content-aware*: changes that healthy frames show among themselves (another product, another pose)
count little, changes that they never show (a tint, noise, blur) count much. That is the Mahalanobis distance of a
window's mean features, with the covariance of healthy frames shrunk for small samples. Measured against the
symmetric Kullback-Leibler divergence on two nets: the worst one-class healthy window scores below every drift that
costs 5 points or more, where the divergence puts noise and tint below it.

Pure numpy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.stats.moments import FrameMoments, MeanVar

Matrix = NDArray[np.float64]

VARIANCE_FLOOR = 1e-3
"""Of the mean variance over a tap's channels: a nearly dead channel must not decide."""
STILL = 0.1
"""Frame-to-frame spread below this share of a channel's contrast (a few grey levels) counts as this much: a still
scene must not alarm at every cloud. On a street video, minutes apart, healthy windows reached 13 thresholds with 0.02
and stay below one with 0.1; the mildest of 39 drifts is at 3.5, and on varied pictures nothing changes."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What makes moments of any tap and scale comparable: the healthy mean and variance of every channel (C,)."""

    mean: Matrix
    var: Matrix

    @classmethod
    def of(cls, mean: Matrix, var: Matrix, widths: tuple[int, ...]) -> "Scaling":
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
class Whitening:
    """Healthy frames in feature space: where they are, and in which directions they vary."""

    centre: Matrix
    whitener: Matrix
    """(D, D): brings the covariance of healthy frames to about the identity."""

    @classmethod
    def fit(cls, features: Matrix, effective: float) -> "Whitening":
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


_SAME_DIGITS = 4
"""Features that agree so far are of one picture: batches of another size round otherwise."""


def effective_frames(frames: Mapping[str, FrameMoments]) -> float:
    """How many independent frames a recording is worth: those of a fixed camera resemble their neighbours.

    Args:
        frames: Single-frame moments per tap, (N, C) each, of the same N frames in the order in which they were seen.

    Returns:
        The effective sample size, at most N.

    Raises:
        ModelError: a layer's output has another axis first, such as the tokens of some transformers.
    """
    taps = list(frames.values())
    count = len(taps[0].mean)
    odd = [name for name, tap in frames.items() if len(tap.mean) != count]
    if odd:
        fix = "Export it with the frames first, as with batch_first=True in torch."
        raise ModelError("model", "another axis than the frames comes first", "(N, C, ...)", fix, odd)
    mean, var = side_by_side([(tap.mean, tap.var) for tap in taps])
    scaling = Scaling.of(mean, var, tuple(tap.mean.shape[1] for tap in taps))
    return effective_count(scaling.features(mean, var))


def side_by_side(pairs: Sequence[MeanVar]) -> MeanVar:
    """Means and variances of several taps as one (..., C) each."""
    means, variances = zip(*pairs, strict=True)
    return np.concatenate(means, axis=-1), np.concatenate(variances, axis=-1)


def effective_count(features: Matrix) -> float:
    """How many independent frames the features (N, D) are worth, from the correlation of each frame with the next.

    At most as many as differ: pictures that come again and again are one frame each.
    """
    correlation = _correlation(features)
    worth = len(features) * (1 - correlation) / (1 + correlation)
    return min(worth, float(len(np.unique(features.round(_SAME_DIGITS), axis=0))))


def _correlation(features: Matrix) -> float:
    """Mean correlation of a frame with the next one over all features, 0..0.95."""
    z = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-12)
    varying = features.std(axis=0) > 1e-9
    if len(z) < 3 or not varying.any():
        return 0.0
    return float(np.clip((z[1:, varying] * z[:-1, varying]).mean(), 0.0, 0.95))
