"""Notices that the camera, not the scene, has changed. Pure: moments of frames and the time in, a status out.

The first layers see the sensor: colours, contrast, sharpness, noise. When their moments leave what healthy frames
show, the sensor has drifted -> recalibrate. When they are quiet and deep layers move, the *content* has changed -> do
not. The same score tells when a drift is over, because a patch is valid only while its drift lasts.
No model, no clock, no thread here. Called by the daemon's side loop and by ``python -m calibration drift``.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.drift_threshold import Limits, Space, Units, cusum_step, effective_frames, limits
from calibration.errors import DataError, TapMismatch
from calibration.moments import FrameMoments, TapMoments

Verdict = Literal["healthy", "sensor", "content"]
Features = NDArray[np.float64]
Pair = tuple[Features, Features]

FEWEST_FRAMES = 8
"""A baseline of fewer frames says nothing about what is usual."""


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """How quickly and how surely drift is reported."""

    window_frames: int = 32
    stride_frames: int = 8
    """Frames between two looks."""
    apart_frames: int = 16
    """An alarm needs two windows above the threshold whose ends are this far apart: 48 frames in all."""
    sample_every_s: float = 1.0
    """Time between two frames given to the monitor; only used to translate frames into hours."""
    false_alarm_every_s: float = 30 * 86400.0
    """Wanted mean time between two false alarms."""
    floor: float = 0.12
    """Smallest threshold; an ordinary healthy window of 32 frames has about 0.03."""
    clear_share: float = 0.7
    """Below this share of the threshold the drift is over (hysteresis)."""
    cooldown_s: float = 600.0
    """Least time between two alarms."""


@dataclass(frozen=True, slots=True)
class DriftStatus:
    """What is known after the last frame."""

    score: float
    """Distance of the latest window of the shallow taps from the baseline; 0 until enough frames were seen."""
    threshold: float
    alarm: bool
    """True exactly once per event (and again after every cool-down while it lasts)."""
    sustained: bool
    """True from the alarm until the score has returned to healthy."""
    cusum: float
    cusum_threshold: float
    verdict: Verdict
    deep_score: float | None
    deep_threshold: float | None
    frames: int
    """Frames seen so far."""
    ready: bool
    """False until enough frames for a decision were seen."""


class DriftMonitor:
    """Compares what the camera shows now with the baseline. Not thread-safe; owned by the side loop."""

    def __init__(
        self,
        baseline: Mapping[str, TapMoments],
        frames: Mapping[str, FrameMoments],
        settings: DriftSettings,
        rng: np.random.Generator,
        deep_taps: Sequence[str] = (),
    ) -> None:
        """Draw the thresholds.

        Args:
            baseline: Moments of the healthy site; may hold more taps than are watched.
            frames: Healthy single-frame moments (N, C) of the watched taps, in the order they were seen.
            settings: Speed and sureness.
            rng: For the simulated healthy streams.
            deep_taps: Those of ``frames`` that are deep; the others are shallow.

        Raises:
            TapMismatch: ``frames`` has a tap the baseline lacks, or with other channels.
            DataError: fewer than 8 healthy frames, or no shallow tap.
        """
        shallow = [tap for tap in frames if tap not in deep_taps]
        if not shallow:
            raise DataError("drift baseline", "no shallow tap", "single-frame moments of the input at least")
        self._settings = settings
        self._shallow = _Watch(shallow, baseline, frames, settings, rng)
        deep = [tap for tap in frames if tap in deep_taps]
        self._deep = _Watch(deep, baseline, frames, settings, rng) if deep else None
        self._frames = 0
        self._cusum = 0.0
        self._sustained = False
        self._last_alarm_s: float | None = None

    @property
    def limits(self) -> Limits:
        """The thresholds of the shallow taps and what they rest on."""
        return self._shallow.limits

    def update(self, frame_moments: Mapping[str, Pair], now_s: float) -> DriftStatus:
        """Take one healthy-or-not frame's moments, tap -> (mean (C,), var (C,)), at monotonic time ``now_s``.

        Raises:
            TapMismatch: a watched tap is missing or has other channels.
        """
        self._shallow.add(frame_moments)
        if self._deep is not None:
            self._deep.add(frame_moments)
        self._frames += 1
        alarm = False
        if self._ready and self._frames % self._settings.stride_frames == 0:
            alarm = self._look(now_s)
        return self._status(alarm)

    @property
    def _ready(self) -> bool:
        return self._frames >= self._settings.window_frames + self._settings.apart_frames

    def _look(self, now_s: float) -> bool:
        """Decide once per stride; gives whether an alarm goes out."""
        s, watch = self._settings, self._shallow
        watch.look()
        if self._deep is not None:
            self._deep.look()
        if self._frames % s.window_frames < s.stride_frames:  # the CUSUM takes windows that share no frame
            standardised = (watch.score - watch.limits.mean) / watch.limits.spread
            step = float(cusum_step(self._cusum, standardised, watch.limits.allowance))
            self._cusum = min(step, 2 * watch.limits.cusum)  # a long drift must not take as long to forget
        if watch.is_over or self._cusum > watch.limits.cusum:
            self._sustained = True
        elif watch.is_quiet(s.clear_share) and self._cusum <= s.clear_share * watch.limits.cusum:
            self._sustained = False
        if not self._sustained:
            return False
        if self._last_alarm_s is not None and now_s - self._last_alarm_s < s.cooldown_s:
            return False
        self._last_alarm_s = now_s
        return True

    def _status(self, alarm: bool) -> DriftStatus:
        deep = self._deep
        verdict: Verdict = "healthy"
        if self._sustained:
            verdict = "sensor"
        elif deep is not None and deep.is_over:
            verdict = "content"
        return DriftStatus(
            score=self._shallow.score,
            threshold=self._shallow.limits.score,
            alarm=alarm,
            sustained=self._sustained,
            cusum=self._cusum,
            cusum_threshold=self._shallow.limits.cusum,
            verdict=verdict,
            deep_score=None if deep is None else deep.score,
            deep_threshold=None if deep is None else deep.limits.score,
            frames=self._frames,
            ready=self._ready,
        )


class _Watch:
    """One group of taps: its limits, its latest frames, its two latest scores."""

    def __init__(
        self,
        taps: Sequence[str],
        baseline: Mapping[str, TapMoments],
        frames: Mapping[str, FrameMoments],
        settings: DriftSettings,
        rng: np.random.Generator,
    ) -> None:
        problems = [tap for tap in taps if tap not in baseline]
        problems += [t for t in taps if t in baseline and baseline[t].channels != frames[t].mean.shape[1]]
        if problems:
            raise TapMismatch(
                [f"{tap}: not the same in the baseline's moments and frames" for tap in problems]
            )
        count = min(len(frames[tap].mean) for tap in taps)
        if count < FEWEST_FRAMES:
            raise DataError("drift baseline", f"{count} healthy frames", f"at least {FEWEST_FRAMES}")
        self._taps, self._size = tuple(taps), settings.window_frames
        self._widths = tuple(baseline[tap].channels for tap in taps)
        mean, var = _side_by_side([(frames[tap].mean[:count], frames[tap].var[:count]) for tap in taps])
        self._units = Units.of(mean, var, self._widths)
        features = self._units.features(mean, var)
        effective = effective_frames(features)
        self._space = Space.fit(features, effective)
        self.limits = limits(
            self._space.whiten(features),
            effective,
            size=settings.window_frames,
            stride=settings.stride_frames,
            apart=settings.apart_frames,
            false_alarms_per_frame=settings.sample_every_s / settings.false_alarm_every_s,
            floor=settings.floor,
            rng=rng,
        )
        self._recent: deque[Features] = deque(maxlen=settings.window_frames + settings.apart_frames)
        self.score = self._earlier = 0.0

    def add(self, frame_moments: Mapping[str, Pair]) -> None:
        wrong = [
            f"{tap}: expected moments of {width} channels"
            for tap, width in zip(self._taps, self._widths, strict=True)
            if tap not in frame_moments or any(part.shape != (width,) for part in frame_moments[tap])
        ]
        if wrong:
            raise TapMismatch(wrong)
        mean, var = _side_by_side([frame_moments[tap] for tap in self._taps])
        self._recent.append(self._units.features(mean, var))

    def look(self) -> None:
        """Score the latest window and the one that ended ``apart_frames`` earlier."""
        recent = np.stack(self._recent)
        self.score = self._space.distance(recent[-self._size :].mean(axis=0))
        self._earlier = self._space.distance(recent[: self._size].mean(axis=0))

    @property
    def is_over(self) -> bool:
        return min(self.score, self._earlier) > self.limits.score

    def is_quiet(self, share: float) -> bool:
        return max(self.score, self._earlier) < share * self.limits.score


def _side_by_side(pairs: Sequence[Pair]) -> Pair:
    """Means and variances of several taps as one (..., C) each."""
    means, variances = zip(*pairs, strict=True)
    return np.concatenate(means, axis=-1), np.concatenate(variances, axis=-1)
