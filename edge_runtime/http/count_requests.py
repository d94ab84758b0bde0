"""ASGI middleware that counts requests; addresses with names in them count as one."""

from collections.abc import Sequence

from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_runtime.serving.request_counts import RequestCounts

NO_ROUTE = "other"
"""Addresses that do not exist are not told apart: who asks chooses them."""


class CountRequests:
    """Outside of all other middleware, so that refusals count too."""

    def __init__(self, app: ASGIApp, counts: RequestCounts, routes: Sequence[Route]) -> None:
        self._app, self._counts, self._routes = app, counts, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count when the answer begins: one that is a stream may go on for days."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts.add(self._name(scope), message["status"])
            await send(message)

        await self._app(scope, receive, send_counted)

    def _name(self, scope: Scope) -> str:
        matching = (route.path for route in self._routes if route.matches(scope)[0] is not Match.NONE)
        return next(matching, NO_ROUTE)
