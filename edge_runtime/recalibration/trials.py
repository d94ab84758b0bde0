"""A patch that the gate accepted, tried in the shadow of what answers before it becomes active: what its verdict means.

It passes and is used, fails and is withdrawn, or waits for a person when its time is over; it ends without a verdict
when its drift is over, another baseline is in use, what it is compared with was taken back, or a newer patch comes.
Nothing on the disk says that it is to become active: after a restart one that was approved waits again, any other
is a known patch, which the gate judges first when its drift comes again. How it is tried is in
``deployment.patch_trial``.
"""

from dataclasses import dataclass

from edge_runtime.config import RecalibrationConfig, RolloutConfig
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.patch_trial import Decision, PatchTrial, ShadowStatus
from edge_runtime.deployment.rollout_policy.plan import plan_of_patch
from edge_runtime.deployment.rollout_policy.verdict import VerdictKind, as_fields
from edge_runtime.errors import EdgeRuntimeError, StateError
from edge_runtime.messaging.events import PatchTried, RecalibrationReport, ShadowOutcome
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.baseline_selector import Change
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.follower import TaskFollower
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.proposal import PendingPatch, Proposal
from edge_runtime.system.autonomy import Autonomy
from edge_runtime.system.supervised_thread import Crashes

_DECISIONS: dict[ShadowOutcome, Decision] = {
    "active": "used",
    "refused": "refused",
    "inconclusive": "waits",
}
"""Ends that leave a page."""


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """How the shadow of a patch ended."""

    proposal: Proposal
    outcome: ShadowOutcome
    reason: str
    report: RecalibrationReport | None
    """Of the recalibration that has just made it; None where a person approved the patch later."""
    page: str | None
    """``model/id`` of the page of its shadow."""
    generation: Generation | None = None
    """Active now; only then."""
    follower: TaskFollower | None = None
    """Of the recalibration that has just made it."""


