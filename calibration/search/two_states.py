"""Whether a part of the live frames is as healthy ones are, while the rest has drifted.

So it is with a loose contact, a sensor that switches its range, and two sensors of which one drifted.
A simulated sensor that explains the mean of both shows neither, and a patch for it makes both worse: of windows of
which half had 1.6 times the gain, it lost 14 points, where nothing was wrong with the other half. Pure numpy.
"""

from collections.abc import Mapping

import numpy as np

from calibration.drift.tap_group import FEWEST_FRAMES, HealthyFrames
from calibration.stats.moments import FrameMoments

HEALTHY_QUANTILE = 0.95
"""Of the healthy frames, along the way from them to the live ones: up to there a frame is as they are."""
MOST_STILL_HEALTHY = 0.15
"""Share of the live frames beyond that of the simulated ones. Of 24 sets under one drift of all windows at most .03
more were; of sets of which half had drifted, .24 to .32."""
ERRORS = 2.5
"""Standard errors that chance may add."""


def find_excess(
    live: Mapping[str, FrameMoments],
    simulated: Mapping[str, FrameMoments],
    healthy: Mapping[str, FrameMoments],
) -> float:
    """Share of the live frames that are as healthy ones are, without those that the explanation leaves so; or 0.

    0 where it may be chance, and where nothing can be said. All are single-frame moments (N, C) per tap.
    """
    taps = [tap for tap in healthy if tap in live and tap in simulated]
    parts = (live, simulated, healthy)
    if not taps or min(len(part[tap].mean) for part in parts for tap in taps) < FEWEST_FRAMES:
        return 0.0
    group = HealthyFrames.of(taps, healthy)
    usual = group.space.whiten(group.features)
    seen, again = (group.space.whiten(group.features_in(part)) for part in (live, simulated))
    way = seen.mean(axis=0) - usual.mean(axis=0)
    limit = np.quantile(usual @ way, HEALTHY_QUANTILE)
    found, expected = (float((one @ way <= limit).mean()) for one in (seen, again))
    pooled = (found * len(seen) + expected * len(again)) / (len(seen) + len(again))
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(seen) + 1 / len(again)))
    excess = found - expected
    return excess if excess > max(MOST_STILL_HEALTHY, ERRORS * error) else 0.0


def in_words(excess: float) -> str:
    """Why nothing can be corrected, for people."""
    return (
        f"{excess:.0%} of the reference samples are as healthy ones are, while the others have drifted: the sensor "
        "changes to and fro (a loose contact, another range), or one of several sensors has drifted. No correction "
        "fits both."
    )
