"""Every candidate of a recalibration, and whether the gate would accept it alone.

Needs the inside of ``calibration.search.flow``; kept in one small file for that reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration import Baseline, Options, Patch, Target, Verdict
from calibration.search import reference
from calibration.search.flow import Search
from calibration.search.judging import Judge


@dataclass(frozen=True, slots=True)
class TriedCandidate:
    """One candidate and what the gate says about it."""

    patch: Patch
    is_chosen: bool
    is_accepted_alone: bool
    """Whether it would be accepted if it were the only one."""
    scores: Mapping[str, float]


def tried_candidates(
    target: Target, baseline: Baseline, x: NDArray[np.float32], options: Options
) -> list[TriedCandidate]:
    """All candidates of one recalibration; those by moments when it ended before it had made any."""
    trial = _OpenTrial(target, baseline, reference.check(x), options, 0.0)
    verdict = trial.decide()
    is_judged = bool(trial.patches)
    return [
        TriedCandidate(
            patch=patch,
            is_chosen=verdict.accepted and verdict.candidate == name,
            is_accepted_alone=is_judged and trial.would_accept(name),
            scores=verdict.scores.get(name, {}),
        )
        for name, patch in (
            trial.patches or trial._maker.by_moments(x, trial._input_correction(x), are_distilled=False)
        ).items()
    ]


class _OpenTrial(Search):
    """A trial that remembers what it judged."""

    patches: Mapping[str, Patch]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.patches = {}

    def would_accept(self, name: str) -> bool:
        """The gate's answer if ``name`` were the only candidate."""
        return super()._judge(self._judge_before, {name: self.patches[name]}).accepted

    def _judge(self, judge: Judge, patches: Mapping[str, Patch]) -> Verdict:
        self.patches, self._judge_before = patches, judge
        return super()._judge(judge, patches)
