"""Carries out one task at a time: collects its frames, has a process work on them, and gives the result."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from calibration.baseline.metadata import BaselineFacts
from edge_runtime.config import DriftConfig, RecalibrationConfig
from edge_runtime.errors import CommandError, StateError
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.job.messages import JobFailure, JobProgress, JobRequest, JobResult
from edge_runtime.recalibration.job.process import JobProcess
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.reference.choice import choose_reference
from edge_runtime.recalibration.reference.live_reference_set import LiveReferenceSet
from edge_runtime.recalibration.reference.reservoir import Kept
from edge_runtime.recalibration.task import (
    Cause,
    Kind,
    Phase,
    Task,
    TaskRequest,
)

log = structlog.get_logger()

COLLECT_FACTOR, MIN_COLLECT_S = 8, 120.0
"""Collecting may take several times the least time that it needs, and is never too short for a slow camera."""

_IDLE = Phase.IDLE, None

StartJob = Callable[[Path, JobRequest, NDArray[Any] | None, float], JobProcess]
"""(folder, request, frames, deadline) -> the running job. Raises StateError."""


class TaskRunner:
    """Owned by the controller's thread; ``state`` may be read from any."""

    def __init__(
        self,
        context: ModelContext,
        settings: RecalibrationConfig,
        drift: DriftConfig,
        baselines: ActiveBaselines,
        reference: LiveReferenceSet,
        patch_policy: PatchPolicy,
        start_job: StartJob,
    ) -> None:
        self._context, self._start = context, start_job
        self._patch_policy = patch_policy
        self._baselines, self._reference = baselines, reference
        self._began_at_s = context.clock()
        self._state: tuple[Phase, Task | None] = _IDLE
        self._collected = 0
        self._job: JobProcess | None = None
        self.reconfigure(settings, drift)

    def reconfigure(self, settings: RecalibrationConfig, drift: DriftConfig) -> None:
        """Use other settings from now on."""
        self._settings, self._sample_every_s = settings, drift.sample_every_s

    def begin(self, kind: Kind, cause: Cause, since_s: float, request: TaskRequest | None = None) -> Task:
        """Begin to collect frames; only those captured from the monotonic time ``since_s`` on count.

        Raises:
            CommandError: another task is under way.
        """
        self.require_idle()
        given = request or TaskRequest("recalibrate")
        now_s, settings = self._context.clock(), self._settings
        configured = settings.commission.frames if kind is Kind.COMMISSION else settings.reference.frames
        envelope = self._context.envelope
        if kind is Kind.RECALIBRATE and envelope is not None and envelope.least_frames is not None:
            configured = max(configured, envelope.least_frames)
        reference = choose_reference(settings.reference, kind, cause, given.reference)
        wanted = given.frames or configured
        if reference.needs_live_frames:
            wanted = min(wanted, self._reference.most)
        if kind is Kind.COMMISSION:  # frames that an earlier run kept were not approved
            since_s = now_s if cause is Cause.COMMAND else self._began_at_s
        least_gap_s = max(self._sample_every_s, self._context.window_s)
        patience_s = max(MIN_COLLECT_S, COLLECT_FACTOR * wanted * least_gap_s)
        task = Task(
            kind,
            cause,
            since_s,
            wanted,
            now_s + patience_s,
            given.stream,
            given.approval,
            reference=reference,
            is_dry_run=given.dry_run,
            follower=given.follower,
        )
        self._collected = 0
        self._state = Phase.COLLECTING, task
        self._reference.begin(since_s)
        log.info(
            "collecting",
            model=self._context.model,
            task=str(task),
            reference=reference.name,
            wanted=wanted,
        )
        return task

    def require_idle(self) -> None:
        """Raise CommandError while a task is under way."""
        phase, busy = self.state
        if busy is not None:
            raise CommandError(
                f"not possible now: it is {phase} with {busy}; send it again when that has ended"
            )

    @property
    def state(self) -> tuple[Phase, Task | None]:
        """The phase, and the task unless it is idle."""
        return self._state  # one object: a reader in another thread gets both of the same moment

    @property
    def has_job(self) -> bool:
        """Whether a process works for it."""
        return self._job is not None

    @property
    def progress(self) -> JobProgress | None:
        """How far the process is; None while none works. Safe from any thread."""
        job = self._job
        return None if job is None else job.progress

    def describe_progress(self, phase: Phase, task: Task) -> dict[str, Any]:
        """How far ``task`` is, which is in this phase; safe from any thread."""
        if phase is Phase.COLLECTING:
            return {"phase": str(phase), "frames": self._collected, "frames_wanted": task.wanted}
        told = self.progress
        return {"phase": str(phase)} if told is None else {"phase": told.phase, "share": told.share}

    @property
    def is_collecting_for_drift(self) -> bool:
        """Whether frames of a drift are being collected."""
        phase, task = self.state
        return phase is Phase.COLLECTING and task is not None and task.cause is Cause.DRIFT

    def drop_task_of_drift(self) -> None:
        """Give up collecting for a drift: its frames are of another state of the site."""
        if self.is_collecting_for_drift:
            self._state = _IDLE
            self._reference.end()

    def advance(self) -> tuple[Task, JobResult] | None:
        """Go on; the task and its result when it has just ended."""
        _, task = self._state
        if task is None:
            return None
        result = self._collect(task) if self._job is None else self._job.poll(self._context.clock())
        if result is None:
            return None
        self._job, self._state = None, _IDLE
        return task, result

    def stop(self) -> Task | None:
        """Give up the task that is under way, and end its job; gives it. None: there was none."""
        job, (_, task) = self._job, self._state
        if job is not None:
            job.kill()
        self._job, self._state = None, _IDLE
        return task

    def _collect(self, task: Task) -> JobResult | None:
        if not task.reference.needs_live_frames:
            return self._start_job(task, [])
        kept, is_enough = self._reference.collect(task)
        self._collected = len(kept)
        is_late, least = self._context.clock() >= task.deadline_s, self._settings.min_frames
        if is_enough or (is_late and len(kept) >= least):
            return self._start_job(task, kept)
        if not is_late:
            return None
        self._reference.end()
        return JobFailure(f"only {len(kept)} usable frames came, {least} are needed")

    def _start_job(self, task: Task, kept: Sequence[Kept]) -> JobResult | None:
        context, settings, at_wall_s = self._context, self._settings, self._context.wall_clock()
        known, start = self._find_patches(task, kept)
        task, path_of = replace(task, known=known), context.model_state.patch_path
        request = JobRequest(
            task.kind,
            task.cause,
            at_wall_s,
            context.bundle,
            self._baselines.in_use_path,
            task.reference,
            task.wanted,
            settings,
            self._make_facts(task, kept, at_wall_s),
            tuple(self._reference.list_moments(task)) if task.reference.folder is None else (),
            context.identity.manifest_sha256,
            context.pictures,
            {} if known is None else {known: path_of(known)},
            None if start is None else path_of(start),
            is_dry_run=task.is_dry_run,
        )
        pixels = np.stack([one.values for one in kept if one.values is not None]) if kept else None
        folder, deadline_s = context.model_state.job_folder(task.kind), context.clock() + settings.timeout_s
        try:
            self._job = self._start(folder, request, pixels, deadline_s)
        except StateError as err:
            return JobFailure(str(err))
        finally:
            self._reference.end()
        self._state = Phase.WORKING, task
        log.info("working", model=context.model, task=str(task), frames=len(kept))
        return None

    def _find_patches(self, task: Task, kept: Sequence[Kept]) -> tuple[str | None, str | None]:
        """The known patch to judge first, and the one to start from; none where live frames show no drift."""
        if task.kind is not Kind.RECALIBRATE or not kept:
            return None, None
        return self._patch_policy.known_patch, self._patch_policy.patch_to_start_from

    def _make_facts(self, task: Task, kept: Sequence[Kept], at_wall_s: float) -> BaselineFacts | None:
        """The facts about the baseline that a commissioning will make; None for another task."""
        if task.kind is not Kind.COMMISSION:
            return None
        settings, identity = self._settings.commission, self._context.identity
        times = [frame.at_s for frame in kept]
        period_s = (max(times) - min(times)) / (len(times) - 1) if len(times) > 1 else None
        days = task.approval.expires_days
        return BaselineFacts(
            name=task.approval.name or settings.name,
            preprocessing=identity.preprocessing,
            bundle=identity.bundle,
            streams=tuple(sorted({frame.stream for frame in kept})),
            sample_period_s=period_s,
        ).approve(task.cause, at_wall_s, settings.expires_days if days is None else days)
