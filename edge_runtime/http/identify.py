"""ASGI middleware that finds out who asks, before any address is looked at: what is added later is closed too."""

from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_runtime.http.answers import FRESH, refuse
from edge_runtime.http.http_access import HttpAccess
from edge_runtime.http.page_policy import make_page_headers
from edge_runtime.serving.refusals import Refusal

OPEN = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
"""For probes, which have no token: they are told whether, and not why."""


class Identify:
    """Notes the caller in the state of the request; refuses those who may ask for nothing."""

    def __init__(self, app: ASGIApp, access: HttpAccess) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on what may be asked for."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        request.state.access = self._access
        try:
            request.state.caller = self._access.identify(request)
        except Refusal as refusal:
            request.state.caller = None
            if scope["path"] not in OPEN:
                await (await _answer(request, refusal))(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _answer(request: Request, refusal: Refusal) -> Response:
    """A person who opens a page is asked for the token there."""
    is_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if refusal.code != 401 or not is_page:
        return await refuse(request, refusal)
    page, headers = _load_login()
    levels = request.scope["path"].count("/") - 1
    page = page.replace(b"{root}", b"../" * levels)
    return Response(page, 401, {**headers, **FRESH, **refusal.headers}, "text/html; charset=utf-8")


@cache
def _load_login() -> tuple[bytes, dict[str, str]]:
    page = files("edge_runtime.http").joinpath("login.html").read_bytes()
    return page, make_page_headers(page)
