"""The dashboard: a page, and the modules and styles of the folder ``page`` that it loads.

A file that is put there is served. The page needs no other server, and its policy lets it load from none.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from edge_runtime.http.answers import answer_json

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "txt": "text/plain"}
_PAGE = "index.html"


def make_dashboard_views() -> dict[str, Callable[[Request], Response]]:
    """The page and its parts, by address; read once."""
    kept = {
        file.name: _Part(file.name, file.read_bytes())
        for file in files("edge_runtime.http").joinpath("page").iterdir()
    }
    return {
        "/": kept[_PAGE].show,
        "/page/{part}": partial(_show, {name: part for name, part in kept.items() if name != _PAGE}),
    }


class _Part:
    """One file. It is asked for anew each time, so that after an update no browser mixes old parts with new ones."""

    def __init__(self, name: str, content: bytes) -> None:
        self._content = content
        self._type = f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8"
        self._tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = {
            "Cache-Control": "no-cache",
            "ETag": self._tag,
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    def show(self, request: Request) -> Response:
        """The file, or 304 to who has it."""
        if request.headers.get("if-none-match") == self._tag:
            return Response(None, 304, self._headers)
        return Response(self._content, 200, self._headers, self._type)


def _show(parts: dict[str, _Part], request: Request) -> Response:
    part = parts.get(request.path_params["part"])
    return answer_json({"error": "the page has no such part"}, 404) if part is None else part.show(request)
