"""Answers without an end: they end with the client, with the server, or when the caller has no right any more."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from edge_runtime.http.answers import FRESH
from edge_runtime.http.http_access import is_still_allowed
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.system.supervised_thread import Crashes

LOOK_AGAIN_S = 10.0
"""Between two looks at the rights of the caller."""
UNBUFFERED = {"X-Accel-Buffering": "no"}
"""For proxies of the nginx kind."""


class RightWatch:
    """Whether the caller of a stream may still have it, looked at now and then."""

    def __init__(self, request: Request, needed: Role, clock: Callable[[], float] = time.monotonic) -> None:
        self._request, self._needed, self._clock = request, needed, clock
        self._again_at_s = clock() + LOOK_AGAIN_S

    def is_over(self) -> bool:
        """Whether the stream has to end."""
        now_s = self._clock()
        if now_s < self._again_at_s:
            return False
        self._again_at_s = now_s + LOOK_AGAIN_S
        return not is_still_allowed(self._request, self._needed)


class StreamResponse(StreamingResponse):
    """One such answer; to HEAD its headers alone.

    Args:
        parts: What is sent; ``place`` is left when it ends, however that happens.
        content_type: Of the whole.
        place: Entered already.
        crashes: Counts by ``name`` unforeseen errors; the stream ends then.
        name: See ``crashes``.
        headers: More of them.
    """

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        content_type: str,
        place: AbstractContextManager[object],
        crashes: Crashes,
        name: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(parts, 200, {**FRESH, **UNBUFFERED, **(headers or {})}, content_type)
        self._place, self._crashes, self._name = place, crashes, name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._place:
            if scope["method"] == "HEAD":
                await Response(None, 200, dict(self.headers))(scope, receive, send)
                return
            with self._crashes.contain(self._name, log_once=True):
                await super().__call__(scope, receive, send)