class PatchTrials:
    """Owned by the controller's thread; ``status`` may be asked from any."""

    def __init__(
        self,
        context: ModelContext,
        policy: PatchPolicy,
        baselines: ActiveBaselines,
        watch: DriftWatch,
        trial: PatchTrial,
        crashes: Crashes,
        settings: RecalibrationConfig,
    ) -> None:
        self._context, self._policy, self._crashes = context, policy, crashes
        self._baselines, self._watch, self._trial = baselines, watch, trial
        self._pending: PendingPatch | None = None
        self._report: RecalibrationReport | None = None
        self.follower: TaskFollower | None = None
        """Waits for the end of the recalibration that made the patch on its way."""
        self._said: tuple[str, str] | None = None
        self._settings = settings

    def reconfigure(self, settings: RecalibrationConfig, rollout: RolloutConfig | None) -> None:
        """Use other settings from the next look on; ``rollout`` has the limits, None stands for the defaults."""
        self._settings = settings
        plan = plan_of_patch(rollout or RolloutConfig(), settings.shadow_frames, settings.shadow_longest_s)
        self._trial.reconfigure(plan, keeps_pictures=settings.reference.pictures == "keep")

    @property
    def is_on(self) -> bool:
        """Whether patches are tried before they become active."""
        return self._settings.shadow_frames > 0

    @property
    def patch(self) -> str | None:
        """Id of the patch on its way; None while there is none."""
        return None if self._pending is None else self._pending.proposal.patch

    @property
    def answers_drift(self) -> bool:
        """Whether a patch is on its way that would correct the drift of now: no other one is made meanwhile."""
        return self._pending is not None and self._pending.answers_drift

    def status(self) -> ShadowStatus | None:
        """For people and machines; None while no patch is on its way."""
        return self._trial.status()

    def begin(
        self,
        proposal: Proposal,
        report: RecalibrationReport | None = None,
        follower: TaskFollower | None = None,
    ) -> None:
        """Try a patch from the next look on; one that is on its way makes room for it. The active one is not tried."""
        assert proposal.patch != self._policy.active_patch, "what is active needs no shadow"
        self.withdraw(f"a newer patch takes its place: {proposal.patch}")
        self._pending, self._report = PendingPatch(proposal, self._baselines, self._watch), report
        self.follower = follower
        self._trial.begin(proposal.patch)

    def reject(self) -> str:
        """Never use the patch on its way; its drift stays as it is until a command. Gives its id."""
        assert self._pending is not None, "there is one"
        patch_id = self._pending.proposal.patch
        self._policy.leave_alone(patch_id)
        self._give_up("rejected", "command")
        return patch_id

    def withdraw(self, reason: str) -> None:
        """End the shadow of the patch on its way, if there is one."""
        if self._pending is not None:
            self._give_up("withdrawn", reason)

    def follow_drift(self, change: Change | None) -> None:
        """Draw the consequences of one look of the drift watch."""
        reason = None if self._pending is None else self._pending.follow_drift(change)
        if reason is not None:
            self.withdraw(reason)

    def advance(self, autonomy: Autonomy, waiting: str | None) -> TrialEnd | None:
        """Go on; how it ended when it just has with something to note. ``waiting`` is the patch that waits, if any."""
        if self._pending is None:
            return None
        pending = self._pending
        reason = pending.find_misfit(autonomy) or self._find_obstacle()
        if reason is not None:
            self.withdraw(reason)
            return None
        with self._crashes.contain("patch-trial") as contained:
            return self._go_on(pending.proposal, waiting)
        return self._fail(pending.proposal, f"failed unexpectedly: {contained.error!r}")

    def close(self) -> None:
        """Free the engine of a patch on its way, also of one that the controller's thread is just opening."""
        self._trial.close()

    def _find_obstacle(self) -> str | None:
        if not self._settings.enabled:
            return "recalibration is turned off in the configuration: recalibration.enabled"
        other = self._trial.compared_with
        if other is not None and other.patch != self._policy.active_patch:
            active = self._policy.active_patch
            return f"it was compared with {other}; {active or 'the base'} is active now"
        return None

    def _go_on(self, proposal: Proposal, waiting: str | None) -> TrialEnd | None:
        if not self.is_on:
            return self._use(proposal, "no shadow is wanted any more: recalibration.shadow_frames is 0")
        try:
            verdict = self._trial.advance()
        except EdgeRuntimeError as err:
            return self._fail(proposal, str(err))
        self._say_where()
        if verdict is None:
            return None
        match verdict.kind:
            case VerdictKind.PASS:
                return self._use(proposal, verdict.text)
            case VerdictKind.FAIL:
                self._policy.withdraw(proposal.patch, f"in the shadow: {verdict.text}")
                return self._end("refused", verdict.text)
            case VerdictKind.INCONCLUSIVE if waiting not in (None, proposal.patch):
                self.withdraw(f"{verdict.text}; a newer patch waits for a person: {waiting}")
            case VerdictKind.INCONCLUSIVE:
                return self._end("inconclusive", verdict.text)
        return None

    def _use(self, proposal: Proposal, reason: str) -> TrialEnd | None:
        try:
            opened = self._trial.take_out()
        except StateError as err:  # the patch is as good as before
            self.withdraw(str(err))
            return None
        except EdgeRuntimeError as err:
            return self._fail(proposal, str(err))
        try:
            generation = self._policy.reuse(proposal.patch, proposal.cause, opened)
        except EdgeRuntimeError as err:
            return self._end("failed", str(err))
        return self._end("active", reason, generation)

    def _fail(self, proposal: Proposal, reason: str) -> TrialEnd:
        self._policy.withdraw(proposal.patch, reason)
        return self._end("failed", reason)

    def _give_up(self, outcome: ShadowOutcome, reason: str) -> None:
        end = self._end(outcome, reason)
        if end.follower is not None:
            end.follower.give_up(f"patch {end.proposal.patch} was {outcome} in the shadow: {reason}")

    def _end(self, outcome: ShadowOutcome, reason: str, generation: Generation | None = None) -> TrialEnd:
        assert self._pending is not None, "a patch is on its way"
        proposal, report, trial, follower = self._pending.proposal, self._report, self._trial, self.follower
        decision = _DECISIONS.get(outcome)
        page = None if decision is None else trial.leave_report(decision, reason)
        self._say(outcome, reason, page, generation)
        trial.end()
        self._pending = self._report = self._said = self.follower = None
        return TrialEnd(proposal, outcome, reason, report, page, generation, follower)

    def _say_where(self) -> None:
        """Once when the shadow begins, and when it has to wait."""
        version, frames = self._trial.waits_for, self._settings.shadow_frames
        if version is not None:
            self._say_once("waits", f"{version} is on its way; the shadow begins when that is through")
        elif self._trial.is_running:
            self._say_once("begun", f"the gate accepted it; it answers {frames} frames in the shadow")

    def _say_once(self, outcome: ShadowOutcome, reason: str) -> None:
        if self._said != (outcome, reason):
            self._said = outcome, reason
            self._say(outcome, reason)

    def _say(
        self,
        outcome: ShadowOutcome,
        reason: str,
        page: str | None = None,
        generation: Generation | None = None,
    ) -> None:
        patch, other, findings = self.patch, self._trial.compared_with, self._trial.findings
        assert patch is not None, "a patch is on its way"
        self._context.emit(
            PatchTried(patch, outcome, str(other), reason, as_fields(findings), page, generation)
        )
