"""``POST /predict``: one picture in, its result out, by the way of a camera's frames.

The answer is that which a frame of a camera would have had published, and goes to the caller alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.datatypes import Rejected, RejectReason
from edge_runtime.http.access import Access
from edge_runtime.http.answers import FRESH, guard
from edge_runtime.http.predictions import Answered, Input, Predictions, Read, ServedModel
from edge_runtime.http.refusals import Refusal, late
from edge_runtime.http.request_body import (
    FORM_BYTES,
    LARGEST_BODIES,
    Room,
    find_form_picture,
    find_json_picture,
    find_size,
    read_body,
)
from edge_runtime.messaging.commands.roles import Role
from edge_runtime.system.supervised_thread import Crashes

PICTURE_KEY = "pictures.max_file_mib"
CRASHES = "http-request"
"""By this name requests that fail unexpectedly are counted."""
_OWN_FAULTS = (RejectReason.ENGINE_ERROR, RejectReason.BAD_OUTPUT)


@dataclass(frozen=True, slots=True)
class PredictService:
    """What requests for answers need; one for the server."""

    predictions: Predictions
    access: Access
    room: Room
    max_picture_bytes: int
    crashes: Crashes
    is_enabled: bool = True

    @classmethod
    def make(
        cls,
        predictions: Predictions,
        access: Access,
        max_picture_bytes: int,
        most_requests: int,
        crashes: Crashes,
        *,
        is_enabled: bool = True,
    ) -> "PredictService":
        """``most_requests`` may be under way at a time; ``crashes`` counts requests that fail unexpectedly."""
        most_bytes = LARGEST_BODIES * _largest_body(max_picture_bytes)
        return cls(
            predictions, access, Room(most_requests, most_bytes), max_picture_bytes, crashes, is_enabled
        )

    @property
    def max_body_bytes(self) -> int:
        """Of the largest picture in Base64, and what is around it."""
        return _largest_body(self.max_picture_bytes)

    async def answer(
        self,
        request: Request,
        model: str | None,
        read: Callable[[Request, bytes], Awaitable[Read]],
        *,
        keeps_outputs: bool = False,
    ) -> tuple[str, tuple[Answered, ...]]:
        """The model's name, and the answers to the inputs in a request.

        Args:
            request: Its body was not read.
            model: Name in the address.
            read: Gives what will find the inputs in the body.
            keeps_outputs: Whether raw outputs are wanted.

        Raises:
            Refusal: it is not answered.
        """
        if not self.is_enabled:
            raise Refusal(403, "requests are turned off in the configuration (http.predict.enabled)")
        self.access.check(request.headers, request.url.scheme, Role.OPERATOR)
        name, _ = self.predictions.find(model)
        size_bytes = find_size(request, self.max_body_bytes, PICTURE_KEY)
        async with self.room.enter(size_bytes):
            # No name for the body: it is to leave the memory when it is decoded, not when it is answered.
            inputs = await read(request, await read_body(request, size_bytes, PICTURE_KEY))
            future = self.predictions.ask(name, inputs, keeps_outputs=keeps_outputs)
            del inputs
            try:
                return name, await asyncio.wait_for(asyncio.wrap_future(future), self.predictions.timeout_s)
            except TimeoutError as err:
                raise late() from err


def make_predict_routes(service: PredictService) -> list[Route]:
    """``/predict`` and ``/predict/{model}``."""
    endpoint = guard(service.crashes, CRASHES, partial(_predict, service))
    return [Route(path, endpoint, methods=["POST"]) for path in ("/predict", "/predict/{model}")]


def code_of(answered: Answered) -> int:
    """The HTTP status of one answer."""
    if not isinstance(answered.answer, Rejected):
        return 200
    return 500 if answered.answer.reason in _OWN_FAULTS else 422


async def _predict(service: PredictService, request: Request) -> Response:
    model = request.path_params.get("model")
    _, (answered,) = await service.answer(request, model, partial(_read_picture, service))
    return Response(answered.payload, code_of(answered), FRESH, "application/json")


async def _read_picture(service: PredictService, request: Request, body: bytes) -> Read:
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    picture: Callable[[], bytes]
    if kind == "multipart/form-data":
        found = await find_form_picture(content_type, body)
        picture = partial(bytes, found)
    elif kind == "application/json":
        picture = partial(find_json_picture, body)
    else:
        picture = partial(bytes, body)
    return partial(_as_inputs, service.max_picture_bytes, picture)


def _as_inputs(max_bytes: int, picture: Callable[[], bytes], _: ServedModel) -> list[Input]:
    found = picture()
    check_picture(found, max_bytes)
    return [found]


def check_picture(picture: bytes, max_bytes: int) -> None:
    """Refuse a picture that is too large for a camera's folder, too.

    Raises:
        Refusal: it is.
    """
    if len(picture) > max_bytes:
        raise Refusal(413, f"{len(picture)} bytes; at most {max_bytes} are taken ({PICTURE_KEY})")


def _largest_body(max_picture_bytes: int) -> int:
    return max_picture_bytes * 4 // 3 + FORM_BYTES
