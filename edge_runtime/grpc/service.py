"""What each call of the Open Inference Protocol does.

All are declared as calls with a stream of requests, which look the same on the wire as those with one: so the caller
is known before any byte of his message is read, and only a few of the largest messages are in memory at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from urllib.parse import unquote

import grpc

from edge_runtime.grpc.infer_messages import encode_answer, read_request
from edge_runtime.grpc.messages import SERVICE, find_calls, make, parse
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.serving.access import require_role
from edge_runtime.serving.oip_answer import make_answer
from edge_runtime.serving.oip_model import describe_config, describe_model, describe_server, find_model
from edge_runtime.serving.oip_request import InferQuestion
from edge_runtime.serving.predict_service import NEEDED_ROLE, PredictService
from edge_runtime.serving.predictions import ServedModel
from edge_runtime.serving.refusals import Refusal, failed, slow
from edge_runtime.serving.request_counts import RequestCounts
from edge_runtime.serving.room import LARGEST_BODIES
from edge_runtime.system.redaction import PROCESS

CRASHES = "grpc-request"
"""By this name requests that fail unexpectedly are counted."""
RECEIVE_S, RECEIVE_NAME_S = 30.0, 5.0
"""Longest times for a message: with pictures or tensors, and with the name of a model alone."""
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By the statuses of HTTP, in which refusals speak."""
Answer = Callable[[Any], Awaitable[bytes]]


class InferenceService:
    """The calls, for one server.

    Args:
        predict: Has requests answered.
        is_ready: Whether the device may be relied on.
        counts: Counts the calls.
    """

    def __init__(self, predict: PredictService, is_ready: Callable[[], bool], counts: RequestCounts) -> None:
        self._predict, self._is_ready, self._counts = predict, is_ready, counts
        self._receiving = asyncio.Semaphore(LARGEST_BODIES)
        # So that those who may only read keep nobody from an answer.
        self._receiving_names = asyncio.Semaphore(1)

    def make_handler(self) -> Any:
        """For a ``grpc.aio`` server."""
        answers: dict[str, Answer] = {
            "ServerLive": self._show_live,
            "ServerReady": self._show_ready,
            "ModelReady": self._show_model_ready,
            "ServerMetadata": self._show_server,
            "ModelMetadata": partial(self._show_model, "ModelMetadata", describe_model),
            "ModelConfig": partial(
                self._show_model, "ModelConfig", lambda name, model: {"config": describe_config(name, model)}
            ),
            "ModelInfer": self._infer,
        }
        handlers = {
            name: grpc.stream_unary_rpc_method_handler(self._guard(name, answers[name]))
            for name in find_calls()
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _guard(self, name: str, answer: Answer) -> Callable[[object, Any], Awaitable[bytes]]:
        """Answers refusals; counts, and answers, what was not foreseen."""

        async def call(_: object, context: Any) -> bytes:
            refusal = failed()
            with self._predict.crashes.contain(CRASHES, log_once=True):
                try:
                    answered = await answer(context)
                    self._counts.add(name, grpc.StatusCode.OK.name)
                    return answered
                except Refusal as err:
                    refusal = err.bare()
            code = _CODES[refusal.code]
            self._counts.add(name, code.name)
            await context.abort(code, PROCESS.text(refusal.text), _make_pushback(refusal))
            raise AssertionError  # abort raises

        return call

    async def _show_live(self, _context: Any) -> bytes:
        return make("ServerLiveResponse", {"live": True})

    async def _show_ready(self, _context: Any) -> bytes:
        return make("ServerReadyResponse", {"ready": self._is_ready()})

    async def _show_server(self, context: Any) -> bytes:
        self._admit(context, Role.VIEWER)
        return make("ServerMetadataResponse", describe_server())

    async def _show_model_ready(self, context: Any) -> bytes:
        await self._find(context, "ModelReadyRequest")
        return make("ModelReadyResponse", {"ready": True})

    async def _show_model(
        self,
        call: str,
        describe: Callable[[str, ServedModel], dict[str, Any]],
        context: Any,
    ) -> bytes:
        name, model = await self._find(context, f"{call}Request")
        return make(f"{call}Response", describe(name, model))

    async def _infer(self, context: Any) -> bytes:
        self._predict.require_enabled()
        self._admit(context, NEEDED_ROLE)
        data = await _receive(context, self._receiving, RECEIVE_S)
        with self._predict.room.enter(len(data)):
            message = parse("ModelInferRequest", data)
            del data
            name, model = find_model(
                self._predict.predictions, message.model_name or None, message.model_version or None
            )
            asked = InferQuestion(lambda _: read_request(message), self._predict.check_size)
            answers = await self._predict.answer(name, asked.read, keeps_outputs=True)
            return encode_answer(name, asked.id, make_answer(asked.outputs, answers, model))

    async def _find(self, context: Any, request: str) -> tuple[str, ServedModel]:
        self._admit(context, Role.VIEWER)
        message = parse(request, await _receive(context, self._receiving_names, RECEIVE_NAME_S))
        return find_model(self._predict.predictions, message.name, message.version or None)

    def _admit(self, context: Any, needed: Role) -> None:
        shown = [str(value) for name, value in context.invocation_metadata() or () if name == "authorization"]
        require_role(self._predict.access.identify(shown, find_client(context.peer())), needed)


async def _receive(context: Any, room: asyncio.Semaphore, longest_s: float) -> bytes:
    """The first message; one that is too large ends the call before."""
    try:
        async with asyncio.timeout(longest_s), room:
            # Not by the iterator, which keeps what it gave as long as the call is kept.
            data = await context.read()
    except TimeoutError as err:
        raise slow() from err
    if not isinstance(data, bytes):
        raise Refusal(400, "no message; expected one")
    return data


def find_client(peer: str) -> str:
    """The address of the caller's machine in ``ipv4:127.0.0.1:1234`` or ``ipv6:%5B::1%5D:1234``."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")


def _make_pushback(refusal: Refusal) -> tuple[tuple[str, str], ...]:
    """When stock clients try again. Source: grpc/proposal, A6, pushback."""
    seconds = refusal.headers.get("Retry-After")
    return () if seconds is None else (("grpc-retry-pushback-ms", str(int(seconds) * 1000)),)
