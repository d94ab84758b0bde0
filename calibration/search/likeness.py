"""Whether given pictures show the drift that the camera shows now: a patch for another one must not be used.

With the drift monitor's own distance, as in ``preconditions``. Pure.
"""

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.drift.tap_group import FEWEST_FRAMES
from calibration.search.preconditions import remaining_drift, unlikeness

MOST_APART = 0.25
"""Of the squared distance that healthy frames have from the live ones: half as far, as for the known drift of an
earlier patch. The demo's photographs under 13 camera drifts, Lite0: other contents under the same drift left 0.04 at
most, those of another drift 0.29 at least; only blur and defocus, which are alike, left 0.02."""


def find_unlikeness(given: Baseline, live: Baseline, baseline: Baseline, seed: int = 0) -> str | None:
    """Why pictures do not stand for what the camera shows now, for people; None when they do.

    Args:
        given: A :func:`calibration.snapshot` of the pictures.
        live: One of live frames, by the same model.
        baseline: The healthy site.
        seed: Of the draws of what chance makes of healthy frames.
    """
    fewest = min(given.count, live.count, baseline.count)
    if fewest < FEWEST_FRAMES:
        return f"{fewest} frames are too few to compare; at least {FEWEST_FRAMES} are needed."
    excess = unlikeness(live.frames, baseline.frames, np.random.default_rng(seed))
    if not excess or max(excess.values()) <= 1.0:
        return "the live frames differ from the baseline no more than healthy frames do among themselves."
    share = remaining_drift(live.frames, given.frames, baseline.frames)
    if share <= MOST_APART:
        return None
    return (
        f"of the squared distance between healthy and live frames they leave {share:.0%}; "
        f"at most {MOST_APART:.0%} may be left."
    )
