"""The calibration side loop of one model: watch for drift, collect a reference set, recalibrate, gate, swap, take back.

It hangs off the frame path: the inference worker *offers* answered samples and never waits. One thread owns all
state; requests from MQTT, HTTP and the schedule arrive through an inbox and are answered through a future. The heavy
work runs in ``recalibration_job`` (own process); what may follow what is in ``recalibration_phase`` and ``rollout``.
"""

import queue
import threading
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from edge_runtime.config import DriftConfig, RecalibrationConfig
from edge_runtime.datatypes import Result, Sample
from edge_runtime.deployment.rollout import IllegalStep, Step
from edge_runtime.errors import CommandError, EdgeRuntimeError, StateError
from edge_runtime.messaging.encoding import as_json
from edge_runtime.messaging.events import (
    Commissioned,
    DriftAlarm,
    DriftFigures,
    Event,
    Fact,
    PatchesPaused,
    Recalibrated,
    RecalibrationRefused,
    RecalibrationReport,
    TaskFailed,
)
from edge_runtime.recalibration.baselines.active import Baselines, commissioned_facts
from edge_runtime.recalibration.controller_parts import ControllerParts
from edge_runtime.recalibration.drift.monitor import LiveDriftMonitor
from edge_runtime.recalibration.job.messages import CommissioningResult, JobFailure, JobRequest
from edge_runtime.recalibration.job.process import Job, Outcome
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.reference.erasure import forget_thumbnails
from edge_runtime.recalibration.reference.live_reference_set import LiveReferenceSet
from edge_runtime.recalibration.reference.reservoir import Kept
from edge_runtime.recalibration.reports import Reports
from edge_runtime.recalibration.request_inbox import RequestInbox
from edge_runtime.recalibration.sample_inbox import SampleInbox
from edge_runtime.recalibration.task import (
    Approval,
    Cause,
    IllegalLoopEvent,
    Kind,
    LoopEvent,
    LoopState,
    Phase,
    Task,
    TaskRequest,
    patience_s,
)

log = structlog.get_logger()


