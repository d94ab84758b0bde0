"""The candidates by distillation: which of the model's tensors are compared, and with what.

It makes patches and judges none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import HealthySamples
from calibration.outputs.read import ClassScores, Layout, scores_output
from calibration.outputs.values import Values, values_output
from calibration.patch import Affine
from calibration.search.distillation import (
    DistillationSettings,
    choose_stages,
    choose_start,
    distil,
    half_way,
)
from calibration.search.pair_loss import Pairs
from calibration.search.progress import Progress, tell_nobody
from calibration.search.simulation.model import Simulation
from calibration.stats.moments import Moments
from calibration.targets.base import Aim, Batch, LossKind
from calibration.targets.target import Target

DISTILLED, HALF_WAY = "distilled", "distilled half-way"
"""Names of the candidates."""

_LOSSES: Mapping[Layout, LossKind] = {
    ClassScores.LOGITS: "softmax",
    ClassScores.PROBABILITIES: "likelihood",
    ClassScores.INDEPENDENT: "sigmoid",
    Values.PLAIN: "squares",
}


@dataclass(frozen=True, slots=True)
class Teacher:
    """What the healthy model made of some healthy frames."""

    samples: HealthySamples
    moments: Moments
    layout: Layout
    output: str | None
    """The one with the answers; None where all belong to them."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """What was distilled."""

    corrections: Mapping[str, Mapping[str, Affine]]
    """By candidate and tap."""
    goes_on: bool
    """Whether it started at the patch in force instead of at the input correction."""


def distilled_candidates(
    target: Target,
    teacher: Teacher,
    show: Callable[[Batch], Simulation],
    start: Mapping[str, Affine],
    settings: DistillationSettings,
    first_taps: int | None,
    rng: np.random.Generator,
    progress: Progress = tell_nobody,
    last: Mapping[str, Affine] | None = None,
) -> Distilled:
    """The corrections at the end of the way, and those half-way.

    Args:
        target: The model.
        teacher: Healthy frames, of which none judges.
        show: Makes healthy frames (M, C, ...) look as today's sensor does.
        start: Where to start from.
        settings: Of the distillation.
        first_taps: Correct no more than this many layers; None sets no limit.
        rng: Source of all draws.
        progress: Told of every step.
        last: Another place to start from, a patch in force: the better one of the two is taken. None: there is none.

    Raises:
        NoDerivative: the model cannot be differentiated; the text names the operators.
    """
    samples = teacher.samples
    x = samples.samples()
    answers = _answer_aim(target, teacher, x[:1])
    stages = choose_stages(target.taps, settings.stages)
    known = {aim.name for aim in stages}
    kind: LossKind = "squares" if isinstance(teacher.layout, ClassScores | Values) else "sigmoid"
    heads = [Aim(head, kind) for head in target.heads if head not in known]
    some = x[np.arange(target.input_shape[0] or batch_of(x)) % len(x)]
    gradients = target.differentiate([*stages, *(answers or heads)], some)
    if (
        answers and answers[0] not in gradients.aims
    ):  # no way back from the answers: from what they are made of
        answers = []
        gradients = target.differentiate([*stages, *heads], some)
    shown = gradients.run(some)
    compared = {aim.name: _as_scores(samples, shown[aim.name]) for aim in answers}
    pairs = Pairs(x, show(x), compared)
    fixed = {tap.name for tap in target.taps[first_taps:]} if first_taps is not None else set[str]()
    goes_on = False
    if last is not None:
        starts = (start, {tap: affine for tap, affine in last.items() if tap not in fixed})
        goes_on = choose_start(gradients, pairs, teacher.moments, starts, settings, rng) == 1
        start = starts[goes_on]
    way = distil(gradients, pairs, teacher.moments, start, settings, rng, fixed, progress)
    return Distilled({DISTILLED: way.mean, HALF_WAY: half_way(start, way.end)}, goes_on)


def batch_of(x: Batch) -> int:
    """Frames at once: a divisor of a step's frames, with as many values as 2 of 224 x 224, or one frame."""
    return max(n for n in (1, 2, 3, 4, 6, 12) if n == 1 or n * x[0].size <= BATCH_VALUES)


BATCH_VALUES = 2 * 3 * 224 * 224
"""Twice as many take 1.6 times the memory of Lite0, in the same time a frame."""


def _answer_aim(target: Target, teacher: Teacher, x: Batch) -> list[Aim]:
    """The output with the scores of a classifier, or with numbers; empty for a detector and a reconstruction."""
    kind = _LOSSES.get(teacher.layout) if isinstance(teacher.layout, ClassScores | Values) else None
    if kind is None or (teacher.samples.probabilities is None and teacher.samples.numbers is None):
        return []
    find = values_output if isinstance(teacher.layout, Values) else scores_output
    name = teacher.output or find(target.runner()(x))
    return [Aim(name, kind)] if name is not None else []


def _as_scores(samples: HealthySamples, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The healthy answers (M, K) in the shape of the output, of which ``scores`` are some."""
    answers = samples.probabilities if samples.numbers is None else samples.numbers
    assert answers is not None
    return answers.astype(np.float32).reshape(-1, *scores.shape[1:])
