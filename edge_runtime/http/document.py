"""Documents for machines: made at the first request, in another thread, since each takes 0.1 to 0.5 s of a core."""

import asyncio
from collections.abc import Callable
from threading import Lock

from starlette.requests import Request
from starlette.responses import Response

from edge_runtime.http.answers import FRESH, Answer


def show_document(make: Callable[[], bytes], made_of: Callable[[], object] = lambda: None) -> Answer:
    """An endpoint that answers a JSON document and keeps its text.

    Args:
        make: The document; called in another thread, never twice at once.
        made_of: The object that the document describes. The document is made again when this is another object.
    """
    lock, made = Lock(), (object(), b"")

    def read() -> bytes:
        nonlocal made
        with lock:
            source = made_of()
            if made[0] is not source:
                made = source, make()
            return made[1]

    async def show(_: Request) -> Response:
        return Response(await asyncio.to_thread(read), 200, FRESH, "application/json")

    return show
