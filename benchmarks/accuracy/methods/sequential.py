"""The plain way to the same patch: correct a layer, open the patched model, measure the next layer, and so on.

Slow (as many passes as there are layers), but every layer is measured in the very model that would be deployed, on
all frames at once. The one pass of a target's observer is compared with this. Works on every target alike.
"""

from calibration.patch import Affine, Patch, correction
from calibration.stats.moments import INPUT_TAP, Moments, TapMoments
from calibration.targets import passes
from calibration.targets.base import Batch, ModelFiles, Normalisation
from calibration.targets.open import open_target
from calibration.targets.target import Target


def observe(
    target: Target, x: Batch, normalise: Normalisation, first_taps: int | None = None, threads: int = 1
) -> Moments:
    """Moments at the taps over ``x`` (N, C, ...), each tap measured behind patched layers.

    Args:
        target: The model.
        x: Prepared samples, finite.
        normalise: The baseline, its share, and a correction of the input.
        first_taps: Measure only the first so many taps; None is all.
        threads: CPU threads of every pass.

    Returns:
        The same as ``target.observe(x, normalise, first_taps).moments``, but for rounding and the cut into
        micro-batches: there every micro-batch is corrected by its own moments.

    Raises:
        ModelError: the framework failed on the model.
        TapMismatch: the baseline is of another model.
    """
    chosen = target.taps[:first_taps]
    passes.require_baseline_of(chosen, normalise.baseline)
    seen: dict[str, TapMoments] = {INPUT_TAP: passes.observe_input(x, normalise).pool()}
    corrections: dict[str, Affine] = {} if normalise.input is None else {INPUT_TAP: normalise.input}
    for tap in chosen:
        so_far = _patched(target, corrections, threads)
        seen[tap.name] = _measured(so_far, tap.name, x)
        corrections[tap.name] = correction(seen[tap.name], normalise.baseline[tap.name], normalise.prior)
    return Moments(seen)


def _patched(target: Target, corrections: dict[str, Affine], threads: int) -> Target:
    """The model with the layers corrected so far, opened anew."""
    patch = Patch(dict(corrections), target.sha256, "", "sequential", 0, 0.0)
    files = target.patched(patch)
    return open_target(ModelFiles(files.data, files.weights), threads)


def _measured(so_far: Target, tap: str, x: Batch) -> TapMoments:
    """Moments of one tap of the model as it is."""
    depth = [known.name for known in so_far.taps].index(tap) + 1
    return so_far.observe(x, first_taps=depth).moments[tap]
