"""The Open Inference Protocol (KServe v2) over HTTP: health, metadata, inference in JSON and in binary.

Stock clients such as ``tritonclient`` work. What the protocol leaves open: see ``oip_request``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edge_runtime import __version__
from edge_runtime.datatypes import Rejected, Result
from edge_runtime.http.answers import FRESH, answer_json, guard
from edge_runtime.http.oip_request import InferQuestion, WantedOutput
from edge_runtime.http.oip_tensors import DATATYPES, classify, pack_array, pack_texts
from edge_runtime.http.predict import CRASHES, PredictService, check_picture, code_of
from edge_runtime.http.predictions import Answered, Read, ServedModel
from edge_runtime.http.refusals import Refusal
from edge_runtime.messaging.encoding import encode_object

EXTENSIONS = ("binary_tensor_data", "classification")
HEADER_LENGTH = "Inference-Header-Content-Length"
_PLATFORMS = {"onnx": "onnxruntime_onnx", "openvino": "openvino", "torchscript": "pytorch_torchscript"}


def make_oip_routes(service: PredictService, is_ready: Callable[[], bool]) -> list[Route]:
    """All addresses of the protocol below ``/v2``; ``is_ready`` says whether the device may be relied on."""
    about = {"name": "edge-runtime", "version": __version__, "extensions": EXTENSIONS}

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
            Route(f"{model}/ready", guarded(partial(_show_model_ready, service))),
            Route(f"{model}/infer", guarded(partial(_infer, service)), methods=["POST"]),
        ]
    return routes


def _find(service: PredictService, request: Request) -> tuple[str, ServedModel]:
    """The model in an address, in the version that is named there, if one is.

    Raises:
        Refusal: it is not here.
    """
    name, model = service.predictions.find(request.path_params["model"])
    version, wanted = str(model.bundle.manifest.version), request.path_params.get("version")
    if wanted not in (None, version):
        raise Refusal(404, f"no version {wanted[:64]!r} of model {name} answers; version {version} does")
    return name, model


async def _show_model(service: PredictService, request: Request) -> Response:
    name, model = _find(service, request)
    engine, manifest = model.pipeline.slot.engine, model.bundle.manifest
    shape = [-1, *model.pipeline.preprocessor.spec.tensor_shape]
    outputs = [
        {
            "name": one.name,
            "datatype": DATATYPES.get(one.dtype, one.dtype.upper()),
            "shape": [-1, *(-1 if size is None else size for size in one.shape[1:])],
        }
        for one in engine.outputs
    ]
    return answer_json(
        {
            "name": name,
            "versions": [str(manifest.version)],
            "platform": _PLATFORMS.get(manifest.format, manifest.format),
            "inputs": [{"name": engine.input.name, "datatype": "FP32", "shape": shape}],
            "outputs": outputs,
        }
    )


async def _show_model_ready(service: PredictService, request: Request) -> Response:
    name, _ = _find(service, request)
    return answer_json({"name": name, "ready": True})


async def _infer(service: PredictService, request: Request) -> Response:
    asked = list[InferQuestion]()

    async def read(request: Request, body: bytes) -> Read:
        check = partial(check_picture, max_bytes=service.max_picture_bytes)
        asked.append(InferQuestion(body, _find_header_length(request), check))
        return asked[0].read

    _, model = _find(service, request)
    name, answers = await service.answer(request, request.path_params["model"], read, keeps_outputs=True)
    results = _require_results(answers)
    return _encode(name, asked[0], results, [one.outputs for one in answers], model)


def _find_header_length(request: Request) -> int | None:
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise Refusal(400, f"{HEADER_LENGTH}: expected a number of bytes")
    return int(text)


def _require_results(answers: Sequence[Answered]) -> list[Result]:
    found = list[Result]()
    for index, one in enumerate(answers):
        if isinstance(one.answer, Rejected):
            where = f"picture {index}: " if len(answers) > 1 else ""
            raise Refusal(code_of(one), f"{where}{one.answer.reason}: {one.answer.detail}")
        found.append(one.answer)
    return found


def _encode(
    name: str, asked: InferQuestion, results: Sequence[Result], arrays: Sequence[Any], model: ServedModel
) -> Response:
    """All answers as one: JSON, and behind it what was wanted in binary."""
    tensors, binary = list[dict[str, Any]](), list[bytes]()
    for wanted in asked.outputs:
        if not all(wanted.name in one for one in arrays):
            raise Refusal(503, "the model was replaced meanwhile; try again")
        tensor, data = _encode_output(wanted, [one[wanted.name] for one in arrays], model.bundle.labels)
        tensors.append(tensor)
        binary += [data] if data is not None else []
    generation = results[0].generation
    head = encode_object(
        {
            "model_name": name,
            "model_version": generation.partition("+")[0].rpartition("/")[2],
            **({} if asked.id is None else {"id": asked.id}),
            "parameters": {"generation": generation},
            "outputs": tensors,
        }
    )
    if not binary:
        return Response(head, 200, FRESH, "application/json")
    headers = {**FRESH, HEADER_LENGTH: str(len(head))}
    return Response(b"".join((head, *binary)), 200, headers, "application/octet-stream")


def _encode_output(
    wanted: WantedOutput, each: Sequence[Any], labels: Sequence[str]
) -> tuple[dict[str, Any], bytes | None]:
    """One output of all pictures, and its binary data where it is wanted so."""
    if len({one.shape for one in each}) > 1:
        raise Refusal(400, f"output {wanted.name} has another shape for each picture; send one at a time")
    values = np.stack(each)
    datatype = DATATYPES.get(values.dtype.name)
    if datatype is None:
        raise Refusal(
            500, f"output {wanted.name} is of type {values.dtype}, which the protocol does not have"
        )
    texts = [text for one in each for text in classify(one, wanted.classes, labels)] if wanted.classes else []
    shape = [len(each), len(texts) // len(each)] if wanted.classes else list(values.shape)
    tensor: dict[str, Any] = {
        "name": wanted.name,
        "datatype": "BYTES" if wanted.classes else datatype,
        "shape": shape,
    }
    if wanted.is_binary:
        data = pack_texts(texts) if wanted.classes else pack_array(values)
        return {**tensor, "parameters": {"binary_data_size": len(data)}}, data
    numbers = values.astype(np.float32) if values.dtype == np.float16 else values
    return {**tensor, "data": texts if wanted.classes else np.ascontiguousarray(numbers).ravel()}, None
