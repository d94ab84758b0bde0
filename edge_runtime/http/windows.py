"""``GET /sensors/{stream}/window.svg``: the next window of a sensor as a chart, for who may see pictures."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.http.answers import FRESH, guard
from edge_runtime.http.http_access import require
from edge_runtime.http.pictures import MOST_REQUESTS, PictureTaker, describe_frame
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.room import Room
from edge_runtime.system.supervised_thread import Crashes

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
"""A chart has its style in it, and no script."""


def make_window_route(taker: PictureTaker, crashes: Crashes) -> Route:
    """The address of all sensors' windows."""
    show = partial(_show, taker, Room(MOST_REQUESTS, 0))
    return Route("/sensors/{stream}/window.svg", guard(crashes, "http-window", show))


async def _show(taker: PictureTaker, room: Room, request: Request) -> Response:
    require(request, Role.OPERATOR)
    with room.enter(0):
        frame, chart = await taker.take_window(request.path_params["stream"])
    headers = {**FRESH, **describe_frame(frame), "Content-Security-Policy": POLICY}
    return Response(chart.svg, 200, headers, "image/svg+xml")
