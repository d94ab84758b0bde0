"""The answers of a candidate, classes, boxes or numbers, and which candidates can be judged at all. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from calibration.outputs.detections import Detections
from calibration.outputs.read import Answers
from calibration.outputs.values import Numbers

A = TypeVar("A", bound=Answers)


@dataclass(frozen=True, slots=True)
class Evidence(Generic[A]):
    """The answers of one candidate, or of the unpatched model.

    Attributes:
        name: As in ``Verdict.candidate``.
        live: To the n live frames.
        simulated: To the m healthy samples under the simulated drift; None where there are none.
        is_conservative: Corrects either the input or no more than the first tenth of the layers: a classifier may be
            trusted on the live frames alone. Deeper corrections made the answers surer and wrong (Lite0, grey and
            dark: 5 points lost).
        resampled_error: Of numbers: the mean squared error, in healthy variances, under drifts that other live samples
            could have told; None where the drift is sure enough.
    """

    name: str
    live: A
    simulated: A | None = None
    is_conservative: bool = False
    resampled_error: float | None = None

    @property
    def is_finite(self) -> bool:
        """Whether all answers are numbers."""
        return all(are_finite(part) for part in (self.live, self.simulated) if part is not None)


def judgeable(
    unpatched: Evidence[A], candidates: Sequence[Evidence[A]], healthy: A | None
) -> tuple[list[Evidence[A]], list[str]]:
    """The candidates with finite answers, and a note about the others.

    Raises:
        ValueError: answers to other frames, or of other classes.
    """
    for one in (unpatched, *candidates):
        if _shape(one.live) != _shape(unpatched.live):
            found = f"{_shape(one.live)} answers on the live frames"
            raise ValueError(f"candidate {one.name!r} gave {found}; expected {_shape(unpatched.live)}")
        again = None if one.simulated is None else _shape(one.simulated)
        if healthy is not None and again != _shape(healthy):
            found = f"{again} answers on the simulated frames"
            raise ValueError(f"candidate {one.name!r} gave {found}; expected {_shape(healthy)}")
    broken = [one.name for one in candidates if not one.is_finite]
    notes = [f"Left out because their answers are not finite: {', '.join(broken)}."] if broken else []
    return [one for one in candidates if one.name not in broken], notes


def refusal_reason(unpatched: Evidence[A], min_live: int) -> str | None:
    """Why nothing can be judged, for people; None when something can."""
    if len(unpatched.live) < min_live:
        return f"{len(unpatched.live)} live frames are too few to judge on; at least {min_live} are needed."
    if not unpatched.is_finite:
        return "The unpatched model's own answers are not finite, so there is nothing to compare with."
    return None


def _shape(answers: Answers) -> tuple[int, ...]:
    return (len(answers),) if isinstance(answers, Detections) else answers.shape


def are_finite(answers: Answers) -> bool:
    """Whether all of them are numbers."""
    return (
        answers.is_finite if isinstance(answers, Detections | Numbers) else bool(np.isfinite(answers).all())
    )
