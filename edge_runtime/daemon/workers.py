"""The threads of the frame path: one per stream, one or more per model.

Batches run in the threads of the model, short ones in the threads of its streams (docs/decisions/0048).
After an unexpected exception a stream is opened again with back-off, like a lost camera; other streams do not notice.
Inference goes on with the next batch; it is vital, so the daemon ends when it only fails.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from math import inf

import structlog

from edge_runtime.config import CameraConfig, SensorConfig, StreamConfig
from edge_runtime.daemon.frame_tap import FrameTap
from edge_runtime.datatypes import Frame
from edge_runtime.errors import SourceLost
from edge_runtime.inference.engines.threads import bind_this_thread
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.sources.base import EndOfStream, Source, SourceCounts
from edge_runtime.sources.reopen import Backoff
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread
from edge_runtime.system.wake_ups import sleep_until

log = structlog.get_logger()

_NONE = SourceCounts()
GATHER_S = 0.002
"""Batches that are not full begin at least this far apart, where a batch may hold several samples. At 1,000 windows a
second each would wake the thread, which costs the thread that wakes it about a tenth of a millisecond.
"""
IDLE_S = 1.0
"""A new sample and an end wake an inference worker before that."""
READ_S = 0.25
MOVE_S = 2.0
"""Longest wait for a sensor's next message, or silence: by then the windows of the last one have been answered."""
LOCK_S = 0.5
"""Longest wait for a frame that is being queued, above the time for a sensor's message."""
QUIET_READS = 8
"""A stream that gave nothing for this many whole reads, 2 s, keeps no worker free until it gives something again."""


