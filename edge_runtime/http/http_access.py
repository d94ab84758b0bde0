"""Who asks over HTTP: a program by its token, or a browser by the cookie that it has for one.

A page from elsewhere in a browser must not have anything, although its request comes from a machine that may. A
browser says where the page is from, in ``Origin`` and ``Sec-Fetch-Site``; a program says nothing. A cookie changes
something only with a sign of the browser that a page of this server asks.
"""

import secrets

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from edge_runtime.http.sessions import Sessions
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import LOCAL, Access, Caller, ask_for_token, require_role
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.token_holder import TokenHolder

_READS = ("GET", "HEAD")


def caller_of(request: HTTPConnection) -> Caller | None:
    """Who asks; None where an address is open to all and the request shows no right."""
    caller: Caller | None = request.state.caller
    return caller


def require(request: HTTPConnection, needed: Role) -> Caller:
    """Who asks, with at least this role.

    Raises:
        Refusal: a greater role is needed.
    """
    return require_role(caller_of(request), needed)


def is_still_allowed(request: HTTPConnection, needed: Role) -> bool:
    """Whether who asked once could ask now: tokens and sessions end while an answer goes on."""
    try:
        require_role(request.state.access.identify(request), needed)
    except Refusal:
        return False
    return True


class HttpAccess:
    """The rules for requests over HTTP; see the module. Used by the server's thread."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._sessions = Sessions(lambda: secrets.token_urlsafe(32))

    def identify(self, request: HTTPConnection) -> Caller:
        """Who asks.

        Raises:
            Refusal: it may not ask for anything.
        """
        access, method = self._access, str(request.scope["method"])
        is_own = _check_site(request.headers, request.url.scheme, method)
        if not access.needs_token:
            return LOCAL
        access.require_callers()
        shown = request.headers.getlist("authorization")
        if shown:
            return access.identify(shown, request.client.host if request.client is not None else "")
        cookie = request.cookies.get(cookie_name(request))
        holder = None if cookie is None else self._sessions.find(cookie, access.holders(), access.clock())
        if holder is None:
            raise ask_for_token()
        if method not in _READS and not is_own:
            raise Refusal(403, "a change by a cookie needs Origin or Sec-Fetch-Site of this server")
        return Caller(holder.name, holder.role, holder)

    def open_session(self, holder: TokenHolder) -> str:
        """A new cookie for a browser."""
        return self._sessions.open(holder, self._access.clock())

    def close_session(self, request: HTTPConnection) -> None:
        """The cookie that the request came with counts no longer."""
        cookie = request.cookies.get(cookie_name(request))
        if cookie is not None:
            self._sessions.close(cookie)


def cookie_name(request: HTTPConnection) -> str:
    """By port: browsers keep the cookies of all servers of a machine together."""
    server: tuple[str, int | None] | None = request.scope.get("server")
    return f"edge-runtime-{server[1] if server is not None else 0}"


def _check_site(headers: Headers, scheme: str, method: str) -> bool:
    """Whether the browser says that a page of this server asks; a program says nothing.

    Raises:
        Refusal: a page from elsewhere asks. A person may follow a link from there.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if _is_link(headers, method):
        return False
    is_own_origin = origin is not None and origin.lower() == f"{scheme}://{headers.get('host', '')}".lower()
    if (origin is not None and not is_own_origin) or site not in (None, "same-origin", "none"):
        raise Refusal(403, "requests of pages from elsewhere are refused")
    return is_own_origin or site == "same-origin"


def _is_link(headers: Headers, method: str) -> bool:
    """Whether a person opens an address; a page that takes it into a frame is another thing."""
    is_page = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return is_page and method in _READS and "origin" not in headers
