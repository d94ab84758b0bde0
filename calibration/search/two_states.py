"""Whether a part of the live frames is as healthy ones are, while the rest has drifted.

So it is with a loose contact, a sensor that switches its range, and two sensors of which one drifted.
A simulated sensor that explains the mean of both shows neither, and a patch for it makes both worse: of windows of
which half had 1.6 times the gain, it lost 14 points, where nothing was wrong with the other half. Along the way from
the healthy frames to the live ones such a set lies apart, more than any one sensor spreads it. Pure numpy.
"""

from collections.abc import Mapping

import numpy as np

from calibration.drift.tap_group import FEWEST_FRAMES, HealthyFrames
from calibration.stats.moments import FrameMoments

HEALTHY_QUANTILE = 0.95
"""Of the healthy frames, along the way from them to the live ones: up to there a frame is as they are."""
FEWEST_HEALTHY = 0.15
"""Share of the live frames. Where none is as healthy ones are, their spread tells other things, as clipped values."""
MOST_SPREAD = 2.2
"""Times the variance of the simulated frames along that way. Of 18 sets under one drift of all windows 1.7 at most; of
12 in which it was five to eight tenths of them 2.5 at least."""


def find_healthy_part(
    live: Mapping[str, FrameMoments],
    simulated: Mapping[str, FrameMoments],
    healthy: Mapping[str, FrameMoments],
) -> float:
    """Share of the live frames that are as healthy ones are, where the others have drifted; else 0.

    0 also where nothing can be said. All are single-frame moments (N, C) per tap.
    """
    taps = [tap for tap in healthy if tap in live and tap in simulated]
    parts = (live, simulated, healthy)
    if not taps or min(len(part[tap].mean) for part in parts for tap in taps) < FEWEST_FRAMES:
        return 0.0
    group = HealthyFrames.of(taps, healthy)
    usual = group.space.whiten(group.features)
    seen, again = (group.space.whiten(group.features_in(part)) for part in (live, simulated))
    way = seen.mean(axis=0) - usual.mean(axis=0)
    part = float((seen @ way <= np.quantile(usual @ way, HEALTHY_QUANTILE)).mean())
    is_apart = np.var(seen @ way) > MOST_SPREAD * np.var(again @ way)
    return part if is_apart and part >= FEWEST_HEALTHY else 0.0


def in_words(part: float) -> str:
    """Why nothing can be corrected, for people."""
    return (
        f"{part:.0%} of the reference samples are as healthy ones are, while the others have drifted: the sensor "
        "changes to and fro (a loose contact, another range), or one of several sensors has drifted. No correction "
        "fits both."
    )