class StreamWorker:
    """Reads one source and hands its frames to the pipeline; reopens it with back-off when it is lost."""

    def __init__(
        self,
        stream: str,
        section: StreamConfig,
        open_source: Callable[[Callable[[], Pipeline]], Source],
        pipeline: Pipeline,
        crashes: Crashes,
        backoff: Backoff,
        sequence: SequenceNumbers,
        before: SourceCounts = _NONE,
        on_frame: Callable[[Frame], None] = lambda _: None,
    ) -> None:
        """Nothing runs yet.

        ``open_source`` gets what a source of windows asks, at each message, for the pipeline to cut them for.
        ``before``: counts of this stream while it was open earlier, with which this worker goes on. ``on_frame`` sees
        every frame before it is answered, and must keep no array of it.
        """
        self.stream, self.section = stream, section
        self._colour = section.colour if isinstance(section, CameraConfig) else None
        self._crashes = crashes
        self._open_source, self._backoff, self.sequence = open_source, backoff, sequence
        self.pipeline, self.since_s = pipeline, time.monotonic()
        """The pipeline that answers the stream since ``since_s`` (monotonic seconds)."""
        self.tap, self._on_frame = FrameTap(), on_frame
        self._handing_over, self._has_moved = threading.Lock(), threading.Event()
        self._next: Pipeline | None = None
        """Where a sensor's windows are to go from its next message on."""
        self.is_finished = False
        # One value, replaced at once: a reader never sees frames of a source twice, or not at all.
        self._counted: tuple[Source | None, SourceCounts] = (
            None,
            replace(before, last_problem=None, doubt=None),
        )
        self._reopened = 0
        self._lost: str | None = None
        self._has_given = False
        self.thread = SupervisedThread(
            f"stream-{stream}",
            self._run,
            crashes,
            on_failure=lambda err: self._note_loss(f"failed unexpectedly: {err!r}"),
            is_vital=False,
            pause_s=lambda _: backoff.next_delay_s(),
        )

    def begin_move(self, pipeline: Pipeline) -> None:
        """Let another pipeline have every further frame; the source goes on as it is. :meth:`end_move` comes next.

        A sensor's windows are cut for one pipeline: those of a message that is on its way go to the old one still.
        """
        self._has_moved.clear()
        self._next = pipeline

    def end_move(self, deadline_s: float) -> None:
        """Wait until the old pipeline, which must still be running, gets nothing more.

        A sensor is moved between two messages, or without regard to them at ``deadline_s`` (monotonic seconds). A
        stream whose frame finds no room in the old pipeline moves with it when that drains; the caller does not wait.
        """
        if isinstance(self.section, SensorConfig) and self._counted[0] is not None:
            self._has_moved.wait(max(0.0, deadline_s - time.monotonic()))
        if self._handing_over.acquire(timeout=max(0.0, deadline_s - time.monotonic()) + LOCK_S):
            try:
                self._move()
            finally:
                self._handing_over.release()
        else:
            log.warning("stream still waits for the model that is replaced", stream=self.stream)

    def take_pipeline(self) -> Pipeline:
        """The pipeline that gets what the source makes from now on; only for the source, in this worker's thread."""
        with self._handing_over:
            self._move()
            return self.pipeline

    def _move(self) -> bool:
        if self._next is None:
            return False
        self.pipeline, self.since_s, self._next = self._next, time.monotonic(), None
        self._has_moved.set()
        return True

    @property
    def last_problem(self) -> str | None:
        """Why the source was last lost or opened again."""
        return self.source_counts().last_problem

    def source_counts(self) -> SourceCounts:
        """Counts since the start of the daemon; restarts and problems are also those that this worker noted."""
        source, ended = self._counted
        counts = ended if source is None else source.stats().after(ended)
        restarts, problem = counts.restarts + self._reopened, counts.last_problem or self._lost
        return replace(counts, restarts=restarts, last_problem=problem)

    def _run(self) -> None:
        while not self.thread.stopping.is_set() and not self.is_finished:
            try:
                self._play()
            except SourceLost as err:
                self.thread.succeeded()  # a source that is away is no failure of the thread
                self._note_loss(err.reason)
                delay_s = self._backoff.next_delay_s()
                event = "source lost" if self._has_given else "source not available"
                log.warning(event, stream=self.stream, reason=err.reason, retry_in_s=round(delay_s, 1))
                self.thread.stopping.wait(delay_s)

    def _note_loss(self, reason: str) -> None:
        self._reopened += 1
        self._lost = reason

    def _play(self) -> None:
        source = self._open_source(self.take_pipeline)
        ended = self._counted[1]
        self._counted = source, ended
        try:
            quiet, wait_s = 0, READ_S
            while not self.thread.stopping.is_set():
                frame = source.read(timeout_s=wait_s)
                if frame is None:
                    self.take_pipeline()
                    if wait_s == READ_S:
                        quiet += 1
                        if quiet == QUIET_READS:
                            self.pipeline.rest(self.stream)
                    wait_s = self._run_short(only_full=False)
                    continue
                quiet, self._has_given = 0, True
                self.sequence.mark_used(frame.seq)
                if self._colour is not None:  # the channel order that the source really gives
                    frame = replace(frame, colour=self._colour)
                self.tap.offer(frame)
                self._on_frame(frame)
                self._hand_over(frame, is_live=source.is_live)
                wait_s = self._run_short(only_full=True)
                self._backoff.reset()
                self.thread.succeeded()
        except EndOfStream:
            self.is_finished = True
            log.info("stream finished", stream=self.stream)
        finally:
            self.pipeline.rest(self.stream)
            source.close()
            self._counted = None, source.stats().after(ended)

    def _hand_over(self, frame: Frame, *, is_live: bool) -> None:
        with self._handing_over:
            if not isinstance(self.section, SensorConfig):
                self._move()
            while not self.pipeline.accept(
                frame, is_live=is_live, stop=self.thread.stopping, runs_short=True
            ):
                if not self._move():  # it drains: the next one answers the frame, if there is one
                    return

    def _run_short(self, *, only_full: bool) -> float:
        """Run a short batch in this thread, if one is ready; returns how long the source may be read until the next.

        A failure is the model's: the source stays open, and a worker runs the next batch. A move does not wait for it.
        """
        pipeline, wait_s = self.pipeline, None
        with self._crashes.contain(f"infer-{pipeline.model}"):
            wait_s = pipeline.run_short(self.stream, only_full=only_full)
        return READ_S if wait_s is None else min(wait_s, READ_S)


class InferenceWorker:
    """Runs a pipeline's batches."""

    def __init__(self, name: str, pipeline: Pipeline, crashes: Crashes, cpus: tuple[int, ...] = ()) -> None:
        """``cpus``: the logical CPUs that its thread is bound to; empty leaves that to the kernel."""
        self._pipeline, self._cpus = pipeline, cpus
        self.bound_to: tuple[int, ...] = ()
        self.thread = SupervisedThread(name, self._run, crashes)
        """Once it shall stop, it ends when nothing is queued."""

    def _run(self) -> None:
        if self._cpus:
            try:
                bind_this_thread(self._cpus)
                self.bound_to = self._cpus
            except OSError as err:  # a CPU went offline, or a unit denies it: slower perhaps, not wrong
                log.warning(
                    "thread not bound to its CPUs", worker=self.thread.name, cpus=self._cpus, reason=str(err)
                )
        began_s = -inf
        while not (self.thread.stopping.is_set() and self._pipeline.is_empty()):
            self._gather(began_s)
            began_s = time.monotonic()
            self._pipeline.step(timeout_s=IDLE_S)
            self.thread.succeeded()

    def _gather(self, began_s: float) -> None:
        """Let samples that come in quick succession share a batch, and one wake-up, where one more fits into it."""
        most = self._pipeline.scheduler.policy.max_batch_size
        if most > 1 and self._pipeline.count_waiting() < most:
            sleep_until(began_s + GATHER_S)
