"""``GET /cameras/{stream}/picture.jpg``: the next frame of a camera as a small JPEG.

Waiting holds no thread, and pictures are made one after the other in a thread of their own, so that probes of health
are answered meanwhile. Who may ask is as for ``/predict``.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calibration.report.window_chart import WindowChart
from edge_runtime.datatypes import Frame
from edge_runtime.http.answers import FRESH, guard
from edge_runtime.http.http_access import require
from edge_runtime.http.parameters import MAX_SIDE
from edge_runtime.inference.preprocess.snapshot import Snapshot
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.room import Room
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes

MOST_REQUESTS = 16
"""At a time, of all pages together; they share the frames that they wait for."""
QUALITY = 75
Made = Snapshot | WindowChart
Taken = tuple[Frame, Made]
TakenPicture = tuple[Frame, Snapshot]
Call = Callable[[Frame], None]


class PictureSource(Protocol):
    """What the daemon gives; the first two raise :class:`Refusal` where there is no picture."""

    wait_s: float
    """How long a frame is waited for."""

    def ask(self, stream: str, max_side: int) -> Future[Frame]:
        """The next frame, when it comes, large enough for such a picture; it must not be cancelled."""

    def make(self, stream: str, frame: Frame, max_side: int, quality: int) -> Made:
        """The picture of a camera, or the chart of a sensor; called in another thread."""

    def describe_silence(self, stream: str) -> Refusal:
        """No frame came."""


@dataclass(frozen=True, slots=True)
class PictureService:
    """What requests for pictures need; one for the server."""

    source: PictureSource
    crashes: Crashes


class Waiting:
    """Who waits for which frame. Who gives up leaves nothing behind at a camera that is silent for days."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: WeakKeyDictionary[Future[Frame], set[Call]] = WeakKeyDictionary()
        """By frame that is to come; one that never comes goes with its camera."""

    def add(self, coming: Future[Frame], call: Call) -> None:
        """Have ``call`` called with the frame, at once where it is there, else in the camera's thread."""
        with self._lock:
            is_first = coming not in self._calls
            self._calls.setdefault(coming, set()).add(call)
        if is_first:
            coming.add_done_callback(self._give)

    def remove(self, coming: Future[Frame], call: Call) -> None:
        """Nobody waits for it any more."""
        with self._lock:
            self._calls.get(coming, set()).discard(call)

    def _give(self, coming: Future[Frame]) -> None:
        with self._lock:
            calls = self._calls.pop(coming, set())
        for call in calls:
            call(coming.result())


class PictureTaker:
    """Takes pictures for all requests; they share the frames that they wait for, and one thread."""

    def __init__(self, source: PictureSource) -> None:
        self._source, self._waiting = source, Waiting()
        self._maker = ThreadPoolExecutor(1, "http-pictures")

    def describe_silence(self, stream: str) -> str:
        """Why a camera has given no picture yet."""
        return self._source.describe_silence(stream).text

    async def take_picture(self, stream: str, max_side: int) -> TakenPicture:
        """The next frame of a camera and its picture.

        Raises:
            Refusal: there is none, or it is a sensor.
        """
        frame, made = await self.take(stream, max_side)
        if isinstance(made, WindowChart):
            raise Refusal(404, f"{stream!r} is a sensor; its windows are at /sensors/{stream}/window.svg")
        return frame, made

    async def take_window(self, stream: str) -> tuple[Frame, WindowChart]:
        """The next window of a sensor and its chart, which has one size.

        Raises:
            Refusal: there is none, or it is a camera.
        """
        frame, made = await self.take(stream, MAX_SIDE.usual)
        if isinstance(made, Snapshot):
            raise Refusal(404, f"{stream!r} is a camera; its pictures are at /cameras/{stream}/picture.jpg")
        return frame, made

    async def take(self, stream: str, max_side: int) -> Taken:
        """The next frame and its picture or chart; the server's thread is not woken between the two.

        Raises:
            Refusal: there is none, now or at all.
        """
        ready: Future[Future[Taken]] = Future()
        jobs = list[Future[Taken]]()

        def give(made: Future[Taken]) -> None:
            if ready.set_running_or_notify_cancel():
                ready.set_result(made)

        def make(frame: Frame) -> None:
            if not ready.cancelled():
                job = self._maker.submit(_make, self._source, stream, frame, max_side)
                jobs.append(job)
                job.add_done_callback(give)

        coming = self._source.ask(stream, max_side)
        self._waiting.add(coming, make)
        try:
            made = await asyncio.wait_for(asyncio.wrap_future(ready), self._source.wait_s)
        except TimeoutError as err:
            raise self._source.describe_silence(stream) from err
        finally:
            self._waiting.remove(coming, make)
            for job in jobs:  # it holds a whole frame
                job.cancel()
        return made.result()


def make_picture_route(taker: PictureTaker, crashes: Crashes) -> Route:
    """The address of all cameras' pictures."""
    show = partial(_show, taker, Room(MOST_REQUESTS, 0))
    return Route("/cameras/{stream}/picture.jpg", guard(crashes, "http-picture", show))


async def _show(taker: PictureTaker, room: Room, request: Request) -> Response:
    require(request, Role.OPERATOR)
    stream, max_side = request.path_params["stream"], MAX_SIDE.read(request)
    with room.enter(0):
        taken = await taker.take_picture(stream, max_side)
    return Response(taken[1].jpeg, 200, {**FRESH, **describe_picture(taken)}, "image/jpeg")


def describe_picture(taken: TakenPicture) -> dict[str, str]:
    """Headers that say which frame it is, and in which coordinates its results are."""
    frame, made = taken
    return {
        **describe_frame(frame),
        "Frame-Width": str(made.full_width),
        "Frame-Height": str(made.full_height),
    }


def describe_frame(frame: Frame) -> dict[str, str]:
    """Headers that say which frame it is."""
    return {"Captured-At": format_rfc3339(frame.captured_at_wall_s), "Frame-Seq": str(frame.seq)}


def _make(source: PictureSource, stream: str, frame: Frame, max_side: int) -> Taken:
    return frame, source.make(stream, frame, max_side, QUALITY)
