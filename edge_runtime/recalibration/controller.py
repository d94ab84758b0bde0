"""The recalibration of one model: watch for drift, begin tasks, use their results, obey commands.

The inference workers *offer* answered samples and never wait. Commands arrive through an inbox and are answered through
a future; one thread takes them, watches, and makes every decision. The heavy work runs in a child process (``job``).
Which rollout steps are legal is in ``rollout``; ``task_runner`` allows one task at a time, ``planner`` says
which is due, ``trials`` has the patch that is in the shadow, and ``patch_policy`` says which generation may be active.
"""

import queue
from concurrent.futures import Future
from typing import Any

import numpy as np
import structlog

from edge_runtime.config import DriftConfig, RecalibrationConfig, RolloutConfig
from edge_runtime.datatypes import Result, Sample
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.patch_trial import PatchTrial
from edge_runtime.errors import StateError
from edge_runtime.messaging.event_forms import as_data
from edge_runtime.messaging.events import RecalibrationReport, TaskFailed
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.concern import Concern
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.envelope import choose_autonomy
from edge_runtime.recalibration.follower import TaskFollower
from edge_runtime.recalibration.inbox import RequestInbox, SampleInbox
from edge_runtime.recalibration.job.messages import JobFailure
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.planner import TaskPlanner
from edge_runtime.recalibration.proposals import Proposals
from edge_runtime.recalibration.reference.live_reference_set import LiveReferenceSet
from edge_runtime.recalibration.results import TaskResults
from edge_runtime.recalibration.status import ControllerStatus, NothingSeen
from edge_runtime.recalibration.task import Cause, Kind, Phase, TaskRequest
from edge_runtime.recalibration.task_runner import StartJob, TaskRunner
from edge_runtime.recalibration.trials import PatchTrials
from edge_runtime.recalibration.verbs import Verbs
from edge_runtime.system.due_time import NextDue
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

ROUND_S = 0.1
"""Longest wait for a sample before everything else is looked after, while a patch is active or tried, or a job goes on:
a patch under which the engine fails gives no sample that would end the wait.
"""
IDLE_S = 0.5
"""The same otherwise; requests and edits end the wait."""

_Settings = tuple[RecalibrationConfig, DriftConfig, RolloutConfig | None]


