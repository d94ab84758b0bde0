"""Finds a patch by distillation: the corrections that make drifted frames be seen as the healthy ones were.

What is found by moments has a ceiling: it gives every channel its healthy mean and spread, and no frame its healthy
answer. Here scale and offset of the same taps take small steps down a loss over pairs: a healthy frame under the
simulated drift, and what the healthy model made of the healthy frame, its answer and some of its feature maps. No
label and no live answer takes part, so that both can judge the result. Whether it is used, the gate decides, on other
healthy frames than these.

The settings were chosen on three drifts of one split of the photo cut-outs (``docs/results/calibration.md``).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.patch import SCALE_LIMITS, Affine, spread
from calibration.search.pair_loss import PairLoss, Pairs
from calibration.search.progress import Progress, tell_nobody, track
from calibration.stats.moments import Moments, Vector
from calibration.targets.base import Aim, Gradients, NoDerivative, Slope, TapInfo


@dataclass(frozen=True, slots=True)
class DistillationSettings:
    """How a patch is distilled.

    Attributes:
        steps: Of the descent; 0 distils nothing.
        frames_a_step: Pairs that a step looks at, about: whole batches. 144 pairs in all take half the time of 288
            (24 steps of 12 at 4e-3). Noise and blur on cut-outs, seeds 0 to 2, the better one of the end and half-way:
            mean .500 of the loss instead of .534; as 24 steps of 6 at 4e-3 or 5e-3, or 12 of 12, they brought no more.
        rate: Of the first step, in units of a channel's healthy spread; it falls to a tenth along half a cosine.
            7e-3 harms noise (seed 0: .024 instead of .317 at the end).
        feature_weight: Of the feature maps against the answers. By the answers alone noise gets worse, not better.
        head_weight: Of a detector's heads against its feature maps, at the start of the way.
        stages: How many feature maps are compared.
        fewest_frames: Healthy frames to train on; fewer distil nothing.
    """

    steps: int = 18
    frames_a_step: int = 8
    rate: float = 5e-3
    feature_weight: float = 5.0
    head_weight: float = 3.0
    stages: int = 7
    fewest_frames: int = 32


@dataclass(frozen=True, slots=True)
class Way:
    """Corrections by tap: as found, and those of the start for taps that are fixed or out of the derivatives' reach."""

    mean: dict[str, Affine]
    """Of all steps, which are few and noisy: over blur, noise and infrared of three seeds .47 of the loss come back, by
    the end .37. Source: B. Polyak, A. Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992."""
    end: dict[str, Affine]
    """After the last one."""


def choose_stages(taps: Sequence[TapInfo], count: int) -> tuple[Aim, ...]:
    """The taps whose feature maps are compared: the last, and the narrowest of each of ``count`` parts but the last.

    A narrow map is what a bottleneck lets through; it also takes the least memory.
    """
    parts = [part for part in np.array_split(np.arange(len(taps)), count) if part.size]
    narrow = [min(part[::-1], key=lambda i: taps[i].channels) for part in parts]
    chosen = sorted({*narrow[:-1], len(taps) - 1}) if taps else []
    return tuple(Aim(taps[i].name) for i in chosen)


def distil(
    gradients: Gradients,
    pairs: Pairs,
    healthy: Moments,
    start: Mapping[str, Affine],
    settings: DistillationSettings,
    rng: np.random.Generator,
    fixed: Collection[str] = (),
    progress: Progress = tell_nobody,
) -> Way:
    """Corrections found from ``start``.

    Args:
        gradients: Of the unpatched model.
        pairs: What it learns from.
        healthy: Moments of the baseline: their spreads are the units of the offsets.
        start: Where to start from; taps that it lacks start at the identity.
        settings: Steps and weights.
        rng: Draws the pairs of each step, and their noise.
        fixed: Taps that stay as they start.
        progress: Told before every step, and after the last.

    Raises:
        NoDerivative: a derivative is not finite, or what is compared has no rows for each frame.
    """
    free = [tap for tap in gradients.taps if tap not in fixed]
    descent = _Descent({tap: healthy[tap].var for tap in free}, start)
    held = {tap: start.get(tap) or _identity(healthy[tap].channels) for tap in gradients.taps if tap in fixed}
    batches = max(1, round(settings.frames_a_step / gradients.batch))
    loss = PairLoss(gradients, pairs, settings.feature_weight, rng)
    loss.balance(held | descent.affines(), batches, settings.head_weight)
    for number in track(progress, "distilling", range(settings.steps)):
        slopes = dict[str, Slope]()
        for _ in range(batches):
            _, found = loss.step(held | descent.affines())
            slopes = {tap: _sum(slopes.get(tap), slope) for tap, slope in found.items() if tap not in fixed}
        if not all(slope.is_finite for slope in slopes.values()):
            raise NoDerivative("its derivatives are not finite numbers")
        descent.step(slopes, settings.rate * _cosine(number / settings.steps), batches)
    left = {tap: affine for tap, affine in start.items() if tap not in free}
    return Way(left | descent.mean_affines(), left | descent.affines())


