"""Whether a recalibration can be of use at all, before any candidate is tried.

Two reasons against it: the reference frames are as healthy ones are, or they all show one scene, from which the
content cannot be told from the camera. Measured with the drift monitor's own distance, so that what raised an alarm
is not dismissed here. Pure; the seed is an argument.
"""

from collections.abc import Mapping

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.drift.monitor import healthy_groups
from calibration.drift.tap_group import FEWEST_FRAMES, HealthyFrames
from calibration.drift.thresholds import chance_limit
from calibration.stats.moments import FrameMoments
from calibration.stats.sensor_features import sensor_features_of_frames
from calibration.targets.base import Batch, Observation

LEAST_VARIETY = 0.10
"""Lite0, eight drifts: one scene with sensor noise shows below 0.001, varied pictures under a drift 0.83 to 2.3."""

_TINY = float(np.finfo(np.float64).tiny)


def refusal_reason(observed: Batch, seen: Observation, baseline: Baseline, seed: int) -> str | None:
    """Why no candidate needs to be tried, for people; None when there is something to try.

    Args:
        observed: The reference frames (N, C, ...).
        seen: Their uncorrected moments at the input and the first taps.
        baseline: The healthy site.
        seed: Of the healthy windows they are compared with.
    """
    live = {**seen.frames, **sensor_features_of_frames(observed)}
    excess = unlikeness(live, baseline.frames, np.random.default_rng(seed))
    if excess and max(excess.values()) <= 1.0:
        return (
            "The reference differs from the baseline no more than healthy frames do among themselves "
            f"({max(excess.values()):.0%} of what chance explains): there is nothing to correct."
        )
    share = shown_variety(seen.frames, baseline.frames)
    if share < LEAST_VARIETY:
        return (
            f"The reference frames vary by {share:.1%} of what healthy frames do; at least {LEAST_VARIETY:.0%} is "
            "needed. From a single scene the content cannot be told from the camera."
        )
    return None


def unlikeness(
    live: Mapping[str, FrameMoments], healthy: Mapping[str, FrameMoments], rng: np.random.Generator
) -> dict[str, float]:
    """Per group of taps, the frames' distance from healthy ones as a share of what chance explains.

    Fresh healthy pictures stay below 1 (of 200 draws each of 43 frames: Lite0 cut-outs of unknown objects 0.8 at
    most, Fashion-MNIST 0.7); drifts that cost 5 points are above. Empty for a baseline of too few frames.
    """
    known = {tap: part for tap, part in healthy.items() if tap in live}
    if not known or min(len(part.mean) for part in known.values()) < FEWEST_FRAMES:
        return {}
    groups = healthy_groups(known, list(known))
    return {sign: _excess(live, group, rng) for sign, group in groups.items()}


def _excess(live: Mapping[str, FrameMoments], group: HealthyFrames, rng: np.random.Generator) -> float:
    features = group.features_of({tap: (live[tap].mean, live[tap].var) for tap in group.taps})
    limit = chance_limit(group.space.whiten(group.features), group.effective, len(features), rng)
    return group.space.distance(features.mean(axis=0)) / limit


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