class RecalibrationController:
    """Commissioning, drift, recalibration and roll-back of one model."""

    def __init__(
        self,
        context: ModelContext,
        settings: RecalibrationConfig,
        drift: DriftConfig,
        *,
        deployment: Deployment,
        watch: DriftWatch,
        start_job: StartJob,
        next_due_wall_s: NextDue,
        trial: PatchTrial,
        rollout: RolloutConfig | None = None,
        crashes: Crashes,
    ) -> None:
        """Nothing runs yet; ``rollout`` has the limits of patches in the shadow, None stands for the defaults."""
        self._context, self._settings, self._drift = context, settings, drift
        self._deployment, self._watch = deployment, watch
        self._baselines = baselines = ActiveBaselines(context, watch, drift)
        self._reference = LiveReferenceSet(context, settings.reference, drift.sample_every_s)
        self._patch_policy = policy = PatchPolicy(context, deployment, baselines, watch)
        self._planner = planner = TaskPlanner(settings, next_due_wall_s, context.model_state.load_slots())
        self._runner = TaskRunner(context, settings, drift, baselines, self._reference, policy, start_job)
        self._trials = PatchTrials(context, policy, baselines, watch, trial, crashes, settings)
        self._trials.reconfigure(settings, rollout)
        self._proposals = proposals = Proposals(context, policy, baselines, watch, self._trials)
        self._results = TaskResults(
            context, baselines, policy, planner, self._reference, proposals, self._trials, watch
        )
        self._concern = Concern(
            context, policy, baselines, watch, self._runner, planner, proposals, self._trials
        )
        self._verbs = Verbs(context, deployment, baselines, policy, self._runner, proposals, self._trials)
        self._use_autonomy()
        self._samples, self._requests = SampleInbox(drift.sample_every_s), RequestInbox()
        self._edits: queue.SimpleQueue[_Settings] = queue.SimpleQueue()
        self._sampled = 0
        self._noted_slots = self._planner.past_slots
        self._thread = SupervisedThread(f"recalibration-{context.model}", self._run, crashes, is_vital=False)

    # ---- called from other threads -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch."""
        self._context.model_state.clear_jobs()  # of an earlier run
        self._proposals.withdraw_foreign()
        self._thread.start()

    def stop(self, timeout_s: float, replaced: str | None = None) -> None:
        """End, together with a job that still runs.

        Args:
            timeout_s: Longest wait for the thread.
            replaced: Why the model ends while the daemon goes on: a task that is given up and requests without an
                answer are told so. None: the whole daemon ends.
        """
        self._thread.stop()
        self._samples.wake()
        has_ended = self._thread.join(timeout_s)
        self._requests.close(f"nothing was done: {replaced or 'the daemon ends'}")
        task = self._runner.stop()
        if task is not None and replaced is not None:
            error = f"given up, nothing was changed: {replaced}"
            self._context.emit(TaskFailed(task.kind.value, error, task.cause, False, task.is_dry_run))
        if has_ended:
            self._trials.withdraw(replaced or "the daemon ends")
            self._watch.close()
            self._reference.close()
        self._trials.close()
        for follower in (None if task is None else task.follower, self._trials.follower):
            if follower is not None:  # the second one is left only where the thread hangs
                follower.give_up(f"nothing was changed: {replaced or 'the daemon ends'}")

    def offer(self, sample: Sample, result: Result) -> None:
        """Look at an answered sample if it is time to; returns at once."""
        self._samples.offer(sample, result)

    def request(self, request: TaskRequest) -> "Future[dict[str, Any]]":
        """Have something begun or done; the future gives the answer, or a :class:`CommandError`."""
        answer = self._requests.put(request)
        self._samples.wake()
        return answer

    def describe_progress(self, follower: TaskFollower) -> dict[str, Any]:
        """How far the task of this follower is, or the shadow of its patch; safe from any thread."""
        phase, task = self._runner.state
        if task is not None and task.follower is follower:
            return self._runner.describe_progress(phase, task)
        shadow = self._trials.status() if self._trials.follower is follower else None
        if shadow is None:
            return {"phase": "waiting"}
        return {"phase": "shadow", "frames": shadow.frames, "frames_wanted": self._settings.shadow_frames}

    def reconfigure(
        self, settings: RecalibrationConfig, drift: DriftConfig, rollout: RolloutConfig | None = None
    ) -> None:
        """Use other settings from the next round on."""
        self._edits.put((settings, drift, rollout))
        self._samples.wake()

    def status(self) -> ControllerStatus:
        """For people and machines; safe from any thread."""
        rollout, results, report = self._deployment.state, self._results, self._results.last_report
        phase, task = self._runner.state
        return ControllerStatus(
            phase=str(phase),
            task=None if task is None else str(task),
            progress=self._runner.progress,
            commissioned=self._watch.is_open,
            generation=str(rollout.active),
            previous=None if rollout.previous is None else str(rollout.previous),
            autonomy=self._results.autonomy,
            proposal=self._proposals.waiting,
            shadow=self._trials.status(),
            drift=(self._watch.figures() or NothingSeen()) if self._watch.is_open else None,
            baselines=self._baselines.scores(),
            corrected_by=self._patch_policy.corrected_by,
            concern=self.concern(),
            reservoir=self._reference.status(),
            skipped=self._samples.skipped,
            not_possible={str(kind): reason for kind, reason in self._planner.impossible.items()},
            sampled=self._sampled,
            recalibrations=results.recalibrations,
            accepted=results.accepted,
            refused=results.refused,
            failed=results.failed,
            alarms=self._patch_policy.alarms,
            rollbacks=self._patch_policy.rollbacks,
            last_report=None if report is None else as_data(report),
        )

    def concern(self) -> str | None:
        """Why drift is not watched, or the drift of now not corrected; None while something corrects it.

        Safe from any thread.
        """
        return self._concern.find(self._settings, self._results.autonomy)

    def is_baseline_under_way(self) -> bool:
        """Whether drift will be watched when a task has ended that has begun. Safe from any thread."""
        return self._concern.is_baseline_under_way(self._settings)

    # ---- the loop ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._reference.open()  # not in ``start``: reading many pictures must not delay the first result
        while not self._thread.stopping.is_set():
            is_busy = self._deployment.is_patched or self._trials.patch is not None or self._runner.has_job
            self.tick(ROUND_S if is_busy else IDLE_S)
            self._thread.succeeded()

    def tick(self, timeout_s: float) -> None:
        """One round: a sample if there is one, then everything that is due. Public for tests, which need no thread."""
        taken = self._samples.take(timeout_s)
        if taken is not None:
            self._observe(*taken)
        self._take_edits()
        self._requests.answer_all(self._obey)
        if self._patch_policy.follow_baseline():
            self._runner.drop_task_of_drift()
        self._proposals.follow(self._results.autonomy)
        self._advance_trial()
        self._patch_policy.guard_engine()
        self._deployment.record_again()
        self._reference.tick()
        self._begin_what_is_due()
        self._advance()

    def _take_edits(self) -> None:
        while not self._edits.empty():
            settings, drift, rollout = self._edits.get()
            self._trials.reconfigure(settings, rollout)
            if (settings, drift) == (self._settings, self._drift):
                continue
            is_drift_edited = drift != self._drift
            self._settings, self._drift = settings, drift
            self._samples.every_s = drift.sample_every_s
            self._reference.reconfigure(settings.reference, drift.sample_every_s)
            self._runner.reconfigure(settings, drift)
            self._planner.reconfigure(settings)
            self._use_autonomy()
            if is_drift_edited:
                self._patch_policy.doubt_patch()
                self._baselines.reopen(drift)

    def _use_autonomy(self) -> None:
        autonomy = choose_autonomy(self._settings.autonomy, self._context.envelope)
        self._results.autonomy, self._patch_policy.may_resume = autonomy, autonomy != "observe"

    def _observe(self, sample: Sample, result: Result) -> None:
        self._sampled += 1
        self._reference.take(sample, result.top[0].index if result.top else -1)
        change = self._watch.look(sample.tensor, sample.captured_at_s, result)
        if change is not None:  # frames of before stand for another state of the world
            self._reference.forget_before(self._watch.window_began_at_s)
        self._patch_policy.react(change)
        self._proposals.follow_drift(change)
        self._trials.follow_drift(change)

    def _begin_what_is_due(self) -> None:
        if self._runner.state[0] is not Phase.IDLE:
            return
        now_s, policy = self._context.clock(), self._patch_policy
        cause = self._planner.choose(
            now_s,
            self._context.wall_clock(),
            is_watching=self._watch.is_open,
            is_drifted=policy.needs_answer,
            is_blocked=self._baselines.blocked is not None,
        )
        self._note_slots()
        if cause is Cause.FIRST_START:
            self._runner.begin(Kind.COMMISSION, cause, -np.inf)
        elif self._results.autonomy == "observe":
            return
        elif cause is Cause.SCHEDULE:
            if policy.may_patch():
                self._planner.note_begin(now_s)
                self._runner.begin(Kind.RECALIBRATE, cause, -np.inf)
        elif (
            cause is Cause.DRIFT
            and not self._proposals.answers_drift
            and not self._trials.answers_drift
            and not policy.settle_known_drift()
            and self._may_answer_drift(now_s)
            and policy.may_patch()
        ):
            self._planner.note_begin(now_s)
            self._runner.begin(Kind.RECALIBRATE, cause, self._watch.window_began_at_s)

    def _may_answer_drift(self, now_s: float) -> bool:
        """A known drift waits for no cool-down: its patch is judged, mostly without making another one."""
        is_known = self._patch_policy.known_patch is not None
        return self._planner.may_try(Kind.RECALIBRATE, now_s, is_urgent=is_known)

    def _note_slots(self) -> None:
        """Before the task begins: a start in the middle of it must not begin it again."""
        slots = self._planner.past_slots
        if slots != self._noted_slots:
            self._noted_slots = slots
            try:
                self._context.model_state.record_slots(slots)
            except StateError as err:  # the schedule goes on; only a restart in this minute could repeat it
                log.warning("cannot note that the schedule came", model=self._context.model, reason=str(err))

    def _advance(self) -> None:
        # A known drift shows itself only when a whole window of it was seen.
        if self._runner.is_collecting_for_drift and self._patch_policy.settle_known_drift():
            self._runner.drop_task_of_drift()
        ended = self._runner.advance()
        if ended is None:
            return
        task, result = ended
        if not task.is_dry_run:
            report = result if isinstance(result, RecalibrationReport) else None
            self._planner.note_end(
                self._context.clock(),
                has_failed=isinstance(result, JobFailure),
                is_refused=report is not None and not report.accepted,
                is_undecided=report is not None and self._results.goes_into_shadow(report),
            )
        self._results.take(task, result)

    def _obey(self, request: TaskRequest) -> dict[str, Any]:
        return self._verbs.obey(request, self._settings, self._results.autonomy)

    def _advance_trial(self) -> None:
        waiting = self._proposals.waiting
        ended = self._trials.advance(self._results.autonomy, None if waiting is None else waiting.patch)
        if ended is not None:
            self._planner.note_end(
                self._context.clock(),
                has_failed=ended.outcome == "failed",
                is_refused=ended.outcome == "refused",
            )
            self._results.take_trial(ended)
