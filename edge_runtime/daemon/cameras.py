"""The streams of a running daemon: which are open, and how they are closed and opened again after an edit."""

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import structlog

from edge_runtime.config import CameraConfig, StreamConfig
from edge_runtime.daemon.health import SourceFacts
from edge_runtime.daemon.workers import MOVE_S, StreamWorker
from edge_runtime.datatypes import Frame
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.sources.base import Source, SourceCounts
from edge_runtime.sources.reopen import Backoff
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()

OpenSource = Callable[[str, StreamConfig, int, Callable[[], Pipeline]], Source]
"""(stream, its configuration, first sequence number, the pipeline of its next windows when called) -> a source."""
CLOSE_S = 3.0
SENSOR_SILENCE_S = 5.0
GRACE_S = 2.0  # a source notices its own stall and starts again; silence counts only after that


@dataclass(frozen=True, slots=True)
class SampleStatus:
    """What became of the samples of a sensor."""

    came: int
    """In messages that could be read."""
    late: int
    """Left out: their windows were complete already, or their time fits no neighbour's."""
    duplicate: int
    """Left out: another one of the same time had come."""
    gaps: int
    """How often a new window was begun after a pause longer than a window."""
    clock_jumps: int
    """How often a new window was begun, since the sensor's clock was put back."""


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One open stream, in the names and the order of ``/status``; counts are since the start of the daemon."""

    model: str
    """That answers its frames."""
    path: str
    """Without secrets."""
    finished: bool
    """A file that was played to its end."""
    problem: str | None
    """Why it gives no frame just now, or not all of them; None: nothing is wrong."""
    captured: int
    """Frames that the device gave."""
    dropped: int
    """Frames for which a newer one was taken, or above the limit ``fps``."""
    restarts: int
    """How often the device was opened again."""
    priority: str | None
    """None for a stream that is no longer in the configuration."""
    decoding: str | None = None
    """Which frames of a camera of the network are decoded just now: all, nonref or keyframes; None for others."""
    samples: SampleStatus | None = None
    """Of a sensor; None for a camera."""


class Cameras:
    """All open streams. The main thread opens and closes them; any thread may read."""

    def __init__(
        self,
        open_source: OpenSource,
        sequences: Path,
        crashes: Crashes,
        on_frame: Callable[[Frame], None] = lambda _: None,
    ) -> None:
        """No stream is open yet; ``on_frame`` as for a :class:`StreamWorker`."""
        self._open_source, self._sequences, self._crashes = open_source, sequences, crashes
        self._on_frame = on_frame
        self._workers: dict[str, StreamWorker] = {}
        self._paused: dict[str, SequenceNumbers] = {}
        """Of closed streams, also removed ones: opened again, their numbers go on without a gap."""
        self._counts: dict[str, SourceCounts] = {}
        """Of the same streams, up to when they were closed."""

    def open(self, stream: str, section: StreamConfig, pipeline: Pipeline) -> None:
        """Start a stream's worker. A source that cannot be opened is a problem in the status, not an error here."""
        sequence = self._paused.pop(stream, None) or SequenceNumbers(self._sequences / f"{stream}.seq")
        worker = self._workers[stream] = StreamWorker(
            stream,
            section,
            lambda find_pipeline: self._open_source(stream, section, sequence.next, find_pipeline),
            pipeline,
            self._crashes,
            Backoff(random.Random()),  # noqa: S311 - jitter, not a secret
            sequence,
            self._counts.get(stream, SourceCounts()),
            self._on_frame,
        )
        worker.thread.start()

    def move(self, pipelines: Mapping[str, Pipeline]) -> None:
        """Let other pipelines, by stream, answer open streams without closing their sources, so that no frame is lost.

        The old pipelines answer the frames that they have queued. All streams move at the same time.
        """
        for stream, pipeline in pipelines.items():
            self._workers[stream].begin_move(pipeline)
        deadline_s = time.monotonic() + MOVE_S
        for stream in pipelines:
            self._workers[stream].end_move(deadline_s)

    def close(self, stream: str) -> None:
        """End a stream and drop its queued frames; nothing happens when it is not open."""
        closed = self._workers.pop(stream, None)
        if closed is not None:
            closed.thread.stop()
            if closed.thread.join(CLOSE_S):
                self._paused[stream] = closed.sequence
            else:  # it may still use numbers
                log.warning("stream did not end in time", stream=stream)
            self._counts[stream] = closed.source_counts()
            closed.pipeline.forget(stream)

    def stop_all(self) -> None:
        """Take in no more frames; those that were taken in are still answered."""
        for worker in self._workers.values():
            worker.thread.stop()
        for worker in self._workers.values():
            worker.thread.join(CLOSE_S)

    def ask_frame(self, stream: str, max_side: int) -> Future[Frame] | None:
        """The next frame of a stream, when it comes; None where none will: it is not open, or was played to its end."""
        worker = self._workers.get(stream)
        return None if worker is None or worker.is_finished else worker.tap.ask(max_side)

    def describe_silence(self, stream: str, now_s: float) -> str:
        """Why a stream gives no frame, and since when."""
        worker = self._workers.get(stream)
        if worker is None or worker.is_finished:
            return "it was closed"
        last_s = worker.pipeline.metrics.stream(stream).last_frame_at_s
        since = "it has given none yet" if last_s is None else f"the last one came {now_s - last_s:.0f} s ago"
        return since if worker.last_problem is None else f"{since}; {worker.last_problem}"

    def are_finished(self) -> bool:
        """Whether every stream is a file that was played to its end (and there is at least one)."""
        return bool(self._workers) and all(worker.is_finished for worker in self._workers.values())

    def facts(self) -> tuple[SourceFacts, ...]:
        """For the health verdict."""
        workers = dict(self._workers).items()
        metrics = {stream: worker.pipeline.metrics.stream(stream) for stream, worker in workers}
        counts = {stream: worker.source_counts() for stream, worker in workers}
        return tuple(
            SourceFacts(
                stream=stream,
                started_at_s=worker.since_s,
                last_frame_at_s=metrics[stream].last_frame_at_s,
                rejected_in_a_row=metrics[stream].rejected_in_a_row,
                last_result_at_s=metrics[stream].last_result_at_s,
                patience_s=_patience_s(worker.section, counts[stream]),
                last_rejection=metrics[stream].last_rejection,
                unanswered_since_s=metrics[stream].unanswered_since_s,
                allowed_silence_s=_allowed_silence_s(worker.section, counts[stream]),
                may_idle=worker.section.is_idle_allowed,
                is_finished=worker.is_finished,
                problem=counts[stream].last_problem,
                doubt=counts[stream].doubt,
            )
            for stream, worker in workers
        )

    def counts(self) -> dict[str, SourceCounts]:
        """Of every open stream, since the start of the daemon."""
        return {stream: worker.source_counts() for stream, worker in dict(self._workers).items()}

    def status(self, configured: Mapping[str, StreamConfig]) -> dict[str, CameraStatus]:
        """Every open stream, with its priority in this configuration: that may change while the stream stays open."""
        found = {}
        for stream, worker in dict(self._workers).items():
            counts, now = worker.source_counts(), configured.get(stream)
            found[stream] = CameraStatus(
                model=worker.section.model,
                path=worker.section.safe_path,
                finished=worker.is_finished,
                problem=counts.last_problem,
                captured=counts.captured,
                dropped=counts.dropped,
                restarts=counts.restarts,
                decoding=counts.decoding,
                samples=None if isinstance(worker.section, CameraConfig) else _describe_samples(counts),
                priority=None if now is None else now.priority,
            )
        return found


def _patience_s(section: StreamConfig, counts: SourceCounts) -> float:
    return 0.0 if isinstance(section, CameraConfig) else _allowed_silence_s(section, counts)


def _describe_samples(counts: SourceCounts) -> SampleStatus:
    return SampleStatus(
        counts.samples, counts.late_samples, counts.duplicate_samples, counts.gaps, counts.clock_jumps
    )


def _allowed_silence_s(section: StreamConfig, counts: SourceCounts) -> float:
    """Of a sensor at least three windows: one is on its way, and one may have been refused.

    A camera may be slower than the configuration says: of some only key frames are decoded.
    """
    if isinstance(section, CameraConfig):
        interval_s = max(counts.interval_s, 1 / section.fps if section.fps else 0.0)
        return section.stall_timeout_s + GRACE_S + interval_s
    if section.stall_timeout_s is not None:
        return section.stall_timeout_s
    return max(SENSOR_SILENCE_S, 3 * counts.interval_s)
