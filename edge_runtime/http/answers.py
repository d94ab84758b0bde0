"""How every endpoint answers: JSON that nobody keeps, refusals, and what was not foreseen."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from edge_runtime.http.request_body import discard_body
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.serving.refusals import Refusal, failed
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.supervised_thread import Crashes

FRESH = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
Answer = Callable[[Request], Awaitable[Response]]


def answer_json(values: object, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of now, as JSON."""
    return Response(encode_object(values), code, {**FRESH, **(headers or {})}, "application/json")


def guard(crashes: Crashes, name: str, answer: Answer) -> Answer:
    """An endpoint that answers refusals, and counts in ``crashes``, by ``name``, and answers what nobody foresaw."""

    async def endpoint(request: Request) -> Response:
        with crashes.contain(name, log_once=True):
            try:
                return await answer(request)
            except Refusal as refusal:
                return await refuse(request, refusal)
        return await refuse(request, failed())

    return endpoint


async def refuse(request: Request, refusal: Refusal) -> Response:
    """The answer ``{"error": ...}``; what still comes of the body is read and forgotten."""
    if refusal.code not in (408, 413):
        await discard_body(request)
    return answer_json({"error": PROCESS.text(refusal.text)}, refusal.code, refusal.headers)
