"""The streams of a running daemon: which are open, and how they are closed and opened again after an edit."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from edge_runtime.config import CameraConfig
from edge_runtime.daemon.health import SourceFacts
from edge_runtime.daemon.workers import StreamWorker
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.sources.base import Source
from edge_runtime.sources.reopen import Backoff
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()

OpenSource = Callable[[str, CameraConfig, int], Source]
"""(stream, its configuration, first sequence number) -> a source."""
CLOSE_S = 3.0
GRACE_S = 2.0  # a source notices its own stall and starts again; silence counts only after that


@dataclass(frozen=True, slots=True)
class _OpenStream:
    """One stream, and the pipeline that answers it since ``since_s`` (monotonic seconds)."""

    camera: CameraConfig
    worker: StreamWorker
    pipeline: Pipeline
    since_s: float


class Cameras:
    """All open streams. The main thread opens and closes them; any thread may read."""

    def __init__(self, open_source: OpenSource, sequences: Path, crashes: Crashes) -> None:
        self._open_source, self._sequences, self._crashes = open_source, sequences, crashes
        self._streams: dict[str, _OpenStream] = {}

    def open(self, stream: str, camera: CameraConfig, pipeline: Pipeline) -> None:
        """Start a stream's worker. A source that cannot be opened is a problem in the status, not an error here."""
        sequence = SequenceNumbers(self._sequences / f"{stream}.seq")
        worker = StreamWorker(
            lambda: self._open_source(stream, camera, sequence.next),
            stream,
            pipeline,
            self._crashes,
            Backoff(random.Random()),  # noqa: S311 - jitter, not a secret
            sequence,
            camera.colour,
        )
        self._streams[stream] = _OpenStream(camera, worker, pipeline, time.monotonic())
        worker.thread.start()

    def move(self, stream: str, pipeline: Pipeline) -> None:
        """Let another pipeline answer an open stream without closing its source, so that no frame is lost.

        The old pipeline answers the frames that it has queued.
        """
        moved = self._streams[stream]
        moved.worker.move_to(pipeline)
        self._streams[stream] = replace(moved, pipeline=pipeline, since_s=time.monotonic())

    def close(self, stream: str) -> None:
        """End a stream and drop its queued frames; nothing happens when it is not open."""
        closed = self._streams.pop(stream, None)
        if closed is not None:
            closed.worker.thread.stop()
            if not closed.worker.thread.join(CLOSE_S):
                log.warning("stream did not end in time", stream=stream)
            closed.pipeline.forget(stream)

    def stop_all(self) -> None:
        """Take in no more frames; those that were taken in are still answered."""
        workers = [entry.worker for entry in self._streams.values()]
        for worker in workers:
            worker.thread.stop()
        for worker in workers:
            worker.thread.join(CLOSE_S)

    def are_finished(self) -> bool:
        """Whether every stream is a file that was played to its end (and there is at least one)."""
        return bool(self._streams) and all(entry.worker.is_finished for entry in self._streams.values())

    def facts(self) -> tuple[SourceFacts, ...]:
        """For the health verdict."""
        return tuple(
            SourceFacts(
                stream=stream,
                started_at_s=entry.since_s,
                last_frame_at_s=entry.pipeline.metrics.stream(stream).last_frame_at_s,
                allowed_silence_s=entry.camera.stall_timeout_s
                + GRACE_S
                + (1 / entry.camera.fps if entry.camera.fps else 0.0),
                may_idle=entry.camera.is_idle_allowed,
                is_finished=entry.worker.is_finished,
                problem=entry.worker.last_problem,
            )
            for stream, entry in dict(self._streams).items()
        )

    def status(self) -> dict[str, dict[str, Any]]:
        """Every open stream, in the names of ``/status``; counts are since its source was opened."""
        return {
            stream: {
                "model": entry.camera.model,
                "path": entry.camera.safe_path,
                "finished": entry.worker.is_finished,
                "problem": entry.worker.last_problem,
                **entry.worker.source_counts(),
            }
            for stream, entry in dict(self._streams).items()
        }
