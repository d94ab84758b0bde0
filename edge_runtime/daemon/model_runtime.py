"""One model at work: its bundle, engine slot, pipeline, inference workers and recalibration controller."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from calibration.stats.heap import trim_heap
from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config
from edge_runtime.daemon.workers import InferenceWorker
from edge_runtime.datatypes import REQUESTS
from edge_runtime.deployment.answer_figures import AnswerFigures, AnswerStatus
from edge_runtime.deployment.rollout_status import RolloutStatus
from edge_runtime.deployment.version_rollout import VersionRollout
from edge_runtime.deployment.versions import Skipped
from edge_runtime.inference.engines.base import EngineLibrary
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.metrics import Percentiles
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.scheduler import BatchPolicy
from edge_runtime.recalibration.controller import RecalibrationController
from edge_runtime.recalibration.status import ControllerStatus
from edge_runtime.system.rfc3339 import format_rfc3339

log = structlog.get_logger()

STOP_S = 5.0
NO_AGE_LIMIT_S = 1e9
_PRIORITIES = {"low": -1, "high": 1}


@dataclass(frozen=True, slots=True)
class ThreadStatus:
    """The plan and the binding: CPUs that threads were planned for are not CPUs that they are bound to."""

    intra: int
    """Threads inside one call."""
    workers: int
    """Calls at the same time."""
    why: str
    """How that was chosen."""
    planned_cpus: tuple[int, ...]
    """Numbers of the CPUs."""
    bound_to: list[tuple[int, ...]] | None
    """One entry for each worker; None when no thread is bound."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """Frames of one stream."""

    frames: int
    """That came to the model."""
    results: int
    """Frames that were answered."""
    rejected: dict[str, int]
    """By reason."""


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model, in the names and the order of ``/status``."""

    bundle: str
    """Name and version."""
    generation: str
    """Active now: ``bundle/version+patch``."""
    runs_on: str
    """The device and its threads, in the words of the engine."""
    engine: EngineLibrary
    notes: tuple[str, ...]
    """Settings without effect here, fall-backs that were taken, and versions that were passed over."""
    threads: ThreadStatus
    batches: int
    """Inferred since the model was opened."""
    last_inference_at: str | None
    """When the last batch came back, also with an error; None before the first."""
    mean_batch: float | None
    """Frames in a batch; None before the first."""
    infer_ms: Percentiles | None
    """Of batches."""
    total_ms: Percentiles | None
    """From capture to result."""
    dropped_oldest: int
    """Frames that left a full queue."""
    dropped_stale: int
    """Frames that waited longer than ``max_age_ms``."""
    engine_errors: int
    """Batches that the engine failed on."""
    lost_to_errors: int
    """Frames in them."""
    swaps: int
    """Generations that were put in while frames were answered."""
    streams: dict[str, StreamStatus]
    """By name of the camera; ``:http`` are requests."""
    answers: tuple[AnswerStatus, ...]
    """By generation and arm, since the model was opened; the last one answered last."""
    recalibration: ControllerStatus | None
    """None where it is turned off."""
    rollout: RolloutStatus | None
    """None where none is configured."""


