"""Gathers for the report page the data that no verdict holds: drift at every layer, before and after, thumbnails.

Runs the model on about a dozen frames.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.drift.divergence import tap_drift
from calibration.report.thumbnails import PictureScale, Strip, strips
from calibration.stats.moments import INPUT_TAP, TapMoments, moments_of_frames
from calibration.stats.sampling import spread_over
from calibration.targets.base import Batch, ModelFiles
from calibration.targets.open import Model, open_target
from calibration.targets.target import Target
from calibration.verdict import Verdict

LAYER_FRAMES = 12
"""Frames per pass over all layers: a picture of the drift, not a measurement that anything depends on."""


@dataclass(frozen=True, slots=True)
class LayerDrift:
    """Drift at the input and every tap, in graph order: symmetric KL against the baseline, 0 is none.

    Of a tap's channels the median: one channel that hardly ever fires would outweigh all others in a mean.
    """

    before: Mapping[str, float]
    after: Mapping[str, float] | None
    """With the patch; None without one."""
    healthy: Mapping[str, float] | None
    """What as many healthy frames of the baseline's own show: the floor. None where it keeps no frames."""
    frames: int


@dataclass(frozen=True, slots=True)
class Material:
    """What the page shows beside the verdict."""

    layers: LayerDrift | None = None
    pictures: tuple[Strip, ...] = ()


def gather(
    model: Model,
    baseline: Baseline,
    x: Batch,
    verdict: Verdict,
    *,
    with_pictures: bool,
    scale: PictureScale | None = None,
    threads: int = 1,
) -> Material:
    """Material for the page of a verdict.

    Args:
        model: The unpatched model.
        baseline: The healthy site.
        x: The reference frames, float32 (N, C, ...), finite.
        verdict: What was decided on them.
        with_pictures: Whether thumbnails may be made.
        scale: How samples become pictures; None guesses it.
        threads: CPU threads.

    Raises:
        ModelError: the model cannot be run.
    """
    layers = layer_drift(model, baseline, x, verdict, threads)
    if not with_pictures or x.ndim != 4:
        return Material(layers)
    scale = scale or PictureScale.guess(x, baseline.healthy_samples)
    rng = np.random.default_rng(verdict.seed)
    return Material(layers, strips(x, baseline.moments, baseline.healthy_samples, verdict.patch, scale, rng))


def layer_drift(model: Model, baseline: Baseline, x: Batch, verdict: Verdict, threads: int = 1) -> LayerDrift:
    """How far each layer is from the baseline on a few of the frames, without and with the patch."""
    target, healthy_samples = open_target(model, threads), baseline.healthy_samples
    chosen = x[spread_over(len(x), LAYER_FRAMES)]
    healthy = None
    if healthy_samples is not None:
        kept = healthy_samples.only(spread_over(len(healthy_samples), LAYER_FRAMES)).samples()
        healthy = _drift(target, baseline, kept)
    return LayerDrift(
        _drift(target, baseline, chosen),
        _after(target, baseline, chosen, verdict, threads),
        healthy,
        len(chosen),
    )


def _drift(target: Target, baseline: Baseline, x: Batch) -> dict[str, float]:
    return _typical(target.observe(x).moments, baseline.moments)


def _typical(seen: Mapping[str, TapMoments], healthy: Mapping[str, TapMoments]) -> dict[str, float]:
    return {tap: tap_drift(seen[tap], healthy[tap]) for tap in healthy if tap in seen}


def _after(
    target: Target, baseline: Baseline, x: Batch, verdict: Verdict, threads: int
) -> dict[str, float] | None:
    """The same of the patched model; taps that the patch has made unreadable are left out."""
    if verdict.patch is None:
        return None
    done = target.patched(verdict.patch)
    seen: dict[str, TapMoments] = dict(
        open_target(ModelFiles(done.data, done.weights), threads).observe(x).moments
    )
    on_input = verdict.patch.taps.get(INPUT_TAP)
    if on_input is not None:  # it is folded into the first layer: outside, the input looks as before
        seen[INPUT_TAP] = moments_of_frames(on_input.apply(x)).pool()
    return _typical(seen, baseline.moments)
