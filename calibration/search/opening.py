"""What must fit together before a search: model, baseline, frames, and patches that are given."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import Baseline
from calibration.errors import BaselineError, DataError
from calibration.search import reference
from calibration.search.flow import Search
from calibration.search.healthy_answers import add_answers
from calibration.search.options import Options
from calibration.search.progress import Progress
from calibration.stats.moments import FrameMoments
from calibration.targets.base import Batch
from calibration.targets.open import Model, open_target
from calibration.targets.passes import require_baseline_of
from calibration.targets.target import Target


def open_search(
    model: Model,
    baseline: Baseline,
    x: NDArray[np.float32],
    y: NDArray[np.integer[Any]] | None,
    options: Options,
    further_input: FrameMoments | None,
    progress: Progress,
    now_wall_s: float,
) -> Search:
    """A search of this model on these frames, checked, with the arguments of :func:`calibration.recalibrate`.

    Raises:
        ModelError, DataError, BaselineError, PatchError: as there.
    """
    if baseline.facts.is_expired(now_wall_s):
        fix = "Look at the site; approve the baseline again if it still shows it, or record another."
        raise BaselineError(f"baseline {baseline.name}", "has expired", "one that is still valid", fix)
    target = open_matching(model, baseline, options.threads)
    for patch in (*options.known.values(), options.start):
        if patch is not None:
            patch.require_origin(target.sha256, baseline.id)
    baseline = _read_as(options, baseline, target)
    given = reference.check(x, y).with_further_input(further_input)
    require_sample_shape(given.x, baseline)
    return Search(target, baseline, given, options, now_wall_s, progress)


def open_matching(model: Model, baseline: Baseline, threads: int) -> Target:
    """Open the model and make sure that the baseline is its own, and of all its taps.

    Raises:
        ModelError: the model cannot be recalibrated.
        BaselineError, TapMismatch: the baseline is another model's.
    """
    target = open_target(model, threads)
    if target.sha256 != baseline.model_sha256:
        found = f"recorded with the model {baseline.model_sha256[:12]}…, this one is {target.sha256[:12]}…"
        fix = "Record a baseline with this model (`python -m calibration profile`)."
        raise BaselineError(f"baseline {baseline.id}", found, "the same model file", fix)
    require_baseline_of(target.taps, baseline.moments)  # another version may have seen fewer layers
    return target


def require_sample_shape(x: Batch, baseline: Baseline) -> None:
    """Refuse frames of another shape than those of the baseline.

    Raises:
        DataError: with both shapes.
    """
    if x.shape[1:] != baseline.input_shape:
        fix = "Prepare the samples as those of the baseline were."
        raise DataError(
            "reference", f"samples of {x.shape[1:]}", f"{baseline.input_shape} as in the baseline", fix
        )


def _read_as(options: Options, baseline: Baseline, target: Target) -> Baseline:
    """The baseline with the answers to its samples read as the options say; as it is where they already are."""
    output, kept = options.output or baseline.output, baseline.healthy_samples
    if kept is not None and (output != baseline.output or options.layout not in (None, kept.layout)):
        kept = add_answers(kept, target.runner(), output, options.layout)
    return replace(baseline, output=output, healthy_samples=kept)