def choose_start(
    gradients: Gradients,
    pairs: Pairs,
    healthy: Moments,
    starts: Sequence[Mapping[str, Affine]],
    settings: DistillationSettings,
    rng: np.random.Generator,
) -> int:
    """Which of several starts is the best: the one with the least loss on the pairs of a step, the same for all.

    Taps that a start lacks are at the identity.
    """
    batches = max(1, round(settings.frames_a_step / gradients.batch))
    loss, losses = PairLoss(gradients, pairs, settings.feature_weight, rng), np.zeros(len(starts))
    whole = [
        {tap: start.get(tap) or _identity(healthy[tap].channels) for tap in gradients.taps}
        for start in starts
    ]
    loss.balance(whole[0], batches, settings.head_weight)
    for _ in range(batches):
        losses += [sum(found.values()) for found, _ in loss.compare(whole)]
    return int(losses.argmin())


def half_way(start: Mapping[str, Affine], end: Mapping[str, Affine]) -> dict[str, Affine]:
    """Half of the way: the geometric mean of the scales, the mean of the offsets. The answer to too long a training."""
    found = {}
    for tap, affine in end.items():
        first = start.get(tap) or _identity(affine.scale.size)
        scale = np.sqrt(first.scale.astype(np.float64) * affine.scale)
        found[tap] = Affine(scale.astype(np.float32), ((first.offset + affine.offset) / 2).astype(np.float32))
    return found


class _Descent:
    """Scale and offset of every tap on their way: Adam on their logarithms and healthy spreads.

    Source: D. Kingma, J. Ba, Adam: A Method for Stochastic Optimization, ICLR 2015, algorithm 1.
    """

    _KEPT, _KEPT_SQUARES, _EPS = 0.9, 0.999, 1e-8

    def __init__(self, variances: Mapping[str, Vector], start: Mapping[str, Affine]) -> None:
        self._units = {tap: spread(var, var) for tap, var in variances.items()}
        self._start = {tap: start.get(tap) or _identity(var.size) for tap, var in variances.items()}
        self._at = {tap: np.zeros((2, var.size)) for tap, var in variances.items()}
        """Logarithm of the scale, and the offset in units, from where it started."""
        self._travelled = {tap: np.zeros_like(at) for tap, at in self._at.items()}
        """Sum of where it was after each step."""
        self._mean = {tap: np.zeros_like(at) for tap, at in self._at.items()}
        self._square = {tap: np.zeros_like(at) for tap, at in self._at.items()}
        self._steps = 0

    def affines(self) -> dict[str, Affine]:
        """The corrections as they are now, within ``SCALE_LIMITS``."""
        return self._affines(self._at)

    def mean_affines(self) -> dict[str, Affine]:
        """The mean of them after all steps."""
        return self._affines({tap: total / max(1, self._steps) for tap, total in self._travelled.items()})

    def _affines(self, places: Mapping[str, NDArray[np.float64]]) -> dict[str, Affine]:
        found = {}
        for tap, (growth, shift) in places.items():
            first, factor = self._start[tap], np.exp(growth)
            scale = np.clip(first.scale * factor, *SCALE_LIMITS)
            offset = first.offset * factor + shift * self._units[tap]
            found[tap] = Affine(scale.astype(np.float32), offset.astype(np.float32))
        return found

    def step(self, slopes: Mapping[str, Slope], rate: float, count: int) -> None:
        """One step down the mean of ``count`` losses whose slopes are summed here."""
        affines = self.affines()
        self._steps += 1
        for tap, slope in slopes.items():
            affine, first, factor = affines[tap], self._start[tap], np.exp(self._at[tap][0])
            by_growth = slope.scale * affine.scale + slope.offset * first.offset * factor
            gradient = np.stack([by_growth, slope.offset * self._units[tap]]) / count
            self._mean[tap] += (1 - self._KEPT) * (gradient - self._mean[tap])
            self._square[tap] += (1 - self._KEPT_SQUARES) * (gradient**2 - self._square[tap])
            mean = self._mean[tap] / (1 - self._KEPT**self._steps)
            square = self._square[tap] / (1 - self._KEPT_SQUARES**self._steps)
            self._at[tap] -= rate * mean / (np.sqrt(square) + self._EPS)
            self._travelled[tap] += self._at[tap]


def _cosine(share: float) -> float:
    """From 1 down to 0.1."""
    return 0.1 + 0.9 * (1 + float(np.cos(np.pi * share))) / 2


def _sum(before: Slope | None, slope: Slope) -> Slope:
    return slope if before is None else Slope(before.scale + slope.scale, before.offset + slope.offset)


def _identity(channels: int) -> Affine:
    return Affine(np.ones(channels, np.float32), np.zeros(channels, np.float32))
