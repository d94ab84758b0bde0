"""How far recalibration may go by itself: the autonomy of a box, and the envelope that a bundle declares. Pure.

A provider says beforehand in the manifest what may change on the box (``calibration.envelope``); a patch beyond it is
refused, whatever the gate says. Of the autonomy in the configuration and in the bundle the stricter one counts.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.patch import Affine, spread
from calibration.search.candidates import UNPATCHED
from calibration.stats.moments import INPUT_TAP, TapMoments
from calibration.verdict import Verdict
from edge_runtime.bundles.manifest import Envelope
from edge_runtime.system.autonomy import AUTONOMIES, Autonomy


def choose_autonomy(configured: Autonomy, envelope: Envelope | None) -> Autonomy:
    """The stricter one of both."""
    declared: Autonomy = "auto" if envelope is None else envelope.autonomy
    return min(configured, declared, key=AUTONOMIES.index)


def keep_within(envelope: Envelope | None, verdict: Verdict, baseline: Baseline) -> Verdict:
    """The verdict; a refusal with the reason where its patch goes beyond the envelope."""
    excess = None if envelope is None else find_excess(envelope, verdict, baseline)
    if excess is None:
        return verdict
    reasons = (f"the patch goes beyond the envelope of the bundle: {excess}", *verdict.reasons)
    return replace(verdict, accepted=False, candidate=UNPATCHED, patch=None, reasons=reasons)


def find_excess(envelope: Envelope, verdict: Verdict, baseline: Baseline) -> str | None:
    """Where an accepted patch goes beyond the envelope, in words; None where it does not."""
    patch, counts = verdict.patch, verdict.frames
    if patch is None:
        return None
    used = counts.observed + counts.judged
    if envelope.least_frames is not None and used < envelope.least_frames:
        return f"made from {used} frames, at least {envelope.least_frames} (least_frames)"
    if envelope.first_taps is not None:
        allowed = [tap for tap in baseline.moments if tap != INPUT_TAP][: envelope.first_taps]
        beyond = sorted(patch.taps.keys() - {INPUT_TAP, *allowed})
        if beyond:
            return f"it corrects {beyond[0]}, allowed are the first {envelope.first_taps} layers (first_taps)"
    if envelope.largest_change is not None:
        tap, change = find_largest_change(patch.taps, baseline.moments)
        if not change <= envelope.largest_change:
            where, most = "the input" if tap == INPUT_TAP else tap, envelope.largest_change
            return f"it changes a channel of {where} by {change:.2f}, at most {most:g} (largest_change)"
    return None


def find_largest_change(taps: Mapping[str, Affine], healthy: Mapping[str, TapMoments]) -> tuple[str, float]:
    """The tap with the largest change of a channel, and that change, in healthy standard deviations.

    Of a channel it is the larger one of how far its healthy mean moves, and how much its spread grows: a factor of
    1.5, or of 1 / 1.5, is 0.5.
    """
    largest = {tap: _largest(affine, healthy[tap]) for tap, affine in taps.items()}
    tap = max(largest, key=largest.__getitem__)
    return tap, largest[tap]


def _largest(affine: Affine, usual: TapMoments) -> float:
    scale = affine.scale.astype(np.float64)
    moved = np.abs((scale - 1) * usual.mean + affine.offset) / spread(usual.var, usual.var)
    return float(np.maximum(moved, np.maximum(scale, 1 / scale) - 1).max())
