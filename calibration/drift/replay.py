"""The finding of the daemon's drift monitor on given frames: the same monitor, fed frame by frame. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.drift.monitor import DriftMonitor, DriftSettings, DriftStatus
from calibration.drift.tap_group import FEWEST_FRAMES
from calibration.stats.moments import INPUT_TAP, FrameMoments

_WORDS = {
    "layers": "colour and contrast, or level and gain",
    "detail": "sharpness and noise",
    "grid": "the fall of light",
    "spectrum": "band and noise",
    "dropout": "held values",
}


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A set of frames as the monitor saw it.

    Attributes:
        taps: Divergence of the whole set at the input and every tap (symmetric KL, 0 is none); it has no alarm level.
        status: After the last frame; None when the frames or the baseline's are too few for a score.
        alarm_after_frames: The frame with which the first alarm came; None: there was none.
        note: Why there is no status.
    """

    taps: Mapping[str, float]
    status: DriftStatus | None
    alarm_after_frames: int | None
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """The monitor's part as plain data; the alarm level is above 1 for frames of few contents."""
        status = self.status
        return {
            "score": status and round(status.score, 4),
            "slow_drift": status and round(status.cusum, 4),
            "alarm_level": 1.0 if status is None else round(status.threshold, 4),
            "alarm_after_frames": self.alarm_after_frames,
            "verdict": status and status.verdict,
            "sign": status and status.sign,
            "note": self.note,
        }

    def in_words(self) -> str:
        """One line for a person."""
        if self.status is None:
            return f"no score: {self.note}"
        alarm = "no alarm" if self.alarm_after_frames is None else f"alarm at frame {self.alarm_after_frames}"
        score = f"score {self.status.score:.2f} ({self.status.threshold:.3g} is the alarm level)"
        return f"{score}, most in {_WORDS[self.status.sign]}; verdict {self.status.verdict}; {alarm}"


def replay_drift(
    baseline: Baseline, taps: Mapping[str, float], frames: Mapping[str, FrameMoments]
) -> DriftReport:
    """The finding of a fresh monitor with the default settings.

    Args:
        baseline: The healthy site.
        taps: Divergence of the whole set per tap, to go with the finding.
        frames: Single-frame moments (N, C) of the set, in the order seen, of the taps that the baseline has them of.

    Raises:
        TapMismatch: a tap of the baseline is missing in ``frames``, or has other channels.
    """
    known = len(baseline.frames[INPUT_TAP].mean) if INPUT_TAP in baseline.frames else 0
    if known < FEWEST_FRAMES:
        few = f"the baseline keeps single-frame moments of {known} frames"
        return DriftReport(taps, None, None, f"{few}; at least {FEWEST_FRAMES} are needed")
    settings = DriftSettings()
    count, least = len(frames[INPUT_TAP].mean), settings.window_frames + settings.apart_frames
    if count < least:
        return DriftReport(taps, None, None, f"{count} frames; the daemon decides after {least}")
    monitor = DriftMonitor(baseline.moments, baseline.frames, settings, np.random.default_rng(0))
    statuses = [
        monitor.update(
            {tap: (part.mean[i], part.var[i]) for tap, part in frames.items()}, i * settings.sample_every_s
        )
        for i in range(count)
    ]
    alarm_after = next((status.frames for status in statuses if status.alarm), None)
    return DriftReport(taps, statuses[-1], alarm_after, None)
