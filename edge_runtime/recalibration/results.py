"""Turns the result of a task into a baseline in use, a patch that is active, or an event that says why not."""

from dataclasses import replace
from pathlib import Path

from calibration.errors import CalibrationError
from calibration.search.candidates import UNPATCHED
from edge_runtime.deployment.reports import Reports, forget_thumbnails
from edge_runtime.errors import EdgeRuntimeError, StateError
from edge_runtime.messaging.events import (
    Commissioned,
    DryRunEnded,
    PatchObserved,
    PatchProposed,
    Recalibrated,
    RecalibrationRefused,
    RecalibrationReport,
    TaskFailed,
)
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.follower import TaskEnd, TaskFollower
from edge_runtime.recalibration.job.messages import CommissioningResult, JobFailure, JobResult
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.planner import TaskPlanner
from edge_runtime.recalibration.proposal import Proposal, make_proposal
from edge_runtime.recalibration.proposals import Proposals
from edge_runtime.recalibration.reference.live_reference_set import LiveReferenceSet
from edge_runtime.recalibration.task import Task
from edge_runtime.recalibration.trials import PatchTrials, TrialEnd
from edge_runtime.system.autonomy import Autonomy
from edge_runtime.system.own_folder import make_folder, remove

OTHER_BASELINE = "another baseline has come into use meanwhile; the patch is not used"


