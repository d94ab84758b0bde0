"""A patch in the shadow of the generation that answers: opened, judged, and handed on with the engine that was tried.

One at a time. It gives way to a newer version, and begins anew when that is through. Whether the patch may still be
used, and what its verdict means, is decided in ``recalibration.trials``.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_runtime.config import RolloutConfig
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.deployment import Deployment, Opened
from edge_runtime.deployment.disagreements import Disagreements
from edge_runtime.deployment.rollout_policy.comparison import compare
from edge_runtime.deployment.rollout_policy.figures import ArmSummary
from edge_runtime.deployment.rollout_policy.plan import Stage
from edge_runtime.deployment.rollout_policy.verdict import Finding, RolloutVerdict
from edge_runtime.deployment.sample_views import PictureView, SampleView
from edge_runtime.deployment.trial_record import TrialRecord
from edge_runtime.deployment.trial_run import Candidate, TrialRun
from edge_runtime.errors import EngineError, StateError
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.trial import Arm
from edge_runtime.system.supervised_thread import Crashes

Decision = Literal["used", "refused", "waits"]
"""What became of a patch by its shadow."""


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    """A patch on its way through the shadow, in the names of ``/status``."""

    patch: str
    """Its id."""
    active: str
    """The generation that answers meanwhile."""
    text: str
    """How it stands, for people."""
    frames: int
    """Answered in the shadow."""
    wanted: int
    """Frames that it is to answer there."""
    shadow_s: float | None
    """Since it began, seconds; None while it waits for its turn."""
    waits_for: str | None
    """The newer version that is on its way; None: none is."""
    findings: tuple[Finding, ...]
    """One for each limit."""
    figures: Mapping[str, ArmSummary]
    """Of both arms, ``candidate`` and ``active``."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A patch that is being tried."""

    opened: Opened
    trial: TrialRun
    record: TrialRecord
    began_s: float


