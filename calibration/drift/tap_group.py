"""One group of taps under watch: its space, its thresholds, its latest frames and what they score.

A sensor's drift shows in several ways that one mean would hide: colour and contrast in the first layers,
noise and sharpness in the fine detail, the fall of light in the grid. Each group has its own
thresholds; one that is above them is enough. Pure.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.drift.mahalanobis import Scaling, Whitening, effective_count, side_by_side
from calibration.drift.thresholds import Cadence, cusum_step, draw_thresholds
from calibration.errors import DataError, TapMismatch
from calibration.stats.moments import INPUT_TAP, FrameMoments, MeanVar
from calibration.stats.signal_features import DROPOUT_TAP

Features = NDArray[np.float64]

FEWEST_FRAMES = 8
"""A baseline of fewer frames says nothing about what is usual."""


@dataclass(frozen=True, slots=True)
class HealthyFrames:
    """Features of the healthy frames of some taps, and the space they span."""

    taps: tuple[str, ...]
    widths: tuple[int, ...]
    scaling: Scaling
    features: Features
    """(N, D), in the order in which they were seen."""
    effective: float
    space: Whitening

    @classmethod
    def of(
        cls, taps: Sequence[str], frames: Mapping[str, FrameMoments], effective: float | None = None
    ) -> "HealthyFrames":
        """From single-frame moments (N, C) of every tap; ``effective`` is measured unless given.

        Raises:
            DataError: fewer than 8 frames.
        """
        count = min(len(frames[tap].mean) for tap in taps)
        if count < FEWEST_FRAMES:
            raise DataError("drift baseline", f"{count} healthy frames", f"at least {FEWEST_FRAMES}")
        widths = tuple(frames[tap].mean.shape[1] for tap in taps)
        mean, var = side_by_side([(frames[tap].mean[:count], frames[tap].var[:count]) for tap in taps])
        scaling = Scaling.of(mean, var, _of_one_scale(taps, widths, is_signal=DROPOUT_TAP in frames))
        features = scaling.features(mean, var)
        effective = effective or effective_count(features)
        return cls(tuple(taps), widths, scaling, features, effective, Whitening.fit(features, effective))

    def features_of(self, frame_moments: Mapping[str, MeanVar]) -> Features:
        """(..., D) of moments (..., C) per tap.

        Raises:
            TapMismatch: a tap is missing or has other channels.
        """
        wrong = [
            f"{tap}: expected moments of {width} channels"
            for tap, width in zip(self.taps, self.widths, strict=True)
            if tap not in frame_moments or any(part.shape[-1:] != (width,) for part in frame_moments[tap])
        ]
        if wrong:
            raise TapMismatch(wrong)
        return self.scaling.features(*side_by_side([frame_moments[tap] for tap in self.taps]))

    def features_in(self, frames: Mapping[str, FrameMoments]) -> Features:
        """:meth:`features_of` of N frames, (N, D)."""
        return self.features_of({tap: (frames[tap].mean, frames[tap].var) for tap in self.taps})


def _of_one_scale(taps: Sequence[str], widths: Sequence[int], *, is_signal: bool) -> tuple[int, ...]:
    """How many channels in a row share one scale: those of a tap, but each channel of a signal has its unit."""
    parts = list[int]()
    for tap, width in zip(taps, widths, strict=True):
        parts += [1] * width if is_signal and tap == INPUT_TAP else [width]
    return tuple(parts)


class TapGroup:
    """The live side of a group; scores are shares of its own threshold, so that groups compare."""

    def __init__(
        self,
        name: str,
        healthy: HealthyFrames,
        pace: Cadence,
        rng: np.random.Generator,
        *,
        forgives_content: bool = True,
    ) -> None:
        self.name, self._healthy, self._pace = name, healthy, pace
        self.thresholds = draw_thresholds(
            healthy.features, healthy.space, healthy.effective, pace, rng, forgives_content=forgives_content
        )
        self._recent: deque[Features] = deque(maxlen=pace.window_frames + pace.apart_frames)
        self.score = self._earlier = self._cusum = 0.0
        self._level = 1.0

    def add(self, frame_moments: Mapping[str, MeanVar]) -> None:
        """Take in one frame's moments; see :meth:`HealthyFrames.features_of`."""
        self._recent.append(self._healthy.features_of(frame_moments))

    def look(self, *, is_fresh: bool, level: float = 1.0) -> None:
        """Score the latest window and the one that ended ``apart_frames`` earlier.

        Args:
            is_fresh: The window shares no frame with the last fresh one; the CUSUM takes only such.
            level: What a score must exceed, as a share of the threshold; more than 1 for windows of few contents.
        """
        recent, size = np.stack(self._recent), self._pace.window_frames
        latest, earlier = (
            self._healthy.space.distance(part.mean(axis=0)) for part in (recent[-size:], recent[:size])
        )
        self.score, self._earlier = latest / self.thresholds.score, earlier / self.thresholds.score
        self._level = level
        if is_fresh:
            standardised = (latest / level - self.thresholds.mean) / self.thresholds.spread
            step = float(cusum_step(self._cusum, standardised, self.thresholds.allowance))
            self._cusum = min(step, 2 * self.thresholds.cusum)  # a long drift must not take as long to forget

    def newest(self, frames: int) -> float:
        """Score of the newest frames only; 0 before the first."""
        if not self._recent:
            return 0.0
        recent = np.mean(list(self._recent)[-frames:], axis=0)
        return self._healthy.space.distance(recent) / self.thresholds.score

    def forget_slow_drift(self) -> None:
        """Begin the CUSUM anew."""
        self._cusum = 0.0

    @property
    def spread(self) -> float:
        """How much the latest frames differ from each other, as a share of how much healthy ones do (variances)."""
        usual = float(self._healthy.features.var(axis=0).sum())
        return float(np.stack(self._recent).var(axis=0).sum()) / usual if usual > 0 and self._recent else 0.0

    @property
    def is_beyond(self) -> bool:
        """One of the two windows is above the threshold."""
        return max(self.score, self._earlier) > 1.0

    @property
    def is_full(self) -> bool:
        """Whether both windows have been seen."""
        return len(self._recent) == self._recent.maxlen

    @property
    def cusum(self) -> float:
        """The CUSUM as a share of its threshold."""
        return self._cusum / self.thresholds.cusum

    @property
    def is_far(self) -> bool:
        """Two windows above the threshold."""
        return min(self.score, self._earlier) > 1.0

    @property
    def is_over(self) -> bool:
        """Two windows farther than few contents explain, or slightly too far for too long."""
        return min(self.score, self._earlier) > self._level or self.cusum > 1.0

    def is_quiet(self, share: float) -> bool:
        """Everything below ``share`` of its threshold."""
        return max(self.score, self._earlier) < share and self.cusum <= share
