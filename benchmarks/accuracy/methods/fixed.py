"""Corrections without a gate: what one would do by hand, and what the gate is compared with.

Built from the library's port only, so that a change of its candidates does not change these.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.methods.zeroth_order import zeroth_order
from benchmarks.accuracy.records import ZEROTH_ORDER
from calibration import INPUT_TAP, Affine, Baseline, Patch, Target, open_target
from calibration.patch import correction
from calibration.stats.moments import moments_of_frames
from calibration.targets.base import Normalisation

Samples = NDArray[np.float32]


def every_tap(target: Target, baseline: Baseline, x: Samples, prior: float) -> Patch:
    """All taps, mean and spread, ``prior`` of the baseline; with 0 the plain re-estimation of BatchNorm."""
    seen = target.observe(x, Normalisation(baseline.moments, prior)).moments
    taps = {tap.name: correction(seen[tap.name], baseline.moments[tap.name], prior) for tap in target.taps}
    return _patch(target, baseline, f"all taps, prior {prior:g}", taps, len(x))


def input_alone(target: Target, baseline: Baseline, x: Samples) -> Patch:
    """Mean and spread of the input's channels."""
    seen = moments_of_frames(x).pool()
    taps = {INPUT_TAP: correction(seen, baseline.moments[INPUT_TAP])}
    return _patch(target, baseline, "input", taps, len(x))


def bias_alone(target: Target, baseline: Baseline, x: Samples) -> Patch:
    """All taps, the mean alone, layer after layer: bias correction as in Nagel et al. 2019 (arXiv 1906.04721).

    A pass a layer, each through the model with all layers before it corrected.
    """
    taps: dict[str, Affine] = {}
    for depth, tap in enumerate(target.taps, 1):
        so_far = open_target(target.patched(_patch(target, baseline, "bias", taps, len(x))).data)
        seen = so_far.observe(x, first_taps=depth).moments[tap.name]
        offset = (baseline.moments[tap.name].mean - seen.mean).astype(np.float32)
        taps[tap.name] = Affine(np.ones_like(offset), offset)
    return _patch(target, baseline, "bias alone", taps, len(x))


FIXED: Mapping[str, Callable[[Target, Baseline, Samples], Patch]] = {
    "all taps, prior 0": lambda target, baseline, x: every_tap(target, baseline, x, 0.0),
    "all taps, prior 0.3": lambda target, baseline, x: every_tap(target, baseline, x, 0.3),
    "bias alone": bias_alone,
    "input": input_alone,
    ZEROTH_ORDER: zeroth_order,
}


def _patch(target: Target, baseline: Baseline, name: str, taps: Mapping[str, Affine], frames: int) -> Patch:
    return Patch(
        taps=dict(taps),
        model_sha256=target.sha256,
        baseline_id=baseline.id,
        candidate=name,
        frames=frames,
        created_wall_s=0.0,
    )