class PatchTrial:
    """The shadow of one model's patches. The controller's thread; ``status`` and ``close`` are for any."""

    def __init__(
        self,
        model: str,
        pipeline: Pipeline,
        deployment: Deployment,
        folder: Path,
        crashes: Crashes,
        *,
        view: SampleView | None = None,
        find_version: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is tried yet; ``reconfigure`` gives the limits.

        Args:
            model: Its name in the configuration.
            pipeline: Of the model.
            deployment: Of the model.
            folder: Of the model below the state directory.
            crashes: The account of unexpected failures.
            view: Draws a sample; None: as of a picture in red, green, blue.
            find_version: Name of a newer version that is on its way; None while there is none.
            clock: Monotonic seconds.
            wall_clock: Unix seconds.
        """
        self._model, self._pipeline, self._deployment = model, pipeline, deployment
        self._folder, self._crashes, self._view = folder, crashes, view or PictureView(is_bgr=False)
        self._find_version, self._clock, self._wall_clock = find_version, clock, wall_clock
        self._plan, self._keeps_pictures = RolloutConfig(), False
        self._patch_id: str | None = None
        self._compared_with: Generation | None = None
        self._waits_for: str | None = None
        self._run: _Run | None = None
        self._last: _Run | None = None
        """Kept for its report."""
        self._verdict: RolloutVerdict | None = None
        self._lock = threading.RLock()
        """Guards which run there is."""
        self._is_closed = False

    # ---- called from any thread -----------------------------------------------------------------------------

    def status(self) -> ShadowStatus | None:
        """For people and machines; None while no patch is on its way."""
        patch_id, run, verdict, version = self._patch_id, self._run, self._verdict, self._waits_for
        if patch_id is None:
            return None
        both = None if run is None else run.trial.summaries()
        frames, wanted = 0 if both is None else both.candidate.frames, self._plan.shadow.frames
        where = f"waits until {version} is through" if version is not None else "in the shadow"
        return ShadowStatus(
            patch=patch_id,
            active=str(self._compared_with),
            text=f"{where}: {frames} of {wanted} frames",
            frames=frames,
            wanted=wanted,
            shadow_s=None if run is None else round(self._clock() - run.began_s, 1),
            waits_for=version,
            findings=() if verdict is None else verdict.findings,
            figures={} if both is None else {"candidate": both.candidate, "active": both.active},
        )

    def close(self) -> None:
        """End for good, also what the controller's thread may just be opening."""
        with self._lock:
            self._is_closed = True
            self.end()

    # ---- the controller's thread -----------------------------------------------------------------------------

    @property
    def compared_with(self) -> Generation | None:
        """The generation that the patch is compared with; None while no patch is on its way."""
        return self._compared_with

    @property
    def waits_for(self) -> str | None:
        """The newer version that is on its way, by the last look."""
        return self._waits_for

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of the last look."""
        return () if self._verdict is None else self._verdict.findings

    @property
    def is_running(self) -> bool:
        """Whether the patch answers copies of frames now."""
        return self._run is not None

    def reconfigure(self, plan: RolloutConfig, *, keeps_pictures: bool) -> None:
        """Use other limits (see ``plan_of_patch``) from the next look on, and keep pictures of disagreements or not."""
        self._plan, self._keeps_pictures = plan, keeps_pictures
        if self._run is not None:
            self._run.trial.figures.disagreements.set_pictures(are_kept=keeps_pictures)

    def begin(self, patch_id: str) -> None:
        """Try a patch of the active version as soon as no newer version is on its way."""
        self.end()
        self._patch_id, self._compared_with = patch_id, self._deployment.state.active

    def advance(self) -> RolloutVerdict | None:
        """Open it when its turn comes, then judge it; None while nothing is measured.

        Raises:
            EngineError: the patched model does not run.
            StateError: it cannot be read.
        """
        if self._patch_id is None:
            return None
        version = self._find_version()
        if self._run is not None and (version is not None or self._run.trial.is_over):
            self._forget_run()
        self._waits_for = version
        if version is not None:
            return None
        if self._run is None:
            self._open(self._patch_id)
            return None
        run = self._run
        verdict = run.trial.judge(Stage.SHADOW, self._plan, self._clock() - run.began_s)
        self._verdict = verdict
        return verdict

    def take_out(self) -> Opened | None:
        """End it and give the patch with the engine that was tried; None where it was not opened yet.

        Raises:
            EngineError: an inference hangs on it; the engine is freed when that comes back.
            StateError: closed meanwhile: the model has ended, and nothing of it may become active.
        """
        with self._lock:
            if self._is_closed:
                raise StateError("the model ends")
            run, self._run = self._run, None
            if run is None:
                return None
            if run.trial.take_engine() is None:
                raise EngineError(f"{run.opened.generation}: an inference of it hangs in the shadow")
            return run.opened

    def leave_report(self, decision: Decision, reason: str) -> str | None:
        """Write the page of a patch that was tried; gives ``model/id``, None when there is none."""
        run, patch_id = self._last, self._patch_id
        if run is None:
            return None
        now_s, now_wall_s = self._clock(), self._wall_clock()
        both, record = run.trial.summaries(), run.record
        compared = compare(Stage.SHADOW, both.candidate, both.active, both.pairs)
        record.end_stage(
            Stage.SHADOW, reason, self._verdict, both, compared, now_s=now_s, now_wall_s=now_wall_s
        )
        return record.leave_report(
            is_promoted=decision == "used",
            reason=reason,
            shots=run.trial.figures.disagreements.worst(),
            patch=patch_id,
            waits=decision == "waits",
        )

    def end(self) -> None:
        """Try it no longer; its engine is freed."""
        self._forget_run()
        self._patch_id = self._compared_with = self._waits_for = None

    def _open(self, patch_id: str) -> None:
        opened = self._deployment.open(patch_id)
        trial = self._put_in_shadow(opened)
        now_s, now_wall_s = self._clock(), self._wall_clock()
        name, active = str(opened.generation), str(self._compared_with)
        record = TrialRecord(self._model, name, active, self._folder, now_s=now_s, now_wall_s=now_wall_s)
        with self._lock:
            if self._is_closed:
                trial.end()
            else:
                self._run = self._last = _Run(opened, trial, record, now_s)

    def _put_in_shadow(self, opened: Opened) -> TrialRun:
        slot = EngineSlot(opened.generation, opened.engine)
        arm = Arm(self._pipeline.preprocessor, slot, self._pipeline.postprocessor)
        disagreements = Disagreements(self._view)
        disagreements.set_pictures(are_kept=self._keeps_pictures)
        name = str(opened.generation)
        candidate = Candidate(name, None, arm, is_prepared_alike=True, disagreements=disagreements)
        trial = TrialRun(self._model, candidate, self._pipeline, self._crashes, gives_way=True)
        with ExitStack() as on_error:
            on_error.callback(trial.end)
            trial.enter(Stage.SHADOW, self._plan)
            on_error.pop_all()
        return trial

    def _forget_run(self) -> None:
        with self._lock:
            run, self._run, self._last, self._verdict = self._run, None, None, None
        if run is not None:
            run.trial.end()
