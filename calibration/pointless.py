"""Whether a recalibration can be of use at all, before any candidate is tried.

Two reasons against it: the reference frames are as healthy ones are, or they all show one scene, from which the
content cannot be told from the camera. Pure; the seed is an argument. Called only by ``trial``.
"""

from collections.abc import Mapping

import numpy as np

from calibration.baseline import Baseline
from calibration.moments import FrameMoments
from calibration.report import drift_between, tap_drift
from calibration.targets.base import Observation

LEAST_VARIETY = 0.10
"""Lite0, eight drifts: one scene with sensor noise shows below 0.001, varied pictures under a drift 0.83 to 2.3."""
HEALTHY_WINDOWS = 200
HEALTHY_MARGIN = 2.0
"""Fresh healthy pictures were off by up to 3.6 times the largest of 200 drawn windows, mostly by less than that one."""

_TINY = float(np.finfo(np.float64).tiny)


def why_pointless(seen: Observation, baseline: Baseline, frames: int, seed: int) -> str | None:
    """Why no candidate needs to be tried, for people; None when there is something to try.

    Args:
        seen: The uncorrected moments of ``frames`` reference frames at the input and the first taps.
        baseline: The healthy site.
        frames: How many frames were observed.
        seed: Of the healthy windows they are compared with.
    """
    drift = drift_between(seen.moments, baseline.moments)
    window = max(2, round(frames * baseline.effective_count / baseline.count))
    limits = healthy_limits(baseline, window, np.random.default_rng(seed))
    if limits and not any(drift[tap] > limit for tap, limit in limits.items() if tap in drift):
        return (
            "The reference differs from the baseline no more than healthy frames do among themselves (drift "
            f"{max(drift.values()):.3f}): there is nothing to correct."
        )
    share = shown_variety(seen.frames, baseline.frames)
    if share < LEAST_VARIETY:
        return (
            f"The reference frames vary by {share:.1%} of what healthy frames do; at least {LEAST_VARIETY:.0%} is "
            "needed. From a single scene the content cannot be told from the camera."
        )
    return None


def healthy_limits(baseline: Baseline, window: int, rng: np.random.Generator) -> dict[str, float]:
    """Per tap, the largest drift that windows of healthy frames show, with a margin for content not seen yet.

    Without drift there is nothing to gain: on healthy frames the label-free scores only choose among noise. Measured on
    Lite0 with 43 frames: healthy 0.003 to 0.05, the drifts that cost accuracy 0.4 to 240.
    """
    limits: dict[str, float] = {}
    for tap, frames in baseline.frames.items():
        if tap not in baseline.moments:
            continue
        draws = rng.integers(0, len(frames.mean), (HEALTHY_WINDOWS, window))
        found = [
            tap_drift(FrameMoments(frames.mean[i], frames.var[i]).pooled(), baseline.moments[tap])
            for i in draws
        ]
        limits[tap] = HEALTHY_MARGIN * max(found)
    return limits


def shown_variety(live: Mapping[str, FrameMoments], healthy: Mapping[str, FrameMoments]) -> float:
    """How much frames differ from each other, as a share of how much healthy ones do; affine drifts do not change it.

    The largest share over the taps, so that a drift that flattens one of them does not count as a single scene.
    """
    shares = [_between(live[tap]) / max(_between(healthy[tap]), _TINY) for tap in healthy if tap in live]
    return max(shares, default=1.0)


def _between(frames: FrameMoments) -> float:
    """Share of the variance that lies between the frames, 0..1."""
    between = float(frames.mean.var(0).mean())
    return between / max(between + float(frames.var.mean()), _TINY)