class RecalibrationController:
    """Commissioning, drift, recalibration and roll-back of one model."""

    def __init__(self, parts: ControllerParts) -> None:
        self._parts = parts
        self._side = LoopState()
        self._job: Job | None = None
        self._baselines = Baselines(
            parts.model_state, parts.identity, parts.open_watch, parts.drift, parts.wall_clock
        )
        self._patch_policy = PatchPolicy(parts.deployment, parts.model_state, self._baselines, self._emit)
        self._reference = LiveReferenceSet(
            parts.model_state,
            parts.deployment.state.active.bundle,
            parts.settings.reference,
            parts.drift.sample_every_s,
            parts.clock,
            parts.wall_clock,
        )
        self._reports = Reports(parts.model_state.folder)
        self._began_at_s = parts.clock()
        self._inbox = SampleInbox(parts.drift.sample_every_s)
        self._requests = RequestInbox()
        self._edits: queue.SimpleQueue[tuple[RecalibrationConfig, DriftConfig]] = queue.SimpleQueue()
        self._last_task_at_s: float | None = None
        self._told: str | None = None
        self._not_possible: dict[Kind, str] = {}  # why, for as long as model and configuration stay
        self._due_wall_s = parts.next_due_wall_s(parts.settings.schedule, parts.wall_clock())
        self._counters = {"sampled": 0, "recalibrations": 0, "accepted": 0, "refused": 0, "failed": 0,
                          "alarms": 0}  # fmt: skip
        self.last_report: RecalibrationReport | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"side-{parts.model}", daemon=True)

    # ---- called from other threads -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch."""
        self._parts.model_state.clear_jobs()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End, together with a job that still runs."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        job = self._job
        if job is not None:
            job.kill()
        if not self._thread.is_alive():
            self._baselines.close()
            self._reference.close()

    def offer(self, sample: Sample, result: Result) -> None:
        """Look at an answered sample if it is time to; called by the inference worker, returns at once."""
        self._inbox.offer(sample, result)

    def request(self, asked: TaskRequest) -> "Future[dict[str, Any]]":
        """Ask for something; the future tells what was begun or done.

        It holds a :class:`CommandError` when that is impossible now.
        """
        return self._requests.ask(asked)

    def reconfigure(self, settings: RecalibrationConfig, drift: DriftConfig) -> None:
        """Use other settings from the next round on."""
        self._edits.put((settings, drift))

    def status(self) -> dict[str, Any]:
        """For people and machines; safe from any thread."""
        watch, previous = self._watch, self._parts.deployment.state.previous
        return {
            "phase": str(self._side.phase),
            "task": None if self._side.task is None else f"{self._side.task.kind} ({self._side.task.cause})",
            "commissioned": watch is not None,
            "generation": str(self._parts.deployment.state.active),
            "previous": None if previous is None else str(previous),
            "drift": None if watch is None else _as_json(watch.figures()),
            "baselines": {name: asdict(score) for name, score in self._baselines.scores().items()},
            "reservoir": self._reference.status(),
            "skipped": self._inbox.skipped,
            "not_possible": {str(kind): reason for kind, reason in self._not_possible.copy().items()},
            **self._counters,
            "rollbacks": self._patch_policy.rollbacks,
            "last_report": None if self.last_report is None else as_json(self.last_report),
        }

    # ---- the loop ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._reference.open()  # not in ``start``: reading many pictures must not delay the first result
                self.tick(timeout_s=0.1)
            except Exception:
                self._counters["failed"] += 1
                log.exception("calibration side loop failed", model=self._parts.model)
                self._stop.wait(1.0)

    def tick(self, timeout_s: float) -> None:
        """One round: a sample if there is one, then whatever is due. Public for tests, which need no thread."""
        taken = self._inbox.take(timeout_s)
        if taken is not None:
            self._observe(*taken)
        self._take_edits()
        self._requests.answer_all(self._obey)
        if self._patch_policy.follow():
            self._drop_task_of_drift()
        self._patch_policy.guard_engine()
        self._parts.deployment.record_again()
        self._reference.tick()
        self._start_what_is_due()
        self._advance()

    def _take_edits(self) -> None:
        while not self._edits.empty():
            settings, drift = self._edits.get()
            if (settings, drift) == (self._parts.settings, self._parts.drift):
                continue
            self._not_possible.clear()
            is_watch_stale = drift != self._parts.drift
            self._parts = replace(self._parts, settings=settings, drift=drift)
            self._inbox.every_s = drift.sample_every_s
            self._reference.reconfigure(settings.reference, drift.sample_every_s)
            self._plan_next()
            if is_watch_stale:
                self._patch_policy.doubt()
                self._baselines.reopen(drift)

    @property
    def _watch(self) -> LiveDriftMonitor | None:
        return self._baselines.watch

    def _observe(self, sample: Sample, result: Result) -> None:
        assert sample.pixels is not None
        self._counters["sampled"] += 1
        label = result.top[0].index if result.top else -1
        self._reference.take(sample, label)
        if self._watch is None:
            return
        change = self._watch.look(sample.tensor, sample.captured_at_s, result)
        if change == "alarm":
            self._counters["alarms"] += 1
            figures = self._watch.figures()
            assert figures is not None, "it alarms on what it has seen"
            self._emit(DriftAlarm(figures))
        if change is not None:  # frames of before stand for another state of the world
            self._reference.forget_before(self._watch.window_began_at_s)
        self._patch_policy.seen(change)

    def _start_what_is_due(self) -> None:
        settings, now_s = self._parts.settings, self._parts.clock()
        if not settings.enabled or self._side.phase is not Phase.IDLE:
            return
        if self._watch is None:
            if settings.commission.automatic and self._may_try(Kind.COMMISSION, now_s):
                self._begin(Kind.COMMISSION, Cause.FIRST_START)
            return
        if self._due_wall_s is not None and self._parts.wall_clock() >= self._due_wall_s:
            self._plan_next()
            if Kind.RECALIBRATE not in self._not_possible and self._may_patch():
                self._begin(Kind.RECALIBRATE, Cause.SCHEDULE)
        elif (
            settings.on_drift
            and self._patch_policy.needs_answer
            and not self._patch_policy.bring_back_known()
            and self._may_try(Kind.RECALIBRATE, now_s)
            and self._may_patch()
        ):
            self._begin(Kind.RECALIBRATE, Cause.DRIFT)

    def _may_patch(self) -> bool:
        """Whether a patch may be made from the baseline in use; tells once when it may not."""
        reason = self._baselines.why_no_patch()
        if reason is not None and reason != self._told:
            self._emit(PatchesPaused(reason))
        self._told = reason
        return reason is None

    def _drop_task_of_drift(self) -> None:
        """The frames that are collected for a drift are of another state of the site."""
        task = self._side.task
        if self._side.phase is Phase.COLLECTING and task is not None and task.cause is Cause.DRIFT:
            self._side = self._side.after(LoopEvent.CANCEL)
            self._reference.end()

    def _plan_next(self) -> None:
        parts = self._parts
        self._due_wall_s = parts.next_due_wall_s(parts.settings.schedule, parts.wall_clock())

    def _may_try(self, kind: Kind, now_s: float) -> bool:
        if kind in self._not_possible:
            return False
        return self._last_task_at_s is None or now_s - self._last_task_at_s >= self._parts.settings.cooldown_s

    def _begin(self, kind: Kind, cause: Cause, asked: TaskRequest | None = None) -> Task:
        stream, frames, approval = (
            (asked.stream, asked.frames, asked.approval) if asked else (None, None, Approval())
        )
        now_s, settings, drift = self._parts.clock(), self._parts.settings, self._parts.drift
        configured = settings.commission.frames if kind is Kind.COMMISSION else settings.reference.frames
        wanted = min(frames or configured, self._reference.most)
        since_s = -np.inf
        if kind is Kind.COMMISSION:  # nobody blessed what an earlier run kept
            since_s = now_s if cause is Cause.COMMAND else self._began_at_s
        if cause is Cause.DRIFT and self._watch is not None:
            since_s = self._watch.window_began_at_s
        deadline_s = now_s + patience_s(wanted, drift.sample_every_s)
        task = Task(kind, cause, since_s, wanted, deadline_s, stream, approval)
        self._side = self._side.after(LoopEvent.REQUEST, task)
        self._reference.begin(since_s)
        log.info("collecting", model=self._parts.model, task=str(kind), cause=str(cause), wanted=wanted)
        return task

    def _advance(self) -> None:
        task, now_s = self._side.task, self._parts.clock()
        if self._side.phase is Phase.COLLECTING and task is not None:
            if task.cause is Cause.DRIFT and self._patch_policy.bring_back_known():
                self._drop_task_of_drift()  # a known drift shows itself only when a whole window of it was seen
            else:
                self._advance_collecting(task, now_s)
        elif self._side.phase is Phase.WORKING and self._job is not None and task is not None:
            outcome = self._job.poll(now_s)
            if outcome is not None:
                self._job = None
                self._side = self._side.after(LoopEvent.ENDED)
                self._last_task_at_s = now_s
                self._conclude(task, outcome)

    def _advance_collecting(self, task: Task, now_s: float) -> None:
        if self._uses_folder(task):
            self._start_job(task, [])
            return
        kept, is_enough = self._reference.collected(task)
        is_late = now_s >= task.deadline_s
        if is_enough or (is_late and len(kept) >= self._parts.settings.min_frames):
            self._start_job(task, kept)
        elif is_late:
            self._side = self._side.after(LoopEvent.TOO_FEW)
            self._reference.end()
            self._last_task_at_s = now_s
            self._fail(
                task, f"only {len(kept)} usable frames came, {self._parts.settings.min_frames} are needed"
            )

    def _uses_folder(self, task: Task) -> bool:
        """An operator's folder stands for the site in general; for a drift that has just begun only fresh frames do."""
        has_folder = self._parts.settings.reference.folder is not None
        return has_folder and task.kind is Kind.RECALIBRATE and task.cause is not Cause.DRIFT

    def _start_job(self, task: Task, kept: list[Kept]) -> None:
        settings, model_state = self._parts.settings, self._parts.model_state
        folder = settings.reference.folder if self._uses_folder(task) else None
        at_wall_s = self._parts.wall_clock()
        further = self._reference.moments(task) if kept else []
        facts = commissioned_facts(task, settings.commission, self._parts.identity, kept, at_wall_s)
        bundle, baseline = self._parts.bundle_path, self._baselines.in_use_path
        request = JobRequest.for_task(
            task, settings, bundle, baseline, folder, at_wall_s, tuple(further), facts
        )
        pixels = np.stack([one.pixels for one in kept if one.pixels is not None]) if kept else None
        deadline_s = self._parts.clock() + settings.timeout_s
        self._side = self._side.after(LoopEvent.ENOUGH)
        try:
            self._job = self._parts.start_job(model_state.jobs / task.kind, request, pixels, deadline_s)
        except StateError as err:
            self._side = self._side.after(LoopEvent.CANCEL)
            self._last_task_at_s = self._parts.clock()
            self._fail(task, str(err))
            return
        finally:
            self._reference.end()
        log.info("working", model=self._parts.model, task=str(task.kind), frames=len(kept))

    # ---- what a finished job leads to ----------------------------------------------------------------------

    def _conclude(self, task: Task, outcome: Outcome) -> None:
        try:
            match outcome.result:
                case JobFailure(error, is_lasting):
                    self._fail(task, error, is_lasting=is_lasting)
                case CommissioningResult():
                    self._take_baseline(outcome.folder, outcome.result)
                case RecalibrationReport():
                    self._take_verdict(task, outcome.folder, outcome.result)
        except (EdgeRuntimeError, OSError) as err:
            self._fail(task, str(err))

    def _fail(self, task: Task, error: str, *, is_lasting: bool = False) -> None:
        self._counters["failed"] += 1
        if is_lasting:
            self._not_possible[task.kind] = error
        self._emit(TaskFailed(task.kind.value, error, task.cause, is_lasting))

    def _take_baseline(self, folder: Path, result: CommissioningResult) -> None:
        self._not_possible.pop(Kind.COMMISSION, None)
        self._patch_policy.doubt()
        baseline = self._baselines.take(folder)
        self._last_task_at_s = None  # commissioning does not delay the first recalibration
        self._plan_next()
        self._patch_policy.follow()
        self._emit(Commissioned(baseline.name, result.frames, result.taps, result.effective_frames))

    def _take_verdict(self, task: Task, folder: Path, report: RecalibrationReport) -> None:
        self._not_possible.pop(Kind.RECALIBRATE, None)
        self._counters["recalibrations"] += 1
        if not report.accepted:
            self._counters["refused"] += 1
            self.last_report = self._with_page(report, self._reports.keep_refused(folder / "report"))
            self._emit(RecalibrationRefused(self.last_report))
            return
        self.last_report = report
        baseline = self._baselines.in_use
        if baseline is None or report.baseline_id != baseline.id:
            raise StateError("another baseline has come into use meanwhile; the patch is not used")
        model_state = self._parts.model_state
        patch_id = model_state.new_patch_id()
        model_state.adopt(folder / "patch", patch_id)
        self.last_report = report = self._with_page(report, patch_id)
        generation = self._patch_policy.activate(patch_id, task.cause)
        self._counters["accepted"] += 1
        self._emit(Recalibrated(report, generation))

    def _with_page(self, report: RecalibrationReport, report_id: str | None) -> RecalibrationReport:
        """The report with where its page is; the switch may have turned to no pictures while it was made."""
        if report_id is None or not self._reports.has_page(report_id):
            return report
        if not self._reference.keeps_pictures:
            forget_thumbnails(self._parts.model_state.folder)
        return replace(report, report=f"{self._parts.model}/{report_id}")

    # ---- requests ------------------------------------------------------------------------------------------

    def _obey(self, asked: TaskRequest) -> dict[str, Any]:
        try:
            match asked.verb:
                case "rollback":
                    self._patch_policy.take_back("command", Step.ROLL_BACK)
                    return {"generation": str(self._parts.deployment.state.active)}
                case "recalibrate":
                    self._require_recalibration()
                    task = self._begin(Kind.RECALIBRATE, Cause.COMMAND, asked)
                case "commission":
                    name = asked.approval.name or self._parts.settings.commission.name
                    self._baselines.require_room(name)
                    task = self._begin(Kind.COMMISSION, Cause.COMMAND, asked)
                case _:
                    return self._baselines.obey(asked)
        except IllegalStep as err:
            raise CommandError("the base is active: there is nothing to roll back") from err
        except IllegalLoopEvent as err:
            raise CommandError(str(err)) from err
        return {"begun": str(task.kind), "frames_wanted": task.wanted}

    def _require_recalibration(self) -> None:
        if not self._parts.settings.enabled:
            raise CommandError("recalibration is turned off in the configuration: recalibration.enabled")
        reason = self._baselines.why_no_patch()
        if reason is not None:
            raise CommandError(reason)

    def _emit(self, fact: Fact) -> None:
        self._parts.emit(Event(self._parts.wall_clock(), fact, self._parts.model))


def _as_json(figures: DriftFigures | None) -> dict[str, Any]:
    nothing_seen = {"ready": False, "score": 0.0, "threshold": 1.0, "verdict": "healthy"}
    return nothing_seen if figures is None else asdict(figures)
