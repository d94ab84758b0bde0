"""Why the drift of one model is not watched, or not corrected, in words for an operator."""

from edge_runtime.config import RecalibrationConfig
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.planner import TaskPlanner
from edge_runtime.recalibration.proposals import Proposals
from edge_runtime.recalibration.task import Phase, Task
from edge_runtime.recalibration.task_runner import TaskRunner
from edge_runtime.recalibration.trials import PatchTrials
from edge_runtime.system.autonomy import Autonomy


class Concern:
    """Looks at the parts of a controller; safe from any thread."""

    def __init__(
        self,
        context: ModelContext,
        policy: PatchPolicy,
        baselines: ActiveBaselines,
        watch: DriftWatch,
        runner: TaskRunner,
        planner: TaskPlanner,
        proposals: Proposals,
        trials: PatchTrials,
    ) -> None:
        self._context, self._policy, self._baselines, self._watch = context, policy, baselines, watch
        self._runner, self._planner = runner, planner
        self._proposals, self._trials = proposals, trials

    def find(self, settings: RecalibrationConfig, autonomy: Autonomy) -> str | None:
        """None when all is well, and while a task or a patch in the shadow corrects the drift of now."""
        phase, task = self._task
        if task is not None:
            if self._watch.is_open or not settings.enabled:
                return None
            return f"drift is not watched yet: {task.kind} is {phase} (up to {task.wanted} frames)"
        for kind, reason in self._planner.impossible.items():
            return f"{kind} is not possible: {reason}"
        if not self._watch.is_open:
            cause = self._baselines.blocked or "there is no baseline"
            missing = f"drift is not watched: {cause}; send 'commission' while the site is healthy"
            return missing if settings.enabled else None
        shadow = self._trials.status()
        if shadow is not None:
            return None if shadow.waits_for is None else f"patch {shadow.patch} {shadow.text}"
        waiting = self._proposals.waiting
        if waiting is not None:
            return f"patch {waiting.patch} waits for a decision: send 'approve-patch' or 'reject-patch'"
        score = self._watch.drift_score
        if score is None or self._policy.corrected_by is not None:
            return None
        return f"drift, score {score:.3g}, is not corrected: {self._why_not_corrected(settings, autonomy)}"

    def is_baseline_under_way(self, settings: RecalibrationConfig) -> bool:
        """Whether drift will be watched when a task has ended that has begun."""
        _, task = self._task
        return task is not None and settings.enabled and not self._watch.is_open

    @property
    def _task(self) -> tuple[Phase, Task | None]:
        """Phase and task; None instead of a dry run, which corrects nothing."""
        phase, task = self._runner.state
        return phase, None if task is not None and task.is_dry_run else task

    def _why_not_corrected(self, settings: RecalibrationConfig, autonomy: Autonomy) -> str:
        if self._policy.is_left_alone:
            return "its patch was rolled back or rejected; send 'recalibrate' for another one"
        if autonomy == "observe":
            return "the autonomy is 'observe', by recalibration.autonomy or the bundle: no patch is used"
        if not settings.enabled or not settings.on_drift:
            key = "on_drift" if settings.enabled else "enabled"
            return f"recalibration.{key} is false in the configuration"
        reason = self._baselines.why_no_patch()
        if reason is not None:
            return reason
        now_s = self._context.clock()
        waits = {
            "recalibration.cooldown_s, doubled by each one in vain": self._planner.cooldown_left_s(now_s),
            "recalibration.most_a_day": self._planner.budget_left_s(now_s),
        }
        key, wait_s = max(waits.items(), key=lambda item: item[1])
        return f"the next recalibration may begin in {wait_s:.0f} s ({key})" if wait_s else "it begins"
