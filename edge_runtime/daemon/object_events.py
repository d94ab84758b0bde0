"""Follows the objects on the streams whose cameras say so, in one thread outside of the frame path, and tells of them.

*new* and *end* wait in the outbox until they are delivered; an *update* is left out while a destination is away. The
file of open objects is written before a *new* is sent, and an object leaves it once its *end* is kept. So every *new*
is followed by an *end*, at least once, also over a kill: the next start sends it. Then an *end* may also come of an
object whose *new* was lost with the kill.
"""

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, inf

import structlog

from edge_runtime.config import CameraConfig, TrackingConfig
from edge_runtime.daemon.object_pictures import ObjectPictures
from edge_runtime.daemon.open_objects import OpenObject, OpenObjects
from edge_runtime.daemon.running import Running
from edge_runtime.datatypes import Result
from edge_runtime.errors import StateError
from edge_runtime.inference.tracking.life import LifeRules, ObjectChange, StreamObjects, Why
from edge_runtime.inference.tracking.tracker import MakeTracker, Tracker
from edge_runtime.messaging.delivery import Delivery, Mark
from edge_runtime.messaging.events import Event, StateDamaged
from edge_runtime.messaging.object_events import encode_object_event
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

QUEUED_RESULTS = 256
"""At 30 results/s of eight cameras a second; a tracker needs a tenth of a millisecond for each."""
TICK_S = 0.25
IDLE_S = 30.0
REFRESH_S = 30.0
"""The file is written this often while objects only stay: it says when each was seen last."""
FORGET_S = 1.0
"""Objects that have ended leave it together; a kill before that lets them end twice."""
USUAL_FPS = 30.0
"""Of a camera whose ``fps`` is not set."""
STOP_S = 3.0
KEPT_S = 1.0


@dataclass(slots=True)
class _Stream:
    settings: TrackingConfig
    fps: float
    model: str
    objects: StreamObjects
    tracker: Tracker
    seen_at_s: float

    def make_tracker(self, make: MakeTracker) -> None:
        """One that knows nothing yet."""
        self.tracker = make(ceil(self.settings.lost_s * self.fps))


