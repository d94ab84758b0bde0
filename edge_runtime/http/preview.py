"""``GET /cameras/{stream}/preview.mjpg``: pictures of a camera, one after the other, for what shows MJPEG.

The picture that comes next is taken when the one before has been sent: a slow client has fewer, and none without
clients is made.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.http.answers import guard
from edge_runtime.http.http_access import require
from edge_runtime.http.parameters import FPS, MAX_SIDE
from edge_runtime.http.pictures import PictureTaker, TakenPicture, describe_picture
from edge_runtime.http.stream_response import RightWatch, StreamResponse
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.room import Room
from edge_runtime.system.supervised_thread import Crashes

MOST_CLIENTS = 8
SILENT = 503
"""A camera that gives no picture now may give one later; every other refusal lasts."""
AGAIN_S = 1.0
BOUNDARY = b"edge-runtime-picture"
_CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
_CRASHES = "http-preview"


def make_preview_route(taker: PictureTaker, crashes: Crashes) -> Route:
    """The address of all cameras' previews."""
    room = Room(MOST_CLIENTS, 0)
    return Route(
        "/cameras/{stream}/preview.mjpg", guard(crashes, _CRASHES, partial(_open, taker, room, crashes))
    )


async def _open(taker: PictureTaker, room: Room, crashes: Crashes, request: Request) -> Response:
    require(request, Role.OPERATOR)
    stream, side, fps = request.path_params["stream"], MAX_SIDE.read(request), FPS.read(request)
    with ExitStack() as place:
        place.enter_context(room.enter(0))
        first = await taker.take_picture(stream, side)  # where there is none, the status says so
        parts = _show(taker, stream, side, 1.0 / fps, first, RightWatch(request, Role.OPERATOR))
        return StreamResponse(parts, _CONTENT_TYPE, place.pop_all(), crashes, _CRASHES)


async def _show(
    taker: PictureTaker, stream: str, side: int, period_s: float, taken: TakenPicture, right: RightWatch
) -> AsyncIterator[bytes]:
    """Browsers show a picture when they have seen the boundary behind it."""
    loop = asyncio.get_running_loop()
    yield b"--" + BOUNDARY + b"\r\n"
    next_at_s = loop.time()
    while True:
        yield _encode(taken)
        next_at_s = max(next_at_s + period_s, loop.time())
        await asyncio.sleep(next_at_s - loop.time())
        again = await _take_next(taker, stream, side, right)
        if again is None:
            return
        taken = again


async def _take_next(taker: PictureTaker, stream: str, side: int, right: RightWatch) -> TakenPicture | None:
    """The next picture, however long the camera is silent; None where there will be none."""
    while not right.is_over():
        try:
            return await taker.take_picture(stream, side)
        except Refusal as refusal:
            if refusal.code != SILENT:
                return None
            await asyncio.sleep(AGAIN_S)
    return None


def _encode(taken: TakenPicture) -> bytes:
    _, made = taken
    headers = {"Content-Type": "image/jpeg", "Content-Length": str(len(made.jpeg)), **describe_picture(taken)}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + made.jpeg + b"\r\n--" + BOUNDARY + b"\r\n"
