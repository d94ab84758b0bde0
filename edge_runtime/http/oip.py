"""The Open Inference Protocol (KServe v2) over HTTP: health, metadata, inference in JSON and in binary.

Stock clients such as ``tritonclient`` work. What the protocol leaves open: see ``serving.oip_request``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime.http.answers import FRESH, answer_json, guard
from edge_runtime.http.oip_body import load_body
from edge_runtime.http.predict import CRASHES, answer_request
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.serving.oip_answer import InferAnswer, OutputTensor, make_answer
from edge_runtime.serving.oip_model import describe_config, describe_model, describe_server, find_model
from edge_runtime.serving.oip_request import InferQuestion
from edge_runtime.serving.predict_service import PredictService
from edge_runtime.serving.predictions import Read, ServedModel
from edge_runtime.serving.refusals import Refusal
from edge_runtime.serving.room import Place

HEADER_LENGTH = "Inference-Header-Content-Length"


def make_oip_routes(service: PredictService, is_ready: Callable[[], bool]) -> list[Route]:
    """All addresses of the protocol below ``/v2``; ``is_ready`` says whether the device may be relied on."""
    about = describe_server("binary_tensor_data")

    async def show_server(_: Request) -> Response:
        return answer_json(about)

    async def show_live(_: Request) -> Response:
        return answer_json({"live": True})

    async def show_ready(_: Request) -> Response:
        ready = is_ready()
        return answer_json({"ready": ready}, 200 if ready else 503)

    guarded = partial(guard, service.crashes, CRASHES)
    routes = [
        Route("/v2", show_server),
        Route("/v2/health/live", show_live),
        Route("/v2/health/ready", show_ready),
    ]
    for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            Route(model, guarded(partial(_show_model, service))),
            Route(f"{model}/config", guarded(partial(_show_config, service))),
            Route(f"{model}/ready", guarded(partial(_show_model_ready, service))),
            Route(f"{model}/infer", guarded(partial(_infer, service)), methods=["POST"]),
        ]
    return routes


def _find(service: PredictService, request: Request) -> tuple[str, ServedModel]:
    """The model in an address.

    Raises:
        Refusal: it is not here.
    """
    return find_model(service.predictions, request.path_params["model"], request.path_params.get("version"))


async def _show_model(service: PredictService, request: Request) -> Response:
    return answer_json(describe_model(*_find(service, request)))


async def _show_config(service: PredictService, request: Request) -> Response:
    return answer_json(describe_config(*_find(service, request)))


async def _show_model_ready(service: PredictService, request: Request) -> Response:
    name, _ = _find(service, request)
    return answer_json({"name": name, "ready": True})


async def _infer(service: PredictService, request: Request) -> Response:
    asked = list[InferQuestion]()

    async def read(request: Request, body: bytes, _: Place, __: ServedModel) -> Read:
        load = partial(load_body, body, _find_header_length(request))
        asked.append(InferQuestion(load, service.check_size))
        return asked[0].read

    _, model = _find(service, request)
    name, answers = await answer_request(
        service, request, request.path_params["model"], read, keeps_outputs=True
    )
    return _encode(name, asked[0], make_answer(asked[0].outputs, answers, model))


def _find_header_length(request: Request) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Refusal(400, f"{HEADER_LENGTH}: expected a number of bytes")
    return int(text)


def _encode(name: str, asked: InferQuestion, answer: InferAnswer) -> Response:
    """JSON, and behind it what was wanted in binary."""
    tensors, binary = list[dict[str, Any]](), list[bytes]()
    for wanted, output in zip(asked.outputs, answer.outputs, strict=True):
        tensor = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if wanted.is_binary:
            binary.append(output.pack())
            tensors.append({**tensor, "parameters": {"binary_data_size": len(binary[-1])}})
        else:
            tensors.append({**tensor, "data": _make_json_values(output)})
    head = encode_object(
        {
            "model_name": name,
            "model_version": answer.version,
            **({} if asked.id is None else {"id": asked.id}),
            "parameters": {"generation": answer.generation},
            "outputs": tensors,
        }
    )
    if not binary:
        return Response(head, 200, FRESH, "application/json")
    headers = {**FRESH, HEADER_LENGTH: str(len(head))}
    return Response(b"".join((head, *binary)), 200, headers, "application/octet-stream")


def _make_json_values(output: OutputTensor) -> Any:
    values = output.values
    if isinstance(values, list):
        return values
    return np.ascontiguousarray(values.astype(np.float32) if values.dtype == np.float16 else values).ravel()
