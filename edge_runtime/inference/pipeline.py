"""One frame's walk through one model: prepare -> schedule -> infer -> postprocess -> deliver.

Two threads meet here and nowhere else: a stream's worker calls :meth:`Pipeline.accept`, the inference worker calls
:meth:`Pipeline.step`; between them is the scheduler, guarded by one lock. A new sample wakes one inference
worker. Where batches are short (``batch_times``), the stream's worker runs them instead (:meth:`Pipeline.run_short`).
Free space in a queue wakes the file readers that wait for it. Bad pictures become ``Rejected`` values and are counted;
engine failures are counted and reported.

While a candidate is tried (``trial``), it answers the frames that it takes. One that it cannot answer, and all that
wait for it when the trial ends, are answered by the active model: a trial loses no frame.

A frame with an asker (``ask``) goes the same way; the asker alone is answered. No observer, figure or trial sees it,
since it may be a picture of anything.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from edge_runtime.datatypes import (
    REQUESTS,
    Asked,
    Frame,
    Generation,
    Rejected,
    RejectReason,
    Result,
    Sample,
)
from edge_runtime.errors import EngineError
from edge_runtime.inference.batch_times import BatchTimes
from edge_runtime.inference.engine_slot import EngineLease, EngineSlot
from edge_runtime.inference.frame_walk import FrameTrace
from edge_runtime.inference.listeners import AnswerTap, AnswerWatch, Observer
from edge_runtime.inference.metrics import Latency, PipelineMetrics
from edge_runtime.inference.postprocess.postprocessor import Answer, Postprocessor
from edge_runtime.inference.preprocess import Preprocessor
from edge_runtime.inference.results import BatchTimings, make_result, settle, stack_samples
from edge_runtime.inference.scheduler import BatchPolicy, BatchScheduler, Queued
from edge_runtime.inference.trial import Trial

RETRY_S = 0.001
"""After so long the thread of a stream looks again whether its short batch may run: each other one is over by then."""


@dataclass(eq=False)
class Pipeline:
    """All streams of one model."""

    device: str
    model: str
    preprocessor: Preprocessor
    scheduler: BatchScheduler
    """Queues and their counters; read-only outside of this class."""
    slot: EngineSlot
    """Where the active engine sits."""
    postprocessor: Postprocessor
    deliver: Callable[[Result], None]
    reject: Callable[[str, Rejected], None]
    """Called with the model and every frame that will have no result: bad pictures and bad answers, frames
    lost to an error of the engine. Not of those that were dropped because newer ones came."""
    observer: Observer | None
    on_engine_error: Callable[[EngineError], None]
    clock: Callable[[], float]
    answers: AnswerWatch | None = None
    tap: AnswerTap | None = None
    trace: FrameTrace | None = None
    metrics: PipelineMetrics = field(init=False, default_factory=PipelineMetrics)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._has_work, self._has_room = threading.Condition(self._lock), threading.Condition(self._lock)
        self._has_answered = threading.Condition(self._lock)
        self._has_paused = threading.Condition(self._lock)
        self._is_draining = False
        self._running_since_s: list[float] = []
        self._batch_times = BatchTimes()
        self._is_unwoken = False  # a sample was queued, and no worker was woken for it
        self._has_refused = False  # requests wait until a batch that runs has ended
        self._trial: Trial | None = None

    def begin_trial(self, trial: Trial) -> None:
        """Try a candidate from the next frame on; of two the one that does not give way is tried, the other is over."""
        with self._lock:
            before = self._trial
            if before is not None and trial.gives_way:
                trial.is_over = True
                return
            assert before is None or before.gives_way, "one candidate at a time"
            if before is not None:
                before.is_over = True
            self._trial = trial

    def end_trial(self, trial: Trial) -> None:
        """Publish nothing more of the candidate; the caller frees its engine."""
        with self._lock:
            trial.is_over = True
            if self._trial is trial:
                self._trial = None

    def accept(self, frame: Frame, *, is_live: bool, stop: threading.Event, runs_short: bool = False) -> bool:
        """Prepare a frame and queue it; False when this pipeline drains, so that another one is to have the frame.

        A live stream never waits (its oldest queued sample is dropped); a file waits for room until ``stop``.
        ``runs_short``: the caller calls :meth:`run_short` next, so no worker is woken for a short batch.
        """
        self.metrics.stream(frame.stream).note_frame(frame.captured_at_s)
        trial = self._trial
        prepared, taken_by = self._prepare(frame, trial)
        if isinstance(prepared, Rejected):
            self._reject(prepared, frame)
            return True
        kept = None if trial is None else trial.keep(frame)
        with self._lock:
            while self._is_draining or not self.scheduler.offer(
                prepared, is_live=is_live, now_s=self.clock(), group=taken_by, frame=kept
            ):
                if self._is_draining:  # its workers may have ended, and would never answer it
                    self.metrics.stream(frame.stream).take_back_frame()
                    return False
                if stop.is_set():
                    return True
                self._has_work.notify()
                self._has_room.wait(timeout=0.2)
            self._is_unwoken = runs_short and self.is_short
            if not self._is_unwoken:
                self._has_work.notify()
        return True

    @property
    def is_short(self) -> bool:
        """Whether the threads of streams run batches: these are short, and no candidate is tried."""
        return self._batch_times.is_short and self._trial is None and not self._is_draining

    def run_short(self, stream: str, *, only_full: bool = False) -> float | None:
        """Run at most one batch, where batches are short and a sample of this stream waits.

        As many batches run at once as there are workers. When that many run, the caller looks again after ``RETRY_S``.

        Args:
            stream: Whose thread calls.
            only_full: Run no batch that another frame would still fit into.

        Returns:
            Seconds after which to call again; None where that is not needed.
        """
        with self._lock:
            is_full = len(self.scheduler) >= self.scheduler.policy.max_batch_size
            taken = self._take() if self._short_wait_s(stream) == 0.0 and (is_full or not only_full) else None
        if taken is not None:
            self._run_taken(*taken)
        with self._lock:
            return self._short_wait_s(stream)

    def _short_wait_s(self, stream: str) -> float | None:
        if not self.is_short:
            if self._is_unwoken:  # batches were short when the sample was queued
                self._is_unwoken = False
                self._has_work.notify()
            return None
        if not self.scheduler.has_waiting(stream):
            return None
        wait_s = self.scheduler.wait_s(self.clock())
        return RETRY_S if wait_s is None else wait_s

    def ask(self, frame: Frame) -> Asked:
        """Prepare a frame with an ``asker`` and queue it, unless the queue is full; never waits for room."""
        self.metrics.stream(frame.stream).note_frame(frame.captured_at_s)
        prepared = self.preprocessor.prepare(frame)
        if isinstance(prepared, Rejected):
            self._reject(prepared, frame)
            return Asked.TAKEN
        with self._lock:
            if self._is_draining:
                return Asked.ENDED
            if not self.scheduler.offer(prepared, is_live=False, now_s=self.clock()):
                return Asked.FULL
            self._has_work.notify()
        return Asked.TAKEN

    def step(self, timeout_s: float) -> int:
        """Run at most one batch; returns how many samples it had."""
        taken = self._next_batch(timeout_s)
        if taken is None:
            return 0
        self._run_taken(*taken)
        return len(taken[0])

    def _run_taken(
        self, batch: tuple[Queued, ...], trial: Trial | None, lease: EngineLease, began_s: float
    ) -> None:
        unfinished, is_done = list(batch), False
        try:
            if trial is not None:
                with trial.crashes.contain("candidate", log_once=True) as contained:
                    self._run_candidate(batch, unfinished, lease, trial)
                if contained.error is not None:
                    trial.watch.note_failure(f"failed unexpectedly: {contained.error!r}")
            elif batch[0].group is None:
                self._run(batch, unfinished, lease)
            self._run_again(batch, unfinished)
            is_done = True
        finally:
            with self._lock:
                if not is_done:
                    self._batch_times.forget()  # a worker is to fail next, which the daemon watches
                if self._has_refused or not is_done:
                    self._has_refused = False
                    self._has_work.notify()
                self.metrics.lost_to_errors += len(unfinished)
                self._running_since_s.remove(began_s)
                self.scheduler.finish(batch)
                self._has_answered.notify_all()
                if self.is_idle():
                    self._has_paused.notify_all()
            for queued in unfinished:
                self._reject_lost(queued.sample)
            # May free an engine that was taken out, which no frame waits for.
            (self.slot if trial is None else trial.arm.slot).release(lease)

    def continue_counts(self, before: "Pipeline") -> None:
        """Go on with the counters of the pipeline that this one replaces: an edit of a model forgets no loss.

        They are shared until that one has answered its frames. So call this before the first frame, and start this
        pipeline's workers after the other's have ended.
        """
        self.metrics = before.metrics
        self.metrics.infer_ms, self.metrics.total_ms = Latency(), Latency()  # those of the new engine
        self.scheduler.counters = before.scheduler.counters
        self.slot.continue_count(before.slot)

    def drain(self) -> None:
        """From now on take in nothing, run what is queued at once, and let workers go that find nothing."""
        with self._lock:
            self._is_draining = True
            self._has_work.notify_all()
            self._has_room.notify_all()

    def count_waiting(self) -> int:
        """How many samples wait."""
        with self._lock:
            return len(self.scheduler)

    def is_empty(self) -> bool:
        """Whether no sample waits."""
        return self.count_waiting() == 0

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return self.due_since_s() is None

    def wait_for_pause(self, timeout_s: float) -> bool:
        """Wait until nothing waits and nothing runs; False when that did not come in time.

        Who asks is woken at a pause alone: a thread of low priority that looked every few milliseconds would hold the
        lock, and the interpreter's, while live frames want them.
        """
        with self._lock:
            return self._has_paused.wait_for(self.is_idle, timeout_s)

    def wait_for_running(self, timeout_s: float) -> bool:
        """Wait until no batch runs, in a worker or in the thread of a stream; False when that did not come in time."""
        with self._lock:
            return self._has_answered.wait_for(lambda: not self._running_since_s, timeout_s)

    def due_since_s(self) -> float | None:
        """Since when the oldest waiting or running batch is due (monotonic); None when there is none."""
        with self._lock:
            waiting_s = self.scheduler.oldest_queued_at_s()
            return min(
                (at_s for at_s in (waiting_s, *self._running_since_s) if at_s is not None), default=None
            )

    def set_policy(self, policy: BatchPolicy) -> None:
        """Change the scheduler's limits while it runs."""
        with self._lock:
            self.scheduler.policy = policy

    def rest(self, stream: str) -> None:
        """A stream gives nothing for now; another one may have its worker."""
        with self._lock:
            self.scheduler.rest(stream)
            self._has_work.notify()

    def forget(self, stream: str) -> None:
        """Drop what a removed stream still had waiting."""
        with self._lock:
            self.scheduler.forget(stream)
            self.metrics.stream(stream).forget_unanswered()

    def _prepare(self, frame: Frame, trial: Trial | None) -> tuple[Sample | Rejected, Trial | None]:
        """The sample, and the trial whose candidate is to answer it.

        A picture that the candidate alone cannot prepare is its failure, and goes to the active model.
        """
        if trial is None or not trial.takes(frame.stream, frame.seq):
            return self.preprocessor.prepare(frame), None
        prepared = trial.arm.preprocessor.prepare(frame)
        if not isinstance(prepared, Rejected):
            return prepared, trial
        by_active = self.preprocessor.prepare(frame)
        if not isinstance(by_active, Rejected):
            trial.watch.note_failure(f"{prepared.reason}: {prepared.detail}")
        return by_active, None

    def _take(self) -> tuple[tuple[Queued, ...], Trial | None, EngineLease, float] | None:
        """A batch, the trial whose candidate is to answer it, the engine that does, and when that began."""
        now_s = self.clock()
        batch = self.scheduler.take(now_s, flush=self._is_draining)
        if not batch:
            return None
        self._has_room.notify_all()
        self._running_since_s.append(now_s)
        trial = batch[0].group
        if not isinstance(trial, Trial) or trial.is_over:
            return batch, None, self.slot.acquire(), now_s
        return batch, trial, trial.arm.slot.acquire(), now_s

    def _next_batch(
        self, timeout_s: float
    ) -> tuple[tuple[Queued, ...], Trial | None, EngineLease, float] | None:
        deadline_s = self.clock() + timeout_s
        with self._lock:
            while True:
                taken, now_s = self._take(), self.clock()
                is_drained = self._is_draining and len(self.scheduler) == 0
                if taken is not None or now_s >= deadline_s or is_drained:
                    # For another worker, if one sleeps; short batches run one after the other here.
                    if not self.is_short and self.scheduler.wait_s(now_s) is not None:
                        self._has_work.notify()
                    return taken
                self._has_refused |= self.scheduler.has_waiting(REQUESTS)  # streams look again by themselves
                ready_in_s = self.scheduler.wait_s(now_s)
                remaining_s = deadline_s - now_s
                self._has_work.wait(remaining_s if ready_in_s is None else min(remaining_s, ready_in_s))

    def _run(self, batch: tuple[Queued, ...], unfinished: list[Queued], lease: EngineLease) -> None:
        """Infer and answer with the active model; what is left in ``unfinished`` was lost to an error."""
        started_s = self.clock()
        try:
            outputs = self.slot.infer(lease, stack_samples(unfinished))
        except EngineError as err:
            self._note_engine_error(err)
            return
        infer_ms = self._note_batch(batch, len(unfinished), started_s, lease.generation)
        for index, queued in enumerate(tuple(unfinished)):
            one = {name: array[index] for name, array in outputs.items()}
            answer = self.postprocessor.read(queued.sample, one)
            if isinstance(answer, Rejected):
                self._reject(answer, queued.sample)
                unfinished.remove(queued)
            else:
                times = BatchTimings(started_s, infer_ms, self.clock())
                result = make_result(self.device, self.model, queued, answer, lease.generation, times)
                if (asker := queued.sample.asker) is not None:
                    asker.take(result, one)
                    unfinished.remove(queued)
                    self._note_answered(result, lease.generation)
                    continue
                self._publish(result, queued, answer, lease.generation, unfinished, one)
                if self.observer is not None:
                    self.observer.offer(queued.sample, result)
                trial = self._trial
                if trial is not None and queued.frame is not None:
                    latency_ms = queued.sample.prepare_ms + infer_ms
                    trial.watch.note_active(queued.frame, queued.sample, answer, latency_ms)

    def _run_candidate(
        self, batch: tuple[Queued, ...], unfinished: list[Queued], lease: EngineLease, trial: Trial
    ) -> None:
        """The same with the candidate, up to the first sample that it cannot answer: results stay in order."""
        started_s, arm, watch = self.clock(), trial.arm, trial.watch
        try:
            outputs = arm.slot.infer(lease, stack_samples(batch))
        except EngineError as err:
            for _ in batch:
                watch.note_failure(str(err))
            return
        infer_ms = self._note_batch(batch, len(batch), started_s)
        for index, queued in enumerate(batch):
            one = {name: array[index] for name, array in outputs.items()}
            answer = arm.postprocessor.read(queued.sample, one)
            if isinstance(answer, Rejected):
                watch.note_failure(f"{answer.reason}: {answer.detail}")
                return
            if trial.is_over:
                return
            times = BatchTimings(started_s, infer_ms, self.clock())
            result = make_result(
                self.device, self.model, queued, answer, lease.generation, times, "candidate"
            )
            self._publish(result, queued, answer, lease.generation, unfinished, one)
            watch.note_candidate(queued.sample, answer, queued.sample.prepare_ms + infer_ms)

    def _run_again(self, batch: tuple[Queued, ...], unfinished: list[Queued]) -> None:
        """Answer what a candidate left with the active model, one by one: raw tensors may differ in shape now."""
        for queued in tuple(unfinished):
            if queued.group is None or queued.frame is None:
                continue  # the active model has failed on it
            is_ready = isinstance(queued.group, Trial) and queued.group.is_prepared_alike
            prepared = queued.sample if is_ready else self.preprocessor.prepare(queued.frame)
            if isinstance(prepared, Rejected):
                self._reject(prepared, queued.sample)
                unfinished.remove(queued)
                continue
            alone, lease = [replace(queued, sample=prepared, group=None)], self.slot.acquire()
            try:
                self._run(batch, alone, lease)
            finally:
                self.slot.release(lease)
                if not alone:
                    unfinished.remove(queued)

    def _note_engine_error(self, err: EngineError) -> None:
        with self._lock:
            self.metrics.engine_errors += 1
            self.metrics.last_progress_at_s = self.clock()
        self.on_engine_error(err)

    def _note_batch(
        self, batch: tuple[Queued, ...], samples: int, started_s: float, active: Generation | None = None
    ) -> float:
        """Count a batch that was inferred; returns, in milliseconds, how long that took, once it may be answered.

        ``active``: the generation that inferred it; None for a candidate.
        """
        finished_s = self.clock()
        infer_ms = (finished_s - started_s) * 1000
        with self._lock:
            self.metrics.batches += 1
            self.metrics.batched_samples += samples
            self.metrics.last_progress_at_s = finished_s
            self.metrics.infer_ms.add(infer_ms)
            if active is not None:
                self._batch_times.note(infer_ms, active)
            while not self.scheduler.may_answer(batch):
                self._has_answered.wait()
        return infer_ms

    def _reject(self, rejected: Rejected, of: Frame | Sample) -> None:
        """Count and tell that the picture or the answer cannot be used."""
        self.metrics.stream(of.stream).note_rejection(rejected.reason)
        self._tell_rejected(rejected, of)

    def _tell_rejected(self, rejected: Rejected, of: Frame | Sample) -> None:
        if of.asker is not None:
            of.asker.take(rejected, {})
            return
        self.reject(self.model, rejected)
        if self.tap is not None:
            self.tap.note_rejection(self.model, rejected)
        settle(of, is_judged=rejected.reason is not RejectReason.ENGINE_ERROR)

    def _reject_lost(self, sample: Sample) -> None:
        self.metrics.stream(sample.stream).forget_unanswered()
        detail = "the inference failed; the log of the device says why"
        at, why = sample.captured_at_wall_s, RejectReason.ENGINE_ERROR
        self._tell_rejected(Rejected(sample.stream, sample.seq, why, detail, at, sample.origin), sample)

    def _publish(
        self,
        result: Result,
        queued: Queued,
        answer: Answer,
        generation: Generation,
        unfinished: list[Queued],
        outputs: Mapping[str, NDArray[Any]],
    ) -> None:
        """Publish an answer; whatever fails afterwards, its frame is answered and is ``unfinished`` no more."""
        self.deliver(result)
        unfinished.remove(queued)
        settle(queued.sample, is_judged=True)
        self._note_answered(result, generation)
        self.metrics.answers.note_answer(generation, result.arm or "active", answer)
        if self.answers is not None:
            self.answers.note_answer(generation, result.arm or "active", queued.sample, answer)
        if self.tap is not None:
            self.tap.note_result(result, outputs)
        if self.trace is not None:
            self.trace.note_frame(queued, result)

    def _note_answered(self, result: Result, generation: Generation) -> None:
        self.metrics.stream(result.stream).note_result()
        self.metrics.total_ms.add(result.timings.total)
        self.metrics.durations.add(generation, result.arm or "active", result.timings)
        if self.metrics.first_result_at_s is None:
            self.metrics.first_result_at_s = self.clock()