class ObjectEvents:
    """See the module. :meth:`note` is called by the inference workers, the others by the main thread."""

    def __init__(
        self,
        running: Running,
        delivery: Delivery,
        file: OpenObjects,
        make_tracker: MakeTracker,
        pictures: ObjectPictures,
        crashes: Crashes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._running, self._delivery, self._file = running, delivery, file
        self._make_tracker, self._pictures = make_tracker, pictures
        self._crashes, self._clock = crashes, clock
        self._results: queue.Queue[tuple[Result, float] | None] = queue.Queue(QUEUED_RESULTS)
        self._streams: dict[str, _Stream] = {}
        self._open: dict[str, OpenObject] = {}
        self._ended: deque[tuple[Mark, str]] = deque()
        self._write_due_s, self._is_disk_full = inf, False
        self._has_ended_earlier = False
        self._without_boxes: set[str] = set()
        self._counting = threading.Lock()
        self.skipped = 0
        """Results that came faster than they were looked at."""
        self._is_left = False
        """The stop waits no longer: the destinations are closed, and what is open ends at the next start."""
        self._thread = SupervisedThread("objects", self._run, crashes, at_end=self._finish, is_vital=False)

    def start(self) -> None:
        """Begin; objects that an earlier daemon left open end."""
        self._thread.start()

    def stop(self) -> None:
        """Look at the results that came, and end all objects."""
        self._thread.stop()
        if self._thread.is_alive:
            with suppress(queue.Full):  # then it need not be woken
                self._results.put_nowait(None)
            if not self._thread.join(STOP_S):
                self._is_left = True
                log.warning("objects end at the next start: their tracker takes too long")

    def note(self, result: Result) -> None:
        """A frame was answered; returns at once."""
        camera = self._running.config.cameras.get(result.stream)
        if camera is None or camera.tracking is None:
            return
        try:
            self._results.put_nowait((result, self._clock()))
        except queue.Full:
            with self._counting:
                self.skipped += 1
                is_first = self.skipped == 1
            if is_first:
                log.warning("results are not looked at for objects: they come too fast", stream=result.stream)

    # --- thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if not self._has_ended_earlier:
            self._has_ended_earlier = True
            self._end_earlier()
        expired_at_s = -inf
        while not (self._thread.stopping.is_set() and self._results.empty()):
            is_idle = not (self._streams or self._ended) and self._write_due_s == inf
            try:
                taken = self._results.get(timeout=IDLE_S if is_idle else TICK_S)
            except queue.Empty:
                taken = None
            if taken is not None:
                with self._crashes.contain("objects", log_once=True):
                    self._look(*taken)
            now_s = self._clock()
            if (
                taken is None or now_s - expired_at_s >= TICK_S
            ):  # a look at all streams takes longer than a result
                expired_at_s = now_s
                self._expire(now_s)
            self._forget_ended(now_s)
            if now_s >= self._write_due_s:
                self._write()
            self._thread.succeeded()

    def _finish(self) -> None:
        """All objects end; waits a little until that is kept."""
        self._end_streams(self._streams, "stopped")
        until_s = time.monotonic() + KEPT_S
        while self._ended and time.monotonic() < until_s:
            time.sleep(0.01)
            self._forget_ended(self._clock())
        self._write()

    def _end_earlier(self) -> None:
        try:
            earlier = self._file.read()
        except StateError as err:
            lost = "objects that were there before the restart do not end"
            self._delivery.add_event(Event(time.time(), StateDamaged(str(self._file.path), lost, str(err))))
            return
        for one in earlier:
            self._open.setdefault(one.state.id, one)
            self._publish(one.stream, one.model, [ObjectChange("end", one.state, one.state, "restarted")])

    def _look(self, result: Result, now_s: float) -> None:
        camera = self._running.config.cameras.get(result.stream)
        if camera is None or camera.tracking is None:
            return  # it was turned off meanwhile
        if result.detections is None:
            if result.stream not in self._without_boxes:
                self._without_boxes.add(result.stream)
                log.warning("tracking has no effect: the model finds no boxes", stream=result.stream)
            return
        stream = self._find_stream(result, camera, camera.tracking, now_s)
        found = [one for one in result.detections if one.score >= stream.settings.min_score]
        numbers = stream.tracker.update(found)
        seen = [(number, one) for number, one in zip(numbers, found, strict=True) if number is not None]
        changes = stream.objects.update(result.id, seen, now_s, result.captured_at_wall_s)
        self._publish(result.stream, result.model, changes, stream.objects)
        if stream.settings.pictures:
            if any(change.kind == "new" for change in changes):
                self._pictures.want(result.stream)
            at_wall_s = result.captured_at_wall_s
            shown = [one for one in stream.objects.states().values() if one.seen_at_wall_s == at_wall_s]
            self._pictures.look(result.stream, result.seq, shown)

    def _find_stream(
        self, result: Result, camera: CameraConfig, settings: TrackingConfig, now_s: float
    ) -> _Stream:
        name, fps = result.stream, camera.fps or USUAL_FPS
        stream = self._streams.get(name)
        if stream is not None and (stream.settings, stream.fps) != (settings, fps):
            self._end_streams([name], "off")
            stream = None
        if stream is None:
            tracker = self._make_tracker(ceil(settings.lost_s * fps))
            objects = StreamObjects(make_rules(settings))
            stream = self._streams[name] = _Stream(settings, fps, result.model, objects, tracker, now_s)
        if now_s - stream.seen_at_s > settings.lost_s:  # it counts frames, and none came
            self._publish(name, stream.model, stream.objects.expire(now_s), stream.objects)
            stream.make_tracker(self._make_tracker)
        stream.seen_at_s, stream.model = now_s, result.model
        return stream

    def _expire(self, now_s: float) -> None:
        cameras = self._running.config.cameras
        for name, stream in list(self._streams.items()):
            camera = cameras.get(name)
            if camera is None or camera.tracking is None:
                self._end_streams([name], "off")
                continue
            self._publish(name, stream.model, stream.objects.expire(now_s), stream.objects)
            if stream.objects.is_empty and now_s - stream.seen_at_s > stream.settings.lost_s:
                del self._streams[name]

    def _end_streams(self, names: Sequence[str] | dict[str, _Stream], why: Why) -> None:
        for name in list(names):
            stream = self._streams.pop(name)
            self._publish(name, stream.model, stream.objects.end_all(why), stream.objects)

    def _publish(
        self, stream: str, model: str, changes: Sequence[ObjectChange], now: StreamObjects | None = None
    ) -> None:
        """``now``: the objects of the stream after the changes; None: there are none."""
        if not changes:
            return
        for change in changes:
            if change.kind != "end":
                self._open[change.after.id] = OpenObject(stream, model, change.after)
                self._write_due_s = min(self._write_due_s, self._clock() + REFRESH_S)
        if any(change.kind == "new" for change in changes):
            self._write()
        is_behind = self._delivery.is_behind()
        count = {} if now is None else Counter(one.label for one in now.states().values())
        for change in changes:
            if change.kind == "update" and is_behind:
                continue
            payload = encode_object_event(change, self._running.config.device, stream, model, count)
            self._delivery.add_object_event(stream, payload)
            if change.kind == "end":
                self._ended.append((self._delivery.mark(), change.after.id))

    def _forget_ended(self, now_s: float) -> None:
        while self._ended and self._delivery.is_kept(self._ended[0][0]):
            _, ended = self._ended.popleft()
            self._open.pop(ended, None)
            self._write_due_s = min(self._write_due_s, now_s + FORGET_S)

    def _write(self) -> None:
        """Keep which objects are open, if that has changed; without a disk they are known only while it runs.

        Not once the stop has left: an *end* that a closed outbox did not take would be forgotten.
        """
        if self._write_due_s == inf or self._is_left:
            return
        self._write_due_s = inf
        try:
            self._file.write(list(self._open.values()))
            self._is_disk_full = False
        except StateError as err:
            if not self._is_disk_full:
                log.error(
                    "open objects are not kept: a kill of the daemon would leave them open", reason=str(err)
                )
            self._is_disk_full = True


def make_rules(settings: TrackingConfig) -> LifeRules:
    """The policy of a camera."""
    return LifeRules(settings.min_frames, settings.lost_s, settings.update_every_s, settings.most,
                     frozenset(settings.labels))  # fmt: skip
