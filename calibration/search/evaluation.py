"""Runs candidates on the frames on which they are judged: all of them, or a part first where there are many.

It neither makes candidates nor decides.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibration import gate
from calibration.outputs.read import Answers, Layout, as_judged, join_answers, named_only, read_answers
from calibration.outputs.values import Values
from calibration.patch import Patch
from calibration.search.progress import Progress, tell_nobody, track
from calibration.search.resampling import Resampled
from calibration.targets.base import Batch, Runner
from calibration.targets.target import Target

FINALISTS = 5
"""Candidates that are judged on all frames. On recorded cases as many as 21 found nothing more, 4 found less."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """The frames on which candidates are judged, and what is known about them."""

    live: Batch
    simulated: Batch | None
    healthy_answers: Answers | None
    layout: Layout
    """How the outputs are read, of every candidate alike."""
    part: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    """The simulated frames that all candidates meet."""
    output: str | None = None
    """The one with the answers; None where all belong to them."""
    are_labelled: bool = False
    """Whether labels of the live frames are known: then independent labels are compared with them one by one."""
    resampled: Resampled | None = None
    """What other live samples could have told; None where the drift is sure enough."""

    def evaluate(
        self,
        name: str,
        runner: Runner,
        *,
        patch: Patch | None = None,
        live: Answers | None = None,
        screened: Answers | None = None,
        is_conservative: bool = False,
    ) -> gate.Evidence[Answers]:
        """A candidate's answers to all frames; those it has given already are not run again.

        Args:
            name: Of the candidate.
            runner: Runs it.
            patch: That is in it; None for the unpatched model.
            live: Its answers to the live frames, if known.
            screened: Its answers to the part of the simulated frames that all candidates meet, if known.
            is_conservative: As in :class:`calibration.gate.Evidence`.

        Raises:
            UnknownAnswers: they cannot be read by the layout.
        """
        live = self.read(runner, self.live, patch) if live is None else live
        again = None
        if self.simulated is not None and screened is None:
            again = self.read(runner, self.simulated, patch)
        elif self.simulated is not None and screened is not None:
            others = np.setdiff1d(np.arange(len(self.simulated)), self.part)
            both = join_answers([screened, self.read(runner, self.simulated[others], patch)])
            again = both[np.argsort(np.concatenate([self.part, others]))]
        error = None
        if self.resampled is not None:
            error = self.resampled.measure_error(self.read(runner, self.resampled.frames, patch))
        return gate.Evidence(name, live, again, is_conservative, error)

    def read(self, runner: Runner, x: Batch, patch: Patch | None = None) -> Answers:
        """The answers on some frames, of a runner with this patch in it.

        A reconstruction is compared with the corrected input: it is what the model was given to build again.
        """
        is_compared = patch is not None and self.layout is Values.RECONSTRUCTION
        taken = patch.correct_input(x) if patch is not None and is_compared else x
        answers = read_answers(named_only(runner(x), self.output), self.layout, taken)
        return answers if self.are_labelled else as_judged(answers, self.layout)

    def screen(
        self,
        target: Target,
        patches: Mapping[str, Patch],
        progress: Progress = tell_nobody,
        seeded: Collection[str] = (),
    ) -> dict[str, Answers | None]:
        """The most faithful candidates on a part of the simulated frames, with their answers to it.

        The others cost half the time. With few frames or candidates, all of them, without answers. Those that are
        ``seeded`` meet all frames anyway, and are not screened.
        """
        assert self.simulated is not None
        assert self.healthy_answers is not None
        if len(patches) <= FINALISTS or len(self.part) == len(self.simulated):
            return dict.fromkeys(patches)
        frames, healthy = self.simulated[self.part], self.healthy_answers[self.part]
        found: dict[str, tuple[float, Answers]] = {}
        for name, patch in track(
            progress, "screening", [(n, p) for n, p in patches.items() if n not in seeded]
        ):
            answers = self.read(target.runner(patch), frames, patch)
            fidelity = gate.mean_fidelity(answers, healthy)
            if fidelity is not None:
                found[name] = fidelity, answers
        most = max(0, FINALISTS - sum(name in seeded for name in patches))
        best = sorted(found, key=lambda name: found[name][0], reverse=True)[:most]
        return {
            name: None if name in seeded else found[name][1]
            for name in patches
            if name in best or name in seeded
        }
