"""Gathers for the report page the data that no verdict holds: drift at every layer, thumbnails or charts.

Runs the model on a dozen frames, live and healthy ones, and the patched model on the live ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.baseline.baseline import Baseline
from calibration.drift.divergence import drift_between
from calibration.report import windows
from calibration.report.states import states
from calibration.report.thumbnails import SHOWN, PictureScale, Strip, strips
from calibration.report.windows import ChartRow, chart_rows
from calibration.stats.moments import TapMoments
from calibration.stats.sampling import spread_over
from calibration.stats.signal_features import is_signal
from calibration.targets.base import Batch
from calibration.targets.open import Model, observe_patched, open_target
from calibration.verdict import Verdict

PICTURES = 4
"""Axes of an array of pictures."""
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
    """What up to as many of the baseline's healthy samples show: the floor. None where it keeps none."""
    frames: int


@dataclass(frozen=True, slots=True)
class Material:
    """What the page shows in addition to the verdict."""

    layers: LayerDrift | None = None
    pictures: tuple[Strip, ...] = ()
    windows: tuple[ChartRow, ...] = ()
    """Of signals, instead of pictures."""


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
    """Material for the page of a verdict on the reference frames ``x``, float32 (N, C, ...), finite.

    ``model`` is the unpatched one. A ``scale`` of None guesses how samples become pictures.

    Raises:
        ModelError: the model cannot be run.
    """
    layers = _layer_drift(model, baseline, x, verdict, threads)
    are_windows = is_signal(x.shape[1:])
    if not with_pictures or not (are_windows or x.ndim == PICTURES):
        return Material(layers)
    rng, kept = np.random.default_rng(verdict.seed), baseline.healthy_samples
    found = states(x, baseline.moments, kept, verdict.patch, windows.SHOWN if are_windows else SHOWN, rng)
    if are_windows:
        return Material(layers, windows=chart_rows(found))
    return Material(layers, strips(found, scale or PictureScale.guess(x, kept)))


def _layer_drift(model: Model, baseline: Baseline, x: Batch, verdict: Verdict, threads: int) -> LayerDrift:
    """On a few of the frames, without and with the patch; taps that it has made unreadable are left out."""
    target, kept = open_target(model, threads), baseline.healthy_samples
    chosen = x[spread_over(len(x), LAYER_FRAMES)]

    def drift(seen: Mapping[str, TapMoments]) -> dict[str, float]:
        healthy = baseline.moments
        return drift_between({tap: seen[tap] for tap in healthy if tap in seen}, healthy)

    healthy = after = None
    if kept is not None:
        some = kept.only(spread_over(len(kept), LAYER_FRAMES)).samples()
        healthy = drift(target.observe(some).moments)
    before = drift(target.observe(chosen).moments)
    if verdict.patch is not None:
        after = drift(observe_patched(target, verdict.patch, chosen, threads))
    return LayerDrift(before, after, healthy, len(chosen))
