"""What each verb does to the recalibration of one model. The controller's thread carries it out."""

from typing import Any

from edge_runtime.config import RecalibrationConfig
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.rollout import IllegalStep, Step
from edge_runtime.errors import CommandError
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.baselines.commands import BaselineCommands
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.proposals import Proposals
from edge_runtime.recalibration.task import Cause, Kind, Task, TaskRequest
from edge_runtime.recalibration.task_runner import TaskRunner
from edge_runtime.recalibration.trials import PatchTrials
from edge_runtime.system.autonomy import Autonomy

SINCE_EVER_S = float("-inf")
"""All frames that are kept count."""


class Verbs:
    """Begins tasks, and does at once what takes no time."""

    def __init__(
        self,
        context: ModelContext,
        deployment: Deployment,
        baselines: ActiveBaselines,
        patch_policy: PatchPolicy,
        runner: TaskRunner,
        proposals: Proposals,
        trials: PatchTrials,
    ) -> None:
        self._deployment, self._baselines, self._patch_policy = deployment, baselines, patch_policy
        self._runner, self._proposals, self._trials = runner, proposals, trials
        self._baseline_commands = BaselineCommands(context, baselines)

    def obey(self, request: TaskRequest, settings: RecalibrationConfig, autonomy: Autonomy) -> dict[str, Any]:
        """Carry out a request; gives the data of its answer.

        Raises:
            CommandError: not possible now.
        """
        match request.verb:
            case "rollback":
                return self._roll_back()
            case "recalibrate":
                return self._recalibrate(request, settings)
            case "commission":
                self._baseline_commands.require_room(request.approval.name or settings.commission.name)
                return _describe(self._runner.begin(Kind.COMMISSION, Cause.COMMAND, SINCE_EVER_S, request))
            case "approve-patch":
                return self._approve(request, settings, autonomy)
            case "reject-patch":
                return {"rejected": self._proposals.reject(request.patch)}
            case _:
                return self._baseline_commands.obey(request)

    def _roll_back(self) -> dict[str, Any]:
        try:
            self._patch_policy.take_back("command", Step.ROLL_BACK)
        except IllegalStep as err:
            tried = self._trials.patch
            hint = (
                f"'reject-patch' ends the shadow of patch {tried}"
                if tried is not None
                else "to an earlier version: models.NAME.version with its number, or 'rollout abort' while a new one "
                "is watched"
            )
            raise CommandError(f"the base is active: there is no patch to take back; {hint}") from err
        self._trials.withdraw("what it was compared with was rolled back")
        return {"generation": str(self._deployment.state.active)}

    def _recalibrate(self, request: TaskRequest, settings: RecalibrationConfig) -> dict[str, Any]:
        if not settings.enabled:
            raise CommandError("recalibration is turned off in the configuration: recalibration.enabled")
        self._runner.require_idle()  # a baseline that is missing may be the one that is being recorded
        reason = self._baselines.why_no_patch()
        if reason is not None:
            raise CommandError(reason)
        return _describe(self._runner.begin(Kind.RECALIBRATE, Cause.COMMAND, SINCE_EVER_S, request))

    def _approve(
        self, request: TaskRequest, settings: RecalibrationConfig, autonomy: Autonomy
    ) -> dict[str, Any]:
        if autonomy == "observe":
            raise CommandError("no patch is used: the autonomy is 'observe'")
        generation = self._proposals.approve(request.patch)
        if generation is None:
            return {"shadow": self._trials.patch, "frames_wanted": settings.shadow_frames}
        return {"generation": str(generation)}


def _describe(task: Task) -> dict[str, Any]:
    dry = {"dry_run": True} if task.is_dry_run else {}
    used = {"reference": task.reference.name} if task.kind is Kind.RECALIBRATE else {}
    return {"begun": str(task.kind), "frames_wanted": task.wanted, **used, **dry}
