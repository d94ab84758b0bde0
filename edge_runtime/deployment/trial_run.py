"""One candidate in the pipeline of its model: put in, moved from stage to stage, judged, taken out."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import psutil

from edge_runtime.config import RolloutConfig
from edge_runtime.deployment.disagreements import Disagreements
from edge_runtime.deployment.rollout_policy.plan import Stage, length_of
from edge_runtime.deployment.rollout_policy.verdict import Limits, RolloutVerdict, VerdictKind, judge
from edge_runtime.deployment.sample_views import PictureView
from edge_runtime.deployment.shadow import Shadow
from edge_runtime.deployment.split import take_all, take_none, take_share
from edge_runtime.deployment.trial_figures import BothArms, TrialFigures
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.trial import Arm, Trial
from edge_runtime.system.supervised_thread import Crashes

SHADOW_ENDS_S = 2.0
_COMPARED = frozenset({"agreement", "confidence"})
"""Metrics that compare the answers of both versions."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version, or a patch of the active one, that was opened and self-tested, ready to answer."""

    name: str
    """Name and version, or generation."""
    manifest_sha256: str | None
    """Of the manifest, which has the hashes of all files; None for a patch."""
    arm: Arm
    is_prepared_alike: bool
    """It takes the samples of the active version as they are."""
    note: str | None = None
    """What the figures do not tell of its answers, for people; None: nothing."""
    disagreements: Disagreements = field(default_factory=lambda: Disagreements(PictureView(is_bgr=False)))
    """Where frames are kept that both versions answered differently."""


def process_memory_mib() -> float:
    """Resident memory of this process."""
    return float(psutil.Process().memory_info().rss) / 2**20


class TrialRun:
    """A candidate and the active model. One thread, but for ``figures``."""

    def __init__(
        self,
        model: str,
        candidate: Candidate,
        pipeline: Pipeline,
        crashes: Crashes,
        memory_mib: Callable[[], float] = process_memory_mib,
        *,
        gives_way: bool = False,
    ) -> None:
        """Put it into the pipeline, where it answers nothing yet; what ``gives_way`` may be over at once."""
        self.candidate, self.figures = candidate, TrialFigures(candidate.disagreements)
        self._model, self._pipeline, self._crashes, self._memory_mib = model, pipeline, crashes, memory_mib
        self._memory_before_mib = memory_mib()
        self._shadow: Shadow | None = None
        self._trial = Trial(
            candidate.arm, self.figures, take_none, crashes, candidate.is_prepared_alike, gives_way
        )
        pipeline.begin_trial(self._trial)

    def enter(self, stage: Stage, plan: RolloutConfig) -> None:
        """Answer what belongs to SHADOW, CANARY or WATCHED."""
        self._stop_shadow()
        # There the active version answers nothing more: what it did before is what the candidate is compared with.
        self.figures.begin_stage(length_of(plan, stage).frames, keep_active=stage is Stage.WATCHED)
        match stage:
            case Stage.SHADOW:
                self._trial.takes = take_none
                self._start_shadow(plan.shadow.cpu)
            case Stage.CANARY:
                self._trial.takes = take_share(plan.canary.share, plan.canary.streams)
            case Stage.WATCHED:
                self._trial.takes = take_all

    def knows_active(self, plan: RolloutConfig) -> bool:
        """Whether the active version has answered as many frames in the same time as the watch is judged by."""
        return self.summaries().active.frames >= length_of(plan, Stage.WATCHED).frames

    def judge(self, stage: Stage, plan: RolloutConfig, waited_s: float) -> RolloutVerdict:
        """What the figures say now, ``waited_s`` after the stage began."""
        both = self.figures.summaries()
        growth_mib = self._memory_mib() - self._memory_before_mib
        of_all, *of_latest = (
            judge(
                stage,
                candidate,
                both.active,
                Limits.of(plan, stage),
                waited_s=waited_s,
                memory_growth_mib=growth_mib,
            )
            for candidate in (both.candidate, both.latest)
            if candidate is not None
        )
        if of_latest and of_latest[0].kind is VerdictKind.FAIL:
            return self._with_note(self._doubt_beside_patch(of_latest[0]))
        return self._with_note(self._doubt_beside_patch(of_all))

    def _with_note(self, verdict: RolloutVerdict) -> RolloutVerdict:
        note = self.candidate.note
        return verdict if note is None else replace(verdict, text=f"{verdict.text}; {note}")

    def _doubt_beside_patch(self, verdict: RolloutVerdict) -> RolloutVerdict:
        """A candidate has no patch: where the active version needs one, that alone may be why they differ.

        So what fails by comparison alone waits for a person instead of being refused.
        """
        active = self._pipeline.slot.generation
        failed = {one.name for one in verdict.findings if one.kind is VerdictKind.FAIL and not one.is_dry_run}
        if active.patch is None or failed.isdisjoint(_COMPARED):
            return verdict
        text = f"{verdict.text}; {active} has a patch, the candidate has none"
        kind = VerdictKind.INCONCLUSIVE if failed <= _COMPARED else verdict.kind
        return replace(verdict, kind=kind, text=text)

    def summaries(self) -> BothArms:
        """What both arms did in this stage; from any thread."""
        return self.figures.summaries()

    @property
    def is_over(self) -> bool:
        """Whether it gave way to another candidate, or was ended."""
        return self._trial.is_over

    def end(self) -> None:
        """Take it out of the pipeline: it publishes nothing from now on, and is freed when its last batch is done."""
        self._pipeline.end_trial(self._trial)
        self._stop_shadow()
        self.candidate.arm.slot.retire()

    def take_engine(self) -> Engine | None:
        """End it and keep its engine, on which nothing runs any more; None: an inference hangs, it is freed after it.

        Only from SHADOW: elsewhere batches of the pipeline may run on it.
        """
        self._pipeline.end_trial(self._trial)
        if self._stop_shadow():
            return self.candidate.arm.slot.engine
        self.candidate.arm.slot.retire()
        return None

    def _start_shadow(self, cpu: float) -> None:
        self._shadow = Shadow(
            self._model,
            self.candidate.arm,
            cpu=cpu,
            wait_for_pause=self._pipeline.wait_for_pause,
            note_answer=self.figures.note_shadow,
            note_failure=self.figures.note_failure,
            crashes=self._crashes,
            is_prepared_alike=self.candidate.is_prepared_alike,
        )
        self._shadow.thread.start()
        self.figures.show = self._shadow.offer

    def _stop_shadow(self) -> bool:
        """Whether it has ended; one that hangs in its engine keeps the engine, and nothing else."""
        self.figures.show = None
        shadow, self._shadow = self._shadow, None
        return shadow is None or shadow.stop(SHADOW_ENDS_S)
