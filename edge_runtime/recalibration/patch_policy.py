"""Which generation may be active: a patch is valid while its drift lasts and the baseline it was made from is in use.

Takes patches back when either has ended, names the one to judge first when its drift comes again, brings one back when
its baseline does, and keeps one that an operator rolled back from coming back by itself. Always whole generations,
made from bundle and baseline.
"""

import structlog

from calibration.baseline.baseline import Baseline
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.deployment import Deployment, Opened
from edge_runtime.deployment.rollout import Step
from edge_runtime.errors import EdgeRuntimeError, StateError
from edge_runtime.messaging.events import (
    BaselineChanged,
    DriftAlarm,
    PatchesPaused,
    PatchResumed,
    RolledBack,
)
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.baseline_selector import Change
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.task import Cause

log = structlog.get_logger()

ENGINE_FAILURES = 5  # in a row; then the generation before takes over


def is_same_drift(score: float, answered: float | None) -> bool:
    """Whether a drift of this score is the one that was answered at that score; None: no drift is answered.

    One that has moved far needs another patch.
    """
    return answered is not None and answered > 0 and 0.5 <= score / answered <= 2.0


class PatchPolicy:
    """Ties the active generation to the drift and the baseline in use."""

    def __init__(
        self, context: ModelContext, deployment: Deployment, baselines: ActiveBaselines, watch: DriftWatch
    ) -> None:
        self._deployment, self._model_state, self._emit = deployment, context.model_state, context.emit
        self._baselines, self._watch = baselines, watch
        self._judged = set[str]()
        """Known patches that were judged since this drift began: none is judged twice."""
        self._answered_score: float | None = None
        """Of the drift that was answered already, by a patch or by the roll-back of one."""
        # Made under a drift that was not seen again since the watch began: it may have ended unnoticed.
        self._is_patch_in_doubt = deployment.is_patched_by(Cause.DRIFT)
        self._baseline = baselines.in_use
        self._checked: tuple[str | None, str | None] = (None, None)
        self._reported: str | None = None
        self.may_resume = True
        """Whether a patch comes back with its baseline."""
        self.rollbacks = self.alarms = 0

    # ---- the drift ------------------------------------------------------------------------------------------

    def react(self, change: Change | None) -> None:
        """Draw the consequences of one look of the drift watch, except making a new patch."""
        if change == "alarm":
            self._is_patch_in_doubt = False
            active = self._deployment.state.active.patch
            if active is not None and self._watch.known_drift == active:
                self._answered_score = self._watch.drift_score  # after a restart
            if self.corrected_by is None:  # what a patch answers is no news, however long it lasts
                self._alarm()
        elif change == "returned" or (self._is_patch_in_doubt and self._is_base_seen()):
            self._answered_score, self._is_patch_in_doubt = None, True  # until it is taken back
            self._judged.clear()
            if self._deployment.is_patched:
                self.take_back("the drift is over: the base fits again")
            self._is_patch_in_doubt = False

    def _alarm(self) -> None:
        figures = self._watch.figures()
        assert figures is not None, "an alarm follows a frame"
        self.alarms += 1
        self._emit(DriftAlarm(figures))

    def _is_base_seen(self) -> bool:
        """Whether the camera shows the baseline, and not the drift that the active patch was made for.

        A slow drift has a low score: what tells it apart after a restart is its own picture, not the sum of the excess.
        """
        active = self._deployment.state.active.patch
        return self._watch.is_quiet and not (active is not None and self._watch.is_nearer_to_drift(active))

    @property
    def corrected_by(self) -> str | None:
        """The active patch, if it answers the drift of now; None without a drift. Safe from any thread."""
        score, active = self._watch.drift_score, self._deployment.state.active.patch
        return active if score is not None and is_same_drift(score, self._answered_score) else None

    @property
    def is_left_alone(self) -> bool:
        """Whether there is a drift whose patch was rolled back: it is not made again. Safe from any thread."""
        score = self._watch.drift_score
        is_answered = score is not None and is_same_drift(score, self._answered_score)
        return is_answered and not self._deployment.is_patched

    def doubt_patch(self) -> None:
        """The watch begins anew and does not know that there was a drift."""
        is_drifted = self._watch.drift_score is not None
        self._is_patch_in_doubt |= is_drifted and self._deployment.is_patched

    @property
    def needs_answer(self) -> bool:
        """There is a drift that neither a patch nor the roll-back of one has answered."""
        score = self._watch.drift_score
        return score is not None and not is_same_drift(score, self._answered_score)

    def may_patch(self) -> bool:
        """Whether a patch may be made from the baseline in use; a reason against it is published once."""
        reason = self._baselines.why_no_patch()
        if reason is not None and reason != self._reported:
            self._emit(PatchesPaused(reason))
        self._reported = reason
        return reason is None

    def settle_known_drift(self) -> bool:
        """Whether the drift is one that has its answer: the active patch, or an operator who took its patch back.

        Then it stays as it is, until a command.
        """
        patch_id = self._watch.known_drift if self.needs_answer else None
        if patch_id is None:
            return False
        is_active = self._deployment.state.active.patch == patch_id and self._may_be_used(patch_id)
        if not is_active and self._model_state.read_withdrawal(patch_id) != Cause.COMMAND:
            return False
        self._answered_score = self._watch.drift_score
        return True

    @property
    def known_patch(self) -> str | None:
        """The patch that was accepted for this very drift before, to be judged again; None when there is none.

        Nor is there when it was judged already since the drift began.
        """
        patch_id = self._watch.known_drift if self.needs_answer else None
        if patch_id is None or patch_id in self._judged or not self._may_be_used(patch_id):
            return None
        return patch_id

    @property
    def patch_to_start_from(self) -> str | None:
        """The active patch, where it was made from the baseline in use and there is a drift, which may have grown."""
        active = self._deployment.state.active.patch
        if active is None or self._watch.drift_score is None or not self._may_be_used(active):
            return None
        return active

    def note_judged(self, patch_id: str) -> None:
        """A known patch was judged for this drift, whatever came of it."""
        self._judged.add(patch_id)

    def reuse(self, patch_id: str, cause: str, opened: Opened | None = None) -> Generation:
        """Use a patch that the gate accepted before; one that does not run is withdrawn, the active one goes on.

        Args:
            patch_id: Which.
            cause: Of its recalibration.
            opened: The patch with its engine, where it was tried; None: it is opened now. Closed when it is not used.

        Raises:
            EngineError, StateError: it was taken back meanwhile, does not run or cannot be read; nothing was changed.
        """
        if not self._may_be_used(patch_id):
            if opened is not None:
                opened.engine.close()
            raise StateError(f"patch {patch_id} may not be used any more")
        if patch_id == self.active_patch:
            if opened is not None:
                opened.engine.close()
            self._note_answer(cause)
            return self._deployment.state.active
        try:
            return self.activate(patch_id, cause, opened)
        except EdgeRuntimeError as err:
            self.withdraw(patch_id, str(err))
            raise

    def leave_alone(self, patch_id: str) -> None:
        """An operator does not want this patch: it is not used, and the drift of now gets no other one by itself."""
        self.withdraw(patch_id, Cause.COMMAND)
        self._answered_score = self._watch.drift_score

    @property
    def active_patch(self) -> str | None:
        """Id of the patch that is active."""
        return self._deployment.state.active.patch

    def prune(self, spare: set[str]) -> None:
        """Remove the oldest patches, but these and those that are active or were before."""
        self._deployment.prune(spare)

    def _may_be_used(self, patch_id: str) -> bool:
        baseline = self._baselines.in_use
        return (
            baseline is not None
            and self._model_state.read_baseline_id(patch_id) == baseline.id
            and not self._model_state.is_withdrawn(patch_id)
            and self._baselines.why_no_patch() is None
        )

    # ---- the baseline ---------------------------------------------------------------------------------------

    def follow_baseline(self) -> bool:
        """Make the generation fit the baseline in use; True when another baseline has come into use."""
        before, now = self._baseline, self._baselines.in_use
        has_switched = before is not now and before is not None and (now is None or now.id != before.id)
        self._baseline = now
        if has_switched and before is not None:
            self._switch(before, now)
        elif before is None and now is not None:
            self._baselines.note_switch(None, None)
        self._take_back_misfit()
        return has_switched

    def _switch(self, before: Baseline, now: Baseline | None) -> None:
        active = self._deployment.state.active.patch
        suspended = None if self._deployment.is_patched_by(Cause.DRIFT) else active
        waiting = self._baselines.suspended_patch
        self._answered_score, self._is_patch_in_doubt = None, False
        self._judged.clear()
        self._baselines.note_switch(before, suspended)
        if now is not None and now.name != before.name:
            self._emit(BaselineChanged(before.name, now.name, self._baselines.scores()))
        if active is not None:
            self.take_back("another baseline is in use; patches of the one before do not count")
        if waiting is not None and self.may_resume and not self._model_state.is_withdrawn(waiting):
            self._resume_patch(waiting)

    def _resume_patch(self, patch_id: str) -> None:
        try:
            generation = self.activate(patch_id, Cause.COMMAND)
        except EdgeRuntimeError as err:
            log.error(
                "the patch of this baseline cannot be used, the base is", patch=patch_id, reason=str(err)
            )
            return
        self._emit(PatchResumed(generation, "it was active with this baseline before"))

    def _take_back_misfit(self) -> None:
        """After a restart or a roll-back a patch of another baseline may be active; without any baseline none may."""
        active, baseline = self._deployment.state.active.patch, self._baseline
        state = (active, None if baseline is None else baseline.name)
        if active is None or state == self._checked:
            return
        self._checked = state
        made_from = self._model_state.read_baseline_id(active)
        if baseline is None and not self._baselines.usable:
            self.take_back("there is no baseline any more")
        elif baseline is not None and made_from not in (None, baseline.id):
            self.take_back("it was made from another baseline than the one in use")

    # ---- the generation -------------------------------------------------------------------------------------

    def activate(self, patch_id: str, cause: str, opened: Opened | None = None) -> Generation:
        """Use a patch, which was opened already or is now; it answers the drift of now.

        Raises:
            EngineError, StateError: it does not run or cannot be read; nothing was changed.
        """
        deployment = self._deployment
        generation = deployment.activate(patch_id) if opened is None else deployment.put_in(opened)
        self._note_answer(cause)
        return generation

    def _note_answer(self, cause: str) -> None:
        self._answered_score = self._watch.drift_score
        # The drift may have ended while the process worked.
        self._is_patch_in_doubt = cause == Cause.DRIFT and self._answered_score is None

    def take_back(self, reason: str, step: Step = Step.TO_BASE) -> None:
        """Return to the base or the previous generation.

        Raises:
            IllegalStep: the base is active already.
            BundleError, EngineError: not even the base can be built.
        """
        before, after = self._deployment.take_back(step)
        if step is Step.ROLL_BACK and before.patch is not None:
            self.withdraw(before.patch, reason)
        # A roll-back under a drift is a decision: the same drift must not bring the patch back.
        self._answered_score = None if step is Step.TO_BASE else self._watch.drift_score
        self.rollbacks += 1
        self._emit(RolledBack(before, after, reason))

    def guard_engine(self) -> None:
        """Take a patch back under which the engine keeps failing."""
        failures = self._deployment.failures_in_a_row
        if self._deployment.is_patched and failures >= ENGINE_FAILURES:
            self.take_back(f"the engine failed {failures} times in a row", Step.ROLL_BACK)

    def withdraw(self, patch_id: str, reason: str) -> None:
        """Note that a patch is not to come back by itself."""
        try:
            self._model_state.withdraw(patch_id, reason)
        except StateError as err:
            log.error("cannot note that a patch was withdrawn", patch=patch_id, reason=str(err))