@dataclass(frozen=True, slots=True)
class ModelRuntime:
    """Everything that belongs to one entry of ``models``."""

    name: str
    bundle: Bundle
    plan: ThreadPlan
    pipeline: Pipeline
    workers: tuple[InferenceWorker, ...]
    controller: RecalibrationController | None
    notes: tuple[str, ...] = ()
    """Settings without effect on this device, for people."""
    skipped: Skipped | None = None
    """Newer versions of the bundle that could not be used."""
    rollout: VersionRollout | None = None
    """Tries newer versions; None where none is configured."""
    answers: AnswerFigures = field(default_factory=AnswerFigures)
    untried: str | None = None
    """Why its version answers without a trial, where a rollout should have tried it; None: it was tried."""
    note_answering: Callable[[], None] = lambda: None
    """Notes on the disk that its version answers."""

    def start(self) -> None:
        """Begin to infer and to watch for drift."""
        self._start_workers()
        self._start_controller()

    def stop(self, replaced: str | None = None) -> bool:
        """Answer the queued frames, then end; False when an inference hangs and does not come back.

        ``replaced`` says why where the daemon goes on without it.
        """
        self._stop_controller(replaced)
        has_ended = self._finish()
        if has_ended:
            self._free()
        return has_ended

    def take_over(self, old: "ModelRuntime") -> None:
        """Begin after the old model has answered its queued frames.

        The streams were moved before and their frames wait meanwhile, so results stay in order. Two controllers never
        share one state folder.
        """
        has_ended = old._finish()
        self._start_workers()
        old._stop_controller(self._name_change(old))
        if has_ended:
            old._free()
        self._start_controller()

    def reconfigure(self, config: Config) -> None:
        """Values that count from now on; setting one that did not change does nothing."""
        self.pipeline.set_policy(make_batch_policy(config, self.name))
        plan = config.models[self.name].rollout
        if self.controller is not None:
            self.controller.reconfigure(config.recalibration, config.drift, plan)
        keeps_pictures = config.recalibration.reference.pictures == "keep"
        if self.answers.audit is not None:
            self.answers.audit.set_pictures(are_kept=keeps_pictures)
        if self.rollout is not None and plan is not None:
            self.rollout.reconfigure(plan, keeps_pictures=keeps_pictures)

    def _start_workers(self) -> None:
        for worker in self.workers:
            worker.thread.start()

    def _start_controller(self) -> None:
        self.note_answering()  # not earlier: what is opened for an edit may never answer
        if self.controller is not None:
            self.controller.start()
        if self.rollout is not None:
            self.rollout.start()
        if self.answers.audit is not None:
            self.answers.audit.start()

    def _name_change(self, old: "ModelRuntime") -> str:
        """Why a task of the old one is given up, and what helps."""
        if self.bundle.id != old.bundle.id:
            return f"{self.bundle.id} answers now instead of {old.bundle.id}; send it again if it is still wanted"
        return (
            "the model was opened again, for an edit or a mended version; send it again if it is still wanted"
        )

    def _stop_controller(self, replaced: str | None) -> None:
        if self.answers.audit is not None:
            self.answers.audit.stop(STOP_S)
        if self.rollout is not None:
            self.rollout.stop(STOP_S)
        if self.controller is not None:
            self.controller.stop(STOP_S, replaced)

    def _finish(self) -> bool:
        """Whether the queued frames were answered in time."""
        self.pipeline.drain()
        for worker in self.workers:
            worker.thread.stop()
        still_running = [worker for worker in self.workers if not worker.thread.join(STOP_S)]
        # The threads of streams run batches too, and a stream need not have ended.
        has_ended = not still_running and self.pipeline.wait_for_running(STOP_S)
        if not has_ended:
            log.warning("inference did not end in time", model=self.name)
        return has_ended

    def _free(self) -> None:
        self.pipeline.slot.close()
        trim_heap()

    def status(self) -> ModelStatus:
        """Safe from any thread."""
        metrics, slot, counters = self.pipeline.metrics, self.pipeline.slot, self.pipeline.scheduler.counters
        return ModelStatus(
            bundle=self.bundle.id,
            generation=str(slot.generation),
            runs_on=slot.engine.runs_on,
            engine=slot.engine.library,
            notes=self.notes,
            threads=self._threads(),
            batches=metrics.batches,
            last_inference_at=self._find_last_inference(),
            mean_batch=round(metrics.batched_samples / metrics.batches, 2) if metrics.batches else None,
            infer_ms=metrics.infer_ms.percentiles(),
            total_ms=metrics.total_ms.percentiles(),
            dropped_oldest=counters.dropped_oldest,
            dropped_stale=counters.dropped_stale,
            engine_errors=metrics.engine_errors,
            lost_to_errors=metrics.lost_to_errors,
            swaps=slot.swaps,
            streams={
                name: StreamStatus(stream.frames, stream.results, dict(stream.rejected))
                for name, stream in list(metrics.streams.items())
            },
            answers=self.answers.status(),
            recalibration=None if self.controller is None else self.controller.status(),
            rollout=None if self.rollout is None else self.rollout.status(),
        )

    def _find_last_inference(self) -> str | None:
        at_s = self.pipeline.metrics.last_progress_at_s
        return None if at_s is None else format_rfc3339(time.time() - (time.monotonic() - at_s))

    def _threads(self) -> ThreadStatus:
        plan, bound_to = self.plan, [worker.bound_to for worker in self.workers]
        return ThreadStatus(
            plan.intra, plan.workers, plan.why, plan.cpus, bound_to if any(bound_to) else None
        )


def make_batch_policy(config: Config, name: str) -> BatchPolicy:
    """The schedule's limits from the configuration."""
    model = config.models[name]
    streams = {stream: one.priority for stream, one in config.streams.items() if one.model == name}
    streams[REQUESTS] = config.http.predict.priority
    return BatchPolicy(
        max_batch_size=model.batch.max_batch_size,
        max_queue_delay_s=model.batch.max_queue_delay_ms / 1000,
        max_age_s=NO_AGE_LIMIT_S if model.max_age_ms is None else model.max_age_ms / 1000,
        queue_limit=model.queue_frames,
        request_limit=config.http.predict.queue,
        priorities={stream: _PRIORITIES[one] for stream, one in streams.items() if one != "normal"},
    )
