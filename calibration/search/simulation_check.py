"""How far re-enacted frames resemble the live ones: whether they can be a witness of today's drift at all.

A re-enactment copies tones, colours, sharpness and noise. Of a drift that is something else (blocks of pixels, broken
glass, a mixture of two states) it shows little, and what a patch does to such frames says nothing about the live
ones. Compared in the space of the drift monitor, where content counts little. Pure; called only by ``trial``.
"""

from collections.abc import Mapping

from calibration.drift.tap_group import FEWEST_FRAMES, Features, HealthyFrames
from calibration.stats.moments import FrameMoments

MOST_LEFT = 1.0
"""Of the squared distance that the healthy frames had: re-enacting must bring them nearer. On Fashion nets glass blur,
impulse noise and pixels in blocks left 1.4 to 4 (a patch gained 2.6 points at most there, and lost as much), drifts
that could be put right 0.0 to 0.93; on cut-outs eight camera drifts left 0.42 at most."""


def remaining_drift(
    live: Mapping[str, FrameMoments],
    simulated: Mapping[str, FrameMoments],
    healthy: Mapping[str, FrameMoments],
) -> float:
    """The squared distance of re-enacted frames from the live ones, as a share of that of the healthy frames, >= 0.

    Without what chance adds to a distance between means of so many frames. 0 where nothing can be said: a baseline of
    few frames, or live frames that are where healthy ones are.

    Args:
        live: Single-frame moments (N, C) at the input and the first taps.
        simulated: The same of frames with the simulated drift.
        healthy: The same of the baseline.
    """
    taps = [tap for tap in healthy if tap in live and tap in simulated]
    parts = (live, simulated, healthy)
    if not taps or min(len(part[tap].mean) for part in parts for tap in taps) < FEWEST_FRAMES:
        return 0.0
    group = HealthyFrames.of(taps, healthy)
    seen, again = (
        group.space.whiten(group.features_of({tap: (part[tap].mean, part[tap].var) for tap in taps}))
        for part in (live, simulated)
    )
    before = _between(seen, group.space.whiten(group.features))
    return max(0.0, _between(seen, again)) / before if before > 0 else 0.0


def _between(one: Features, other: Features) -> float:
    """Squared distance of the means of (N, D) and (M, D) per dimension, unbiased: below 0 by chance at times."""
    by_chance = one.var(axis=0, ddof=1) / len(one) + other.var(axis=0, ddof=1) / len(other)
    return float(((one.mean(axis=0) - other.mean(axis=0)) ** 2 - by_chance).mean())
