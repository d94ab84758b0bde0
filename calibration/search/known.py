"""Patches that were accepted before: for a drift like this one, to judge first; for one that grew, to start from.

None is trusted for that. A known patch passes the same gate as every candidate, against the unpatched model; it saves
the time to find another one.
"""

from collections.abc import Mapping, Sequence

from calibration.patch import Patch
from calibration.search.candidates import conservative_taps
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import TapInfo


def is_conservative(patch: Patch, taps: Sequence[TapInfo]) -> bool:
    """Whether it corrects the input alone, or no more than the first few taps: may be trusted on weak evidence."""
    first = {tap.name for tap in taps[: conservative_taps(len(taps))]}
    return patch.taps.keys() <= {INPUT_TAP} or patch.taps.keys() <= first


def is_good_enough(name: str, scores: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether no candidate gained more on the simulated frames than this one by more than the error of its gain."""
    own = scores[name]
    if "gain" not in own:  # judged by the live frames alone
        return False
    return all(other["gain"] - own["gain"] <= own["gain_error"] for other in scores.values())
