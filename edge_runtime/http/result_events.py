"""``GET /results/events``: results as they come, as server-sent events (HTML, section 9.2).

Each listener has its queue, so that a slow one delays no other: it loses the oldest results of its queue, and is told
how many. Without listeners nothing is done.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.http.answers import guard
from edge_runtime.http.http_access import require
from edge_runtime.http.stream_response import RightWatch, StreamResponse
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.messaging.delivery import Follower, SentResult
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.room import Room
from edge_runtime.system.supervised_thread import Crashes

MOST_LISTENERS = 16
MOST_WAITING = 256
MOST_WAITING_BYTES = 1 << 20
"""Of one listener; the newest result always has room."""
MOST_STREAMS = 64
HEARTBEAT_S = 10.0
RETRY_MS = 2000
_CONTENT_TYPE = "text/event-stream"
_CRASHES = "http-results"


class ResultFeed(Protocol):
    """What the daemon gives."""

    def follow(self, follower: Follower) -> list[SentResult]:
        """Have it called with each result after the newest ones, which are given, oldest first."""

    def unfollow(self, follower: Follower) -> None:
        """Have it called no longer."""


class Listener:
    """The queue of one client.

    Args:
        streams: Those it wants; empty: all.
        wake: Called in any thread when there is something after there was nothing.
    """

    def __init__(self, streams: Iterable[str], wake: Callable[[], None]) -> None:
        self._streams, self._wake = frozenset(streams), wake
        self._waiting: deque[SentResult] = deque()
        self._bytes, self._lost = 0, 0
        self._lock = threading.Lock()

    def wants(self, sent: SentResult) -> bool:
        """Whether it is to be told."""
        return not self._streams or sent.stream in self._streams

    def give(self, sent: SentResult) -> None:
        """A ``Follower``."""
        if not self.wants(sent):
            return
        with self._lock:
            was_empty = not self._waiting
            self._waiting.append(sent)
            self._bytes += len(sent.payload)
            while len(self._waiting) > 1 and (
                len(self._waiting) > MOST_WAITING or self._bytes > MOST_WAITING_BYTES
            ):
                self._bytes -= len(self._waiting.popleft().payload)
                self._lost += 1
        if was_empty:
            self._wake()

    def take(self) -> tuple[list[SentResult], int]:
        """All that waits, oldest first, and how many were lost before it."""
        with self._lock:
            found, lost = list(self._waiting), self._lost
            self._waiting.clear()
            self._bytes, self._lost = 0, 0
        return found, lost


def make_result_events_route(feed: ResultFeed, crashes: Crashes) -> Route:
    """The address of the results of all streams."""
    room = Room(MOST_LISTENERS, 0)
    return Route("/results/events", guard(crashes, _CRASHES, partial(_open, feed, room, crashes)))


async def _open(feed: ResultFeed, room: Room, crashes: Crashes, request: Request) -> Response:
    require(request, Role.VIEWER)
    streams = request.query_params.getlist("stream")
    if len(streams) > MOST_STREAMS:
        raise Refusal(400, f"{len(streams)} streams; at most {MOST_STREAMS} are taken")
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(woken.set)

    listener = Listener(streams, wake)
    with ExitStack() as place:
        place.enter_context(room.enter(0))
        place.callback(feed.unfollow, listener.give)
        recent = feed.follow(listener.give)  # before the answer begins: who has its head misses nothing
        last_id = request.headers.get("last-event-id")
        missed = b"" if last_id is None else _catch_up(listener, recent, last_id)
        parts = _tell(listener, woken, missed, RightWatch(request, Role.VIEWER))
        return StreamResponse(parts, _CONTENT_TYPE, place.pop_all(), crashes, _CRASHES)


async def _tell(
    listener: Listener, woken: asyncio.Event, missed: bytes, right: RightWatch
) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY_MS}\n\n".encode() + missed
    while not right.is_over():
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await woken.wait()
        except TimeoutError:
            yield b":\n\n"
            continue
        woken.clear()
        results, lost = listener.take()
        yield b"".join([_say_lost(lost) if lost else b"", *map(_say_result, results)])


def _catch_up(listener: Listener, recent: list[SentResult], last_id: str) -> bytes:
    """What the listener wants of the results after the one with this id, or of all where it is not among them."""
    ids = [one.id for one in recent]
    is_whole = last_id in ids
    newer = recent[ids.index(last_id) + 1 :] if is_whole else recent
    return b"".join([b"" if is_whole else _say_lost(None), *map(_say_result, filter(listener.wants, newer))])


def _say_result(sent: SentResult) -> bytes:
    """The payload is JSON on one line."""
    return f"id: {sent.id}\nevent: result\ndata: ".encode() + sent.payload + b"\n\n"


def _say_lost(count: int | None) -> bytes:
    return b"event: lost\ndata: " + orjson.dumps({"count": count}) + b"\n\n"
