"""Asks the healthy model for its answers to the samples that a baseline keeps."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import HealthySamples
from calibration.errors import DataError
from calibration.outputs.detection_layout import Outputs
from calibration.outputs.detections import Detections
from calibration.outputs.read import (
    Answers,
    Layout,
    UnknownAnswers,
    join_answers,
    layout_of,
    named_only,
    read_answers,
)
from calibration.outputs.values import Numbers
from calibration.stats.sampling import spread_over
from calibration.targets.base import Runner

ANSWERED_AT_ONCE = 16
"""Frames: a detector's raw outputs are large."""
_INFERRED_FROM = 48
"""Frames whose answers tell how all are read."""


def add_answers(
    healthy_samples: HealthySamples, run: Runner, output: str | None, layout: Layout | None
) -> HealthySamples:
    """The samples with the healthy model's answers; without where these are neither classes, detections nor numbers.

    Args:
        healthy_samples: Packed; the answers belong to them as they will be unpacked.
        run: The healthy model.
        output: Name of the output with the answers; None where all belong to them.
        layout: How the outputs are read; None infers it from some of them.

    Raises:
        DataError: answers that are not finite.
    """
    count, parts = len(healthy_samples), list[Answers]()

    def outputs(x: NDArray[np.float32]) -> Outputs:
        return named_only(run(x), output)

    try:
        layout = layout or layout_of(
            outputs(healthy_samples.only(spread_over(count, _INFERRED_FROM)).samples())
        )
        for index in np.array_split(np.arange(count), -(-count // ANSWERED_AT_ONCE)):
            x = healthy_samples.only(index).samples()
            parts.append(read_answers(outputs(x), layout, x))
    except UnknownAnswers:
        return replace(healthy_samples, probabilities=None, detections=None, numbers=None, layout=None)
    answers = join_answers(parts)
    _require_finite_answers(answers)
    return healthy_samples.with_answers(answers, layout)


def _require_finite_answers(answers: Answers) -> None:
    if isinstance(answers, Detections):
        scores: NDArray[np.floating] = answers.scores
    else:
        scores = answers.rows if isinstance(answers, Numbers) else answers
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if bad.size:
        found = f"answers to {bad.size} of {len(scores)} that are not finite numbers"
        raise DataError("healthy samples", found, "numbers", "Mend the model's export.", bad.tolist())
