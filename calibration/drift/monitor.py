"""Notices that the camera, not the scene, has changed. Pure: moments of frames and the time in, a status out.

A camera stands for every sensor here, and a frame for a window of a signal. The first layers see the sensor: colours,
contrast, sharpness, noise. When their moments leave what healthy frames show, the sensor has drifted -> recalibrate.
When they are quiet and deep layers move, or when so few contents are shown that these explain the shift, the *content*
has changed -> do not. The same score tells when a drift is over, because a patch is valid only while its drift lasts.
No model, no clock, no thread here.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from calibration.drift.tap_group import FEWEST_FRAMES, HealthyFrames, TapGroup
from calibration.drift.thresholds import Cadence, Thresholds
from calibration.drift.variety import Bins, Variety, bins_of
from calibration.errors import DataError, TapMismatch
from calibration.stats.moments import ANSWERS_TAP, FrameMoments, MeanVar, TapMoments
from calibration.stats.sensor_features import SENSOR_TAPS, SIGNS, SPECTRUM

VARIED = 0.5
"""Share of the healthy spread of spectra from which on there are as many contents as usual. Of BasicMotions one
activity of four shows .04 to .2 of it, all four .6 to .8, with or without a gain; of MNIST-1D one class of ten shows
.4 to 1.1."""

DriftKind = Literal["healthy", "sensor", "content"]


@dataclass(frozen=True, slots=True)
class DriftSettings:
    """How quickly and how surely drift is reported.

    Attributes:
        window_frames: Frames whose mean is compared with the baseline.
        stride_frames: Frames between two looks.
        apart_frames: An alarm needs two windows above the threshold whose ends are this far apart: 48 frames in all.
        sample_every_s: Time between two frames given to the monitor; only used to translate frames into hours.
        false_alarm_every_s: Wanted mean time between two false alarms.
        floor: Smallest threshold; an ordinary healthy window of 32 frames has about 0.03.
        clear_share: Below this share of the threshold the drift is over (hysteresis).
        cooldown_s: Least time between two alarms.
    """

    window_frames: int = 32
    stride_frames: int = 8
    apart_frames: int = 16
    sample_every_s: float = 1.0
    false_alarm_every_s: float = 30 * 86400.0
    floor: float = 0.12
    clear_share: float = 0.7
    cooldown_s: float = 600.0


@dataclass(frozen=True, slots=True)
class DriftStatus:
    """What is known after the last frame.

    Attributes:
        score: Distance of the latest window from the baseline as a share of what is alarming: the largest of all groups
            of shallow taps; 0 until enough frames were seen.
        threshold: The alarm level: 1, or more while the answers show fewer contents than usual.
        alarm: True exactly once per event (and again after every cool-down while it lasts).
        sustained: True from the alarm until the score has returned to healthy.
        cusum: Slow drift, as a share of ``cusum_threshold``; it alarms alone.
        cusum_threshold: 1, the scale's alarm level.
        sign: Where it shows most: ``layers`` (colour and contrast, or level and gain); of pictures ``detail``
            (sharpness, noise) or ``grid`` (fall of light); of signals ``spectrum`` (band, noise) or ``dropout`` (held
            values).
        verdict: What changed: nothing, the camera or the content; the camera where both did. A score above 1 that few
            contents explain is content.
        deep_score: Distance of the model's answers from healthy ones, as ``score``; None where they are not watched.
        deep_threshold: 1, the scale's alarm level; None where they are not watched.
        frames: Frames seen so far.
        ready: False until enough frames for a decision were seen.
    """

    score: float
    threshold: float
    alarm: bool
    sustained: bool
    cusum: float
    cusum_threshold: float
    sign: str
    verdict: DriftKind
    deep_score: float | None
    deep_threshold: float | None
    frames: int
    ready: bool


class DriftMonitor:
    """Compares what the camera shows now with the baseline. Not thread-safe."""

    def __init__(
        self,
        baseline: Mapping[str, TapMoments],
        frames: Mapping[str, FrameMoments],
        settings: DriftSettings,
        rng: np.random.Generator,
    ) -> None:
        """Draw the thresholds.

        Args:
            baseline: Moments of the healthy site; may hold more taps than are watched.
            frames: Healthy single-frame moments (N, C) of the watched taps, in the order they were seen. Those of the
                answers (``ANSWERS_TAP``) are deep, all others shallow.
            settings: Speed and sureness.
            rng: For the simulated healthy streams.

        Raises:
            TapMismatch: ``frames`` has a layer the baseline lacks, or with other channels.
            DataError: fewer than 8 healthy frames, or no shallow tap.
        """
        shallow = [tap for tap in frames if tap != ANSWERS_TAP]
        if not shallow:
            raise DataError("drift baseline", "no shallow tap", "single-frame moments of the input at least")
        _require_known(frames, baseline)
        self._settings = settings
        groups = healthy_groups(frames, shallow)
        pace = Cadence(
            settings.window_frames,
            settings.stride_frames,
            settings.apart_frames,
            settings.sample_every_s / settings.false_alarm_every_s / len(groups),
            settings.floor,
        )
        self._shallow = [TapGroup(sign, healthy, pace, rng) for sign, healthy in groups.items()]
        self._deep: TapGroup | None = None
        self._variety: Variety | None = None
        self._answered: deque[Bins | None] = deque(maxlen=self._memory)
        self._level = 1.0
        if ANSWERS_TAP in frames:
            deep = HealthyFrames.of([ANSWERS_TAP], frames)
            self._deep = TapGroup("deep", deep, pace, rng, forgives_content=False)
            worth = min(group.effective for group in (deep, *groups.values()))
            self._variety = Variety.of(frames[ANSWERS_TAP], worth, self._memory, rng)
        self._frames = 0
        self._sustained = False
        self._last_alarm_s: float | None = None

    @property
    def thresholds(self) -> Mapping[str, Thresholds]:
        """The thresholds of every group of shallow taps."""
        return {group.name: group.thresholds for group in self._shallow}

    def update(self, frame_moments: Mapping[str, MeanVar], now_s: float) -> DriftStatus:
        """Take one healthy-or-not frame's moments, tap -> (mean (C,), var (C,)), at monotonic time ``now_s``.

        ``ANSWERS_TAP`` may be missing: not every frame is answered.

        Raises:
            TapMismatch: a shallow tap is missing, or one has other channels.
        """
        for group in self._shallow:
            group.add(frame_moments)
        is_answered = self._deep is not None and ANSWERS_TAP in frame_moments
        if self._deep is not None and is_answered:
            self._deep.add(frame_moments)
        self._answered.append(bins_of(frame_moments[ANSWERS_TAP][0]) if is_answered else None)
        self._frames += 1
        alarm = False
        if self._ready and self._frames % self._settings.stride_frames == 0:
            alarm = self._look(now_s)
        return self._status(alarm)

    @property
    def fits(self) -> bool:
        """Whether two windows, the latest and the one before, are as the baseline says."""
        return self._ready and not any(group.is_beyond for group in self._shallow)

    def newest(self, frames: int) -> float:
        """Score of only the newest frames: noisy, but what is new shows at once."""
        return max(group.newest(frames) for group in self._shallow)

    def begin_anew(self) -> None:
        """Forget a drift: this baseline is in use from now on; what the camera saw while another one was is none."""
        self._sustained, self._last_alarm_s = False, None
        for group in self._shallow:
            group.forget_slow_drift()

    @property
    def _memory(self) -> int:
        """Frames that two windows take."""
        return self._settings.window_frames + self._settings.apart_frames

    @property
    def _ready(self) -> bool:
        return self._frames >= self._memory

    def _alarm_level(self) -> float:
        """What a score must exceed; 1 too while too few frames are answered to count their contents.

        And where windows of a signal differ as usual: neither a gain nor an offset changes how much their spectra do in
        decibels, while the answers of a net that sees everything too loud may well become one.
        """
        if any(group.name == SPECTRUM and group.spread > VARIED for group in self._shallow):
            return 1.0
        answered = [bins for bins in self._answered if bins is not None]
        if self._variety is None or len(answered) < self._settings.window_frames:
            return 1.0
        return self._variety.alarm_level(answered)

    def _look(self, now_s: float) -> bool:
        """Decide once per stride; gives whether an alarm goes out."""
        settings = self._settings
        is_fresh = self._frames % settings.window_frames < settings.stride_frames
        self._level = self._alarm_level()
        for group in self._shallow:
            group.look(is_fresh=is_fresh, level=self._level)
        if self._deep is not None and self._deep.is_full:
            self._deep.look(is_fresh=is_fresh)
        if any(group.is_over for group in self._shallow):
            self._sustained = True
        elif all(group.is_quiet(settings.clear_share) for group in self._shallow):
            self._sustained = False
        is_cooling = self._last_alarm_s is not None and now_s - self._last_alarm_s < settings.cooldown_s
        if not self._sustained or is_cooling:
            return False
        self._last_alarm_s = now_s
        return True

    def _status(self, alarm: bool) -> DriftStatus:
        deep = self._deep
        groups = self._shallow if deep is None else [*self._shallow, deep]
        verdict: DriftKind = "healthy"
        if self._sustained:
            verdict = "sensor"
        elif any(group.is_far for group in groups):  # the camera's not beyond what so few contents explain
            verdict = "content"  # one that differs a little for ever is no news
        strongest = max(self._shallow, key=lambda group: max(group.score, group.cusum))
        return DriftStatus(
            score=max(group.score for group in self._shallow),
            threshold=self._level,
            alarm=alarm,
            sustained=self._sustained,
            cusum=max(group.cusum for group in self._shallow),
            cusum_threshold=1.0,
            sign=strongest.name,
            verdict=verdict,
            deep_score=None if deep is None else deep.score,
            deep_threshold=None if deep is None else 1.0,
            frames=self._frames,
            ready=self._ready,
        )


def healthy_groups(frames: Mapping[str, FrameMoments], shallow: Sequence[str]) -> dict[str, HealthyFrames]:
    """The healthy frames as each group of taps sees them: ``layers`` and those of ``SIGNS``, as far as there are any.

    They are worth as many independent ones as the most persistent group says: light that stays where it is for minutes
    shows in one group only, and warns the others.
    """
    groups = {"layers": [tap for tap in shallow if tap not in SENSOR_TAPS]}
    groups |= {sign: [tap for tap in shallow if tap in taps] for sign, taps in SIGNS.items()}
    worth = min(HealthyFrames.of(taps, frames).effective for taps in groups.values() if taps)
    return {sign: HealthyFrames.of(taps, frames, worth) for sign, taps in groups.items() if taps}


def groups_in(
    live: Mapping[str, FrameMoments], healthy: Mapping[str, FrameMoments]
) -> dict[str, HealthyFrames]:
    """:func:`healthy_groups` of the taps that ``live`` has too; empty for a baseline of too few frames."""
    known = {tap: part for tap, part in healthy.items() if tap in live}
    if not known or min(len(part.mean) for part in known.values()) < FEWEST_FRAMES:
        return {}
    return healthy_groups(known, list(known))


def _require_known(frames: Mapping[str, FrameMoments], baseline: Mapping[str, TapMoments]) -> None:
    """Raise TapMismatch for layers that the baseline's moments lack, or have with other channels."""
    layers = [tap for tap in frames if tap not in (*SENSOR_TAPS, ANSWERS_TAP)]
    wrong = [
        tap for tap in layers if tap not in baseline or baseline[tap].channels != frames[tap].mean.shape[1]
    ]
    if wrong:
        raise TapMismatch([f"{tap}: not the same in the baseline's moments and frames" for tap in wrong])
