"""``/session``: a browser shows its token once and keeps a cookie, which no script of a page can read."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.http.answers import FRESH, answer_json, guard
from edge_runtime.http.http_access import HttpAccess, caller_of, cookie_name
from edge_runtime.http.sessions import LASTS_S
from edge_runtime.serving.refusals import Refusal
from edge_runtime.system.supervised_thread import Crashes


def make_session_route(access: HttpAccess, crashes: Crashes) -> Route:
    """Who asks (GET), a cookie for the token that is shown (POST), no longer (DELETE)."""

    async def serve(request: Request) -> Response:
        if request.method == "POST":
            return _open(access, request)
        if request.method == "DELETE":
            access.close_session(request)
            answer = Response(status_code=204, headers=FRESH)
            answer.delete_cookie(cookie_name(request), samesite="strict", httponly=True)
            return answer
        caller = caller_of(request)
        assert caller is not None  # the address is not open
        return answer_json({"name": caller.name, "role": str(caller.role)})

    return Route("/session", guard(crashes, "http-view", serve), methods=["GET", "POST", "DELETE"])


def _open(access: HttpAccess, request: Request) -> Response:
    caller = caller_of(request)
    if caller is None or caller.holder is None or "authorization" not in request.headers:
        raise Refusal(400, "a session is for a token: Authorization: Bearer TOKEN")
    answer = Response(status_code=204, headers=FRESH)
    answer.set_cookie(
        cookie_name(request),
        access.open_session(caller.holder),
        max_age=int(LASTS_S),
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer
