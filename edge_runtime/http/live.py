"""``GET /live``: the next pictures of cameras, charts of sensors and the newest results in one answer.

Five requests a second for all cameras cost a third of what one for each picture would. It answers after
:data:`LOOK_S` with the pictures that came, and waits longer only while none has.
"""

import asyncio
import base64
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calibration.report.window_chart import WindowChart
from edge_runtime.http.answers import answer_json, guard
from edge_runtime.http.http_access import require
from edge_runtime.http.parameters import LONGEST_MS, MAX_SIDE
from edge_runtime.http.pictures import PictureTaker, Taken
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.room import Room
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes

LOOK_S = 0.2
MOST_CAMERAS = 64
RESULTS_OF_ONE = 8
MOST_REQUESTS = 16
Items = Callable[[int], list[dict[str, Any]]]
Outcomes = dict[str, Taken | Refusal]


def make_live_route(taker: PictureTaker, results: Items, crashes: Crashes) -> Route:
    """The address of the pictures of several cameras at a time."""
    show = partial(_show, taker, results, Room(MOST_REQUESTS, 0))
    return Route("/live", guard(crashes, "http-live", show))


async def _show(taker: PictureTaker, results: Items, room: Room, request: Request) -> Response:
    require(request, Role.OPERATOR)
    named = request.query_params.getlist("camera")
    if not 1 <= len(named) <= MOST_CAMERAS:
        raise Refusal(400, f"{len(named)} cameras; expected camera=NAME once to {MOST_CAMERAS} times")
    cameras = list(dict.fromkeys(named))
    max_side, longest_ms = MAX_SIDE.read(request), LONGEST_MS.read(request)
    with room.enter(0):
        found = await _gather(taker, cameras, max_side, longest_ms / 1000)
    newest = results(min(256, RESULTS_OF_ONE * len(cameras)))
    return answer_json(
        {
            "pictures": [
                _describe(name, taken) for name, taken in found.items() if not isinstance(taken, Refusal)
            ],
            "refused": {
                name: {"code": refusal.code, "error": PROCESS.text(refusal.text)}
                for name, refusal in found.items()
                if isinstance(refusal, Refusal)
            },
            "waiting": {
                name: PROCESS.text(taker.describe_silence(name)) for name in cameras if name not in found
            },
            "results": [_shorten(result) for result in newest if result["stream"] in cameras],
        }
    )


async def _gather(taker: PictureTaker, cameras: list[str], max_side: int, longest_s: float) -> Outcomes:
    """By camera, what came in time."""
    tasks = {asyncio.ensure_future(taker.take(name, max_side)): name for name in cameras}
    try:
        done, pending = await asyncio.wait(tasks, timeout=LOOK_S)
        if not done and longest_s > LOOK_S:
            done, _ = await asyncio.wait(
                pending, timeout=longest_s - LOOK_S, return_when=asyncio.FIRST_COMPLETED
            )
    finally:
        for task in tasks:
            task.cancel()
    return {tasks[task]: _outcome(task) for task in done}


def _outcome(task: asyncio.Task[Taken]) -> Taken | Refusal:
    try:
        return task.result()
    except Refusal as refusal:
        return refusal


def _describe(name: str, taken: Taken) -> dict[str, Any]:
    frame, made = taken
    about = {"camera": name, "seq": frame.seq, "captured_at": format_rfc3339(frame.captured_at_wall_s)}
    if isinstance(made, WindowChart):
        return {**about, "width": made.width, "height": made.height, "svg": made.svg}
    jpeg = base64.b64encode(made.jpeg).decode()
    return {**about, "width": made.full_width, "height": made.full_height, "jpeg": jpeg}


def _shorten(result: dict[str, Any]) -> dict[str, Any]:
    """What is drawn of it; of raw outputs the names, since they may be megabytes."""
    short = {
        name: result.get(name)
        for name in ("stream", "seq", "captured_at", "top", "detections", "values", "anomaly")
    }
    outputs = result.get("outputs")
    return short if outputs is None else {**short, "outputs": dict.fromkeys(outputs)}
