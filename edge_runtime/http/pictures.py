"""``GET /cameras/{stream}/picture.jpg``: the next frame of a camera as a small JPEG.

Waiting holds no thread, and pictures are made one after the other in a thread of their own, so that probes of health
are answered meanwhile. Who may ask is as for ``/predict``: a page from elsewhere may not, other machines need a token.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.datatypes import Frame
from edge_runtime.http.access import Access
from edge_runtime.http.refusals import Refusal, failed
from edge_runtime.http.request_body import Room
from edge_runtime.inference.preprocess.snapshot import Snapshot
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes

MOST_REQUESTS = 16
"""At a time, of all pages together; they share the frames that they wait for."""
SMALLEST_SIDE, LARGEST_SIDE, USUAL_SIDE = 16, 1920, 640
QUALITY = 75
Taken = tuple[Frame, Snapshot]
_FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class PictureSource(Protocol):
    """What the daemon gives; the first two raise :class:`Refusal` where there is no picture."""

    wait_s: float
    """How long a frame is waited for."""

    def ask(self, stream: str) -> Future[Frame]:
        """The next frame, when it comes; it must not be cancelled."""

    def make(self, stream: str, frame: Frame, max_side: int, quality: int) -> Snapshot:
        """Called in another thread."""

    def describe_silence(self, stream: str) -> Refusal:
        """No frame came."""


@dataclass(frozen=True, slots=True)
class PictureService:
    """What requests for pictures need; one for the server."""

    source: PictureSource
    access: Access
    crashes: Crashes


def make_picture_routes(service: PictureService) -> list[Route]:
    """The address of all cameras' pictures."""
    room, maker = Room(MOST_REQUESTS, 0), ThreadPoolExecutor(1, "http-pictures")
    return [Route("/cameras/{stream}/picture.jpg", _guard(service, partial(_show, service, room, maker)))]


def _guard(
    service: PictureService, answer: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        with service.crashes.contain("http-picture", log_once=True):
            try:
                return await answer(request)
            except Refusal as refusal:
                return _refuse(refusal)
        return _refuse(failed())

    return endpoint


def _refuse(refusal: Refusal) -> Response:
    body = encode_object({"error": PROCESS.text(refusal.text)})
    return Response(body, refusal.code, {**_FRESH, **refusal.headers}, "application/json")


async def _show(service: PictureService, room: Room, maker: ThreadPoolExecutor, request: Request) -> Response:
    service.access.check(request.headers, request.url.scheme, Role.OPERATOR)
    stream, max_side = request.path_params["stream"], _read_side(request)
    async with room.enter(0):
        frame, made = await _take(service.source, stream, max_side, maker)
    about = {
        "Captured-At": format_rfc3339(frame.captured_at_wall_s),
        "Frame-Seq": str(frame.seq),
        "Frame-Width": str(made.full_width),
        "Frame-Height": str(made.full_height),
    }
    return Response(made.jpeg, 200, {**_FRESH, **about}, "image/jpeg")


async def _take(source: PictureSource, stream: str, max_side: int, maker: ThreadPoolExecutor) -> Taken:
    """The next frame and its picture; this thread is not woken between the two."""
    ready: Future[Future[Taken]] = Future()

    def give(made: Future[Taken]) -> None:
        if ready.set_running_or_notify_cancel():
            ready.set_result(made)

    def make(coming: Future[Frame]) -> None:
        if not ready.cancelled():
            maker.submit(_make, source, stream, coming.result(), max_side).add_done_callback(give)

    source.ask(stream).add_done_callback(make)
    try:
        made = await asyncio.wait_for(asyncio.wrap_future(ready), source.wait_s)
    except TimeoutError as err:
        raise source.describe_silence(stream) from err
    return made.result()


def _make(source: PictureSource, stream: str, frame: Frame, max_side: int) -> Taken:
    return frame, source.make(stream, frame, max_side, QUALITY)


def _read_side(request: Request) -> int:
    text = request.query_params.get("max_side", str(USUAL_SIDE))
    if not re.fullmatch(r"[0-9]{1,5}", text) or not SMALLEST_SIDE <= int(text) <= LARGEST_SIDE:
        raise Refusal(400, f"max_side is {text[:20]!r}; expected a number in {SMALLEST_SIDE}..{LARGEST_SIDE}")
    return int(text)
