"""Per-channel mean and variance at the taps: the sums, the merge and the mixture.

Pure numpy in float64, no model and no file. Sums are kept in the merge form of Chan et al. (1979): never E[x^2] -
E[x]^2 in float32, which gives a variance of -24 where it is 1 at mean/std = 10,000.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.errors import DataError, TapMismatch

Vector = NDArray[np.float64]
MeanVar = tuple[Vector, Vector]
"""Mean and variance per channel, (..., C) each."""

INPUT_TAP = "input"
"""Tap 0: the prepared input tensor itself, per channel."""

ANSWERS_TAP = "output/answers"
"""No layer: the features of the answers to single frames, see ``output_features``."""


@dataclass(frozen=True, slots=True)
class TapMoments:
    """Mean and (population) variance of one tap, each float64 (C,), over ``count`` frames."""

    mean: Vector
    var: Vector
    count: float

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.var.shape or not self.mean.size:
            raise DataError("moments", f"shapes {self.mean.shape} and {self.var.shape}", "two equal (C,)")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.var).all() and (self.var >= 0).all()):
            fix = "If a model has just been measured: its weights, or its answers to these pictures, are not finite."
            raise DataError("moments", "non-finite values or a negative variance", "finite, var >= 0", fix)
        if not self.count > 0:
            raise DataError("moments", f"a count of {self.count}", "more than 0 frames")

    @property
    def channels(self) -> int:
        """C."""
        return int(self.mean.size)


@dataclass(frozen=True, slots=True)
class FrameMoments:
    """Moments of single frames at one tap: mean and variance over the positions, float64 (N, C)."""

    mean: NDArray[np.float64]
    var: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.mean.shape != self.var.shape:
            raise DataError(
                "frame moments", f"shapes {self.mean.shape} and {self.var.shape}", "two equal (N, C)"
            )

    def pool(self) -> TapMoments:
        """One set of moments over all frames, by the law of total variance (frames weigh the same)."""
        return TapMoments(self.mean.mean(0), self.var.mean(0) + self.mean.var(0), float(len(self.mean)))


def join(parts: Sequence[FrameMoments]) -> FrameMoments:
    """The same taps over one set of frames after the other."""
    return FrameMoments(
        np.concatenate([part.mean for part in parts]), np.concatenate([part.var for part in parts])
    )


class Moments(Mapping[str, TapMoments]):
    """An immutable mapping tap -> moments, in the order of the graph."""

    __slots__ = ("_taps",)

    def __init__(self, taps: Mapping[str, TapMoments]) -> None:
        self._taps = dict(taps)

    def __getitem__(self, tap: str) -> TapMoments:
        return self._taps[tap]

    def __iter__(self) -> Iterator[str]:
        return iter(self._taps)

    def __len__(self) -> int:
        return len(self._taps)

    def __repr__(self) -> str:
        return f"Moments({len(self)} taps, {sum(t.channels for t in self.values())} channels)"


def merge_taps(one: TapMoments, other: TapMoments) -> TapMoments:
    """Moments of the union of two sets of frames (exact; any order, any cut).

    Source: Chan, Golub, LeVeque 1979, pairwise update.
    """
    count = one.count + other.count
    delta = other.mean - one.mean
    share = other.count / count
    mean = one.mean + delta * share
    var = one.var * (1 - share) + other.var * share + delta * delta * share * (1 - share)
    return TapMoments(mean, var, count)


def merge(one: Moments, other: Moments) -> Moments:
    """Moments of two sets of frames together, tap by tap.

    Raises:
        TapMismatch: names or channel counts differ.
    """
    require_same_taps(one, other)
    return Moments({tap: merge_taps(one[tap], other[tap]) for tap in one})


def blend_taps(observed: TapMoments, baseline: TapMoments, prior: float) -> TapMoments:
    """One tap of :func:`blend`. Written as steps from the baseline so that no drift gives it back bit for bit."""
    step = observed.mean - baseline.mean
    mean = baseline.mean + (1 - prior) * step
    var = baseline.var + (1 - prior) * (observed.var - baseline.var) + prior * (1 - prior) * step * step
    return TapMoments(mean, np.maximum(var, 0.0), observed.count)


def blend(observed: Moments, baseline: Moments, prior: float) -> Moments:
    """Mix two sets of per-channel moments into one.

    Args:
        observed: Moments of the reference set; per tap ``mean``/``var`` are float64 (C,), var >= 0.
        baseline: Moments of the healthy site, same taps and channels.
        prior: Share of the baseline, 0..1 (1 changes nothing).

    Returns:
        New moments; the inputs are untouched. The variance includes the shift between the means.

    Raises:
        TapMismatch: names or channel counts differ; the message lists them.
        ValueError: ``prior`` is outside 0..1.

    Source: law of total variance; prior weight N/(N+n) as in Schneider et al. 2020.
    """
    if not 0.0 <= prior <= 1.0:
        raise ValueError(f"prior is {prior}; expected 0..1")
    require_same_taps(observed, baseline)
    return Moments({tap: blend_taps(observed[tap], baseline[tap], prior) for tap in observed})


def moments_of_frames(x: NDArray[np.float32]) -> FrameMoments:
    """Mean and variance of every frame and channel of ``x`` (N, C, ...), in float64, frame by frame.

    A frame at a time keeps the memory flat; the two passes are exact at any offset.
    """
    mean, var = np.empty((2, *x.shape[:2]), np.float64)
    for i, frame in enumerate(x.reshape(*x.shape[:2], -1)):
        wide = frame.astype(np.float64)
        mean[i], var[i] = wide.mean(1), wide.var(1)
    return FrameMoments(mean, var)


def require_same_taps(one: Mapping[str, TapMoments], other: Mapping[str, TapMoments]) -> None:
    """Raise TapMismatch, naming every tap, unless both speak of the same taps and channels."""
    problems = [f"{tap} is only in one of them" for tap in sorted(set(one) ^ set(other))]
    problems += [
        f"{tap} has {one[tap].channels} and {other[tap].channels} channels"
        for tap in one
        if tap in other and one[tap].channels != other[tap].channels
    ]
    if problems:
        raise TapMismatch(problems)
