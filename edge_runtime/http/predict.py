"""``POST /predict``: one picture or window in, its result out, by the way of a camera's frames.

The answer is that which a frame of a camera would have had published, and goes to the caller alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.http.answers import FRESH, guard
from edge_runtime.http.http_access import require
from edge_runtime.http.request_body import (
    find_form_file,
    find_json_picture,
    find_size,
    find_url,
    read_body,
)
from edge_runtime.http.window_types import check_window_type
from edge_runtime.inference.specs import SignalSpec
from edge_runtime.serving.predict_service import NEEDED_ROLE, PredictService, code_of
from edge_runtime.serving.predictions import Answered, Input, Read, ServedModel
from edge_runtime.serving.refusals import late
from edge_runtime.serving.room import PICTURE_KEY, Place

CRASHES = "http-request"
"""By this name requests that fail unexpectedly are counted."""


async def answer_request(
    service: PredictService,
    request: Request,
    model: str | None,
    read: Callable[[Request, bytes, Place, ServedModel], Awaitable[Read]],
    *,
    keeps_outputs: bool = False,
) -> tuple[str, tuple[Answered, ...]]:
    """The model's name, and the answers to the inputs in a request.

    Args:
        service: Has them answered.
        request: Its body was not read.
        model: Name in the address.
        read: Gives what will find the inputs in the body, for the model that runs now; may take more room.
        keeps_outputs: Whether raw outputs are wanted.

    Raises:
        Refusal: it is not answered.
    """
    service.require_enabled()
    require(request, NEEDED_ROLE)
    name, found = service.predictions.find(model)
    size_bytes = find_size(request, service.max_body_bytes, PICTURE_KEY)
    with service.room.enter(size_bytes) as place:
        # No name for the body: it is to leave the memory when it is decoded, not when it is answered.
        return name, await service.answer(
            name,
            await read(request, await read_body(request, size_bytes, PICTURE_KEY), place, found),
            keeps_outputs=keeps_outputs,
        )


def make_predict_routes(service: PredictService) -> list[Route]:
    """``/predict`` and ``/predict/{model}``."""
    endpoint = guard(service.crashes, CRASHES, partial(_predict, service))
    return [Route(path, endpoint, methods=["POST"]) for path in ("/predict", "/predict/{model}")]


async def _predict(service: PredictService, request: Request) -> Response:
    model = request.path_params.get("model")
    _, (answered,) = await answer_request(service, request, model, partial(_read_input, service))
    return Response(answered.payload, code_of(answered), FRESH, "application/json")


async def _read_input(
    service: PredictService, request: Request, body: bytes, place: Place, model: ServedModel
) -> Read:
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    spec = model.pipeline.preprocessor.spec
    data: Callable[[], bytes] = partial(bytes, body)
    if kind == "multipart/form-data":
        data = partial(bytes, await find_form_file(content_type, body))
    elif isinstance(spec, SignalSpec):
        check_window_type(kind, spec.payload.format)
    elif kind == "application/json":
        url = find_url(body)
        data = (
            partial(find_json_picture, body)
            if url is None
            else partial(bytes, await _fetch(service, url, place))
        )
    return partial(_as_inputs, service, data)


async def _fetch(service: PredictService, url: str, place: Place) -> bytes:
    fetcher = service.fetcher
    place.resize(service.max_picture_bytes)
    try:
        found = await asyncio.wait_for(asyncio.wrap_future(fetcher.start(url)), fetcher.timeout_s)
    except TimeoutError as err:
        raise late() from err
    place.resize(len(found))
    return found


def _as_inputs(service: PredictService, data: Callable[[], bytes], _: ServedModel) -> list[Input]:
    found = data()
    service.check_size(found)
    return [found]