class TaskResults:
    """Takes results and counts them."""

    def __init__(
        self,
        context: ModelContext,
        baselines: ActiveBaselines,
        patch_policy: PatchPolicy,
        planner: TaskPlanner,
        reference: LiveReferenceSet,
        proposals: Proposals,
        trials: PatchTrials,
        watch: DriftWatch,
    ) -> None:
        self._context, self._model_state, self._emit = context, context.model_state, context.emit
        self._baselines, self._patch_policy, self._planner = baselines, patch_policy, planner
        self._reference, self._reports = reference, Reports(self._model_state.folder)
        self._proposals, self._trials, self._watch = proposals, trials, watch
        self.autonomy: Autonomy = "auto"
        """What becomes of an accepted patch; may be changed at any time."""
        self.accepted = self.refused = self.failed = self.recalibrations = 0
        self.last_report: RecalibrationReport | None = None

    def take(self, task: Task, result: JobResult) -> None:
        """Use a result, and publish what became of the task: of a patch that goes into the shadow later."""
        is_done = False
        try:
            end = self._use(task, result)
            if end is not None:
                self._publish(end, task.follower)
            is_done = True
        finally:
            if not is_done and task.follower is not None:
                task.follower.give_up("its result could not be used, for a reason that is in the log")

    def _publish(self, end: TaskEnd, follower: TaskFollower | None) -> None:
        self._emit(end)
        if follower is not None:
            follower.tell(end)

    def _use(self, task: Task, result: JobResult) -> TaskEnd | None:
        folder = self._model_state.job_folder(task.kind)
        if task.is_dry_run:
            return self._take_dry_run(task, folder, result)
        if task.known is not None:
            self._patch_policy.note_judged(task.known)
        if isinstance(result, JobFailure):
            return self._fail(task, result)
        self._planner.note_result(task.kind)
        try:
            if isinstance(result, CommissioningResult):
                return self._take_baseline(folder, result)
            return self._take_report(task, folder, result)
        except (CalibrationError, EdgeRuntimeError, OSError) as err:
            return self._fail(task, JobFailure(str(err)))

    def _take_dry_run(self, task: Task, folder: Path, result: JobResult) -> TaskEnd:
        """Keep the report; nothing else is noted, counted or kept of a dry run."""
        baseline = self._baselines.in_use
        report_id = None if isinstance(result, JobFailure) else self._reports.keep(folder / "report", "d")
        remove(folder, below=self._model_state.folder)  # with the patch
        if not isinstance(result, RecalibrationReport):
            assert isinstance(result, JobFailure), "a commissioning has no dry run"
            return _describe_failure(task, result)
        if baseline is None or baseline.id != result.baseline_id:
            return _describe_failure(task, JobFailure(OTHER_BASELINE))
        return DryRunEnded(self._add_page(result, report_id))

    def goes_into_shadow(self, report: RecalibrationReport) -> bool:
        """Whether its patch is tried first, so that the shadow decides what became of the recalibration."""
        return (
            report.accepted and self.autonomy == "auto" and self._trials.is_on and not self._is_active(report)
        )

    def _is_active(self, report: RecalibrationReport) -> bool:
        """Whether the gate accepted what is active: it goes on, nothing is decided or tried."""
        return report.is_known and report.candidate == self._patch_policy.active_patch

    def _fail(self, task: Task, failure: JobFailure) -> TaskFailed:
        self.failed += 1
        if failure.is_lasting:
            self._planner.note_failure(task.kind, failure.error)
        return _describe_failure(task, failure)

    def _take_baseline(self, folder: Path, result: CommissioningResult) -> Commissioned:
        self._patch_policy.doubt_patch()
        baseline = self._baselines.take(folder)
        self._planner.note_baseline()
        self._patch_policy.follow_baseline()
        return Commissioned(baseline.name, result.frames, result.taps, result.effective_frames)

    def _take_report(self, task: Task, folder: Path, report: RecalibrationReport) -> TaskEnd | None:
        """None: the patch goes into the shadow."""
        self.recalibrations += 1
        if not report.accepted:
            self.refused += 1
            self.last_report = self._add_page(report, self._reports.keep(folder / "report"))
            return RecalibrationRefused(self.last_report)
        self.last_report = report
        if self.autonomy == "observe":
            return self._observe(folder, report)
        baseline = self._baselines.in_use
        if baseline is None or report.baseline_id != baseline.id:
            raise StateError(OTHER_BASELINE)
        patch_id, self.last_report = self._keep_patch(folder, report)
        self._patch_policy.prune({patch_id, *self._pending_ids()})
        proposal = make_proposal(self._context, self._watch, patch_id, self.last_report)
        if self.autonomy == "propose" and not self._is_active(report):
            return self._propose(proposal, self.last_report)
        if self.goes_into_shadow(report):
            self._proposals.withdraw(f"a newer patch goes into the shadow: {patch_id}")
            self._trials.begin(proposal, self.last_report, task.follower)
            self._baselines.follow_patches()
            return None
        if report.is_known:
            generation = self._patch_policy.reuse(patch_id, task.cause)
        else:
            generation = self._patch_policy.activate(patch_id, task.cause)
            self._baselines.follow_patches()
        self.accepted += 1
        return Recalibrated(self.last_report, generation)

    def _keep_patch(self, folder: Path, report: RecalibrationReport) -> tuple[str, RecalibrationReport]:
        """The id of the patch, which is moved in unless it is a known one, and the report with its page."""
        if report.is_known:
            return report.candidate, self._add_page(report, self._reports.keep(folder / "report"))
        patch_id = self._model_state.make_patch_id()
        self._model_state.adopt(folder / "patch", patch_id)
        return patch_id, self._add_page(report, patch_id)

    def _pending_ids(self) -> set[str]:
        """Of the patch that waits and of the one in the shadow."""
        waiting = self._proposals.waiting
        ids = (None if waiting is None else waiting.patch, self._trials.patch)
        return {patch_id for patch_id in ids if patch_id is not None}

    def _propose(self, proposal: Proposal, report: RecalibrationReport) -> PatchProposed:
        self._proposals.propose(proposal)
        self._baselines.follow_patches()
        self.accepted += 1
        return PatchProposed(report, proposal.patch)

    def take_trial(self, end: TrialEnd) -> None:
        """Note how the shadow of a patch ended, as if the gate had decided it, and publish that."""
        found = self._judge_trial(end)
        if found is not None:
            self._publish(found, end.follower)

    def _judge_trial(self, end: TrialEnd) -> TaskEnd | None:
        """None where a person had approved the patch: the event of its shadow says how it ended."""
        match end.outcome:
            case "active":
                self._baselines.follow_patches()
                if end.report is not None and end.generation is not None:
                    self.accepted += 1
                    return Recalibrated(end.report, end.generation)
            case "refused":
                self.refused += 1
                if end.report is not None:
                    self.last_report = self._refuse(end.report, end)
                    return RecalibrationRefused(self.last_report)
            case "inconclusive":
                return self._ask(end)
            case "failed":
                return self._fail_trial(end, end.reason)
        return None

    def _refuse(self, report: RecalibrationReport, end: TrialEnd) -> RecalibrationReport:
        """The gate's report, with the reason of the shadow first and its page."""
        return replace(
            report,
            accepted=False,
            candidate=UNPATCHED,
            reasons=(f"in the shadow: {end.reason}", *report.reasons),
            patch=None,
            model_sha256=self._context.identity.model_sha256,
            report=end.page or report.report,
            is_known=False,
        )

    def _ask(self, end: TrialEnd) -> TaskEnd | None:
        proposal = replace(end.proposal, shadow=end.reason, report=end.page or end.proposal.report)
        try:
            if end.report is not None:
                return self._propose(proposal, end.report)
            self._proposals.propose(proposal)
        except StateError as err:
            return self._fail_trial(end, str(err))
        return None

    def _fail_trial(self, end: TrialEnd, reason: str) -> TaskFailed:
        self.failed += 1
        return TaskFailed("recalibrate", reason, end.proposal.cause, is_lasting=False)

    def _observe(self, folder: Path, report: RecalibrationReport) -> PatchObserved:
        """Publish what the gate said; of a new patch the report is kept, the patch is not."""
        place, made = folder / "report", folder / "patch"
        if not report.is_known:
            make_folder(place)
            for name in ("report.json", "report.html"):
                if (made / name).is_file():
                    (made / name).replace(place / name)
        self.last_report = self._add_page(report, self._reports.keep(place))
        self.accepted += 1
        return PatchObserved(self.last_report)

    def _add_page(self, report: RecalibrationReport, report_id: str | None) -> RecalibrationReport:
        """The report with the address of its page; the settings may forbid pictures since it was made."""
        if report_id is None or not self._reports.has_page(report_id):
            return report
        if not self._reference.keeps_pictures:
            forget_thumbnails(self._reports.folder_of(report_id))
        return replace(report, report=f"{self._context.model}/{report_id}")


def _describe_failure(task: Task, failure: JobFailure) -> TaskFailed:
    is_lasting = failure.is_lasting and not task.is_dry_run  # of which nothing is remembered
    return TaskFailed(task.kind.value, failure.error, task.cause, is_lasting, task.is_dry_run)
