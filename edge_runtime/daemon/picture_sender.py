"""Publishes pictures of cameras as JPEGs, of those that may leave, in one thread: an encoder takes milliseconds.

At QoS 0, not retained, kept nowhere: the next one comes. Each camera has at most one picture a second.
"""

import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import structlog

from edge_runtime.daemon.running import Running
from edge_runtime.daemon.snapshots import NoPicture, Snapshots
from edge_runtime.datatypes import Frame
from edge_runtime.inference.preprocess.snapshot import Mark
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

MAX_SIDE, QUALITY = 640, 80
"""About 50 KB: a card of a dashboard."""
LEAST_GAP_S = 1.0
WAITING = 16
"""Pictures that wait to be encoded; frames of 6 MB each."""
STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class _Job:
    camera: str
    frame: Frame
    marks: tuple[Mark, ...]


class PictureSender:
    """See the module. Its methods may be called from any thread, and never wait."""

    def __init__(
        self,
        running: Running,
        snapshots: Snapshots,
        crashes: Crashes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._running, self._snapshots, self._clock = running, snapshots, clock
        self._jobs: queue.Queue[_Job | None] = queue.Queue(WAITING)
        self._sent_at_s: dict[str, float] = {}
        self._thread = SupervisedThread("pictures", self._run, crashes, is_vital=False)

    def start(self) -> None:
        """Begin to encode and send."""
        self._thread.start()

    def stop(self) -> None:
        """What waits is left out."""
        self._thread.stop()
        if self._thread.is_alive:
            self._put(None)
            self._thread.join(STOP_S)

    def ask(self, camera: str) -> Future[Frame] | None:
        """The next frame of a camera, when it comes; None where none will, or it may not leave."""
        try:
            return self._snapshots.ask(camera, MAX_SIDE)
        except NoPicture:
            return None

    def request(self, camera: str) -> None:
        """Send the next frame of a camera."""
        coming = self.ask(camera)
        if coming is not None:
            coming.add_done_callback(lambda done: self.send(camera, done.result()))

    def send(self, camera: str, frame: Frame, marks: Sequence[Mark] = ()) -> None:
        """Send a frame, with boxes on it; left out where one has just been sent."""
        self._put(_Job(camera, frame, tuple(marks)))

    def _put(self, job: _Job | None) -> None:
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            log.debug("picture left out: too many wait")

    def _run(self) -> None:
        while not self._thread.stopping.is_set():
            job = self._jobs.get()
            if job is not None:
                self._send(job)
            self._thread.succeeded()

    def _send(self, job: _Job) -> None:
        now_s, connection = self._clock(), self._running.connection
        client = connection.client
        if client is None or client.session is None:
            return
        if now_s - self._sent_at_s.get(job.camera, float("-inf")) < LEAST_GAP_S:
            return
        try:
            made = self._snapshots.make(job.camera, job.frame, MAX_SIDE, QUALITY, job.marks)
        except NoPicture as err:
            log.debug("no picture to send", camera=job.camera, reason=str(err))
            return
        if client.publish(connection.topics.snapshot(job.camera), made.jpeg, is_light=True):
            self._sent_at_s[job.camera] = now_s
