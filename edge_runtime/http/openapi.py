"""All addresses of the HTTP server for machines: an OpenAPI 3.1 document, made from the types. Pure.

A test compares it with the addresses that are served, and every answer of the tests with it.
"""

from collections.abc import Iterator, Mapping

from edge_runtime import __version__
from edge_runtime.http.identify import OPEN
from edge_runtime.http.openapi_commands import COMMAND_SCHEMAS, command_paths
from edge_runtime.http.openapi_dashboard import LIVE, LIVE_ANSWER, LOG_LINE, TRENDS, TRENDS_ANSWER
from edge_runtime.http.openapi_oip import OIP_SCHEMAS
from edge_runtime.http.openapi_parts import (
    ANY,
    AS_ASKED_FOR,
    TEXT,
    answer_with,
    describe_operation,
    name_in_path,
    refer_to,
    refuse_with,
)
from edge_runtime.http.parameters import FPS, MAX_SIDE, MOST
from edge_runtime.http.window_types import CONTENT_TYPES
from edge_runtime.messaging.message_schemas import REJECTION, RESULT
from edge_runtime.messaging.type_schemas import Schema, describe_types
from edge_runtime.serving.oip_request import Request as InferRequest

_ERROR: Schema = {"type": "object", "properties": {"error": TEXT}, "required": ["error"]}
_PROBE: Schema = {
    "type": "object",
    "properties": {"live": {"type": "boolean"}, "ready": {"type": "boolean"}},
    "required": ["live", "ready"],
    "additionalProperties": False,
}
_CALLER: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"], "description": "null: this machine, where no tokens are set."},
        "role": {"enum": ["viewer", "operator", "owner"]},
    },
    "required": ["name", "role"],
}
_SCHEMES: Schema = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {"type": "apiKey", "in": "cookie", "name": "edge-runtime-PORT"},
}
_COUNTED: Schema = {"schema": {"type": "integer"}}
_INPUT: Schema = {
    "anyOf": [
        {
            "type": "object",
            "properties": {
                "image": {**TEXT, "contentEncoding": "base64", "description": "The bytes of the file."}
            },
            "required": ["image"],
        },
        {
            "type": "object",
            "properties": {"url": {**TEXT, "format": "uri", "description": "Where the file is loaded from."}},
            "required": ["url"],
        },
        {"description": "Of a model of signals: samples as `preprocess.payload` of its bundle says."},
    ]
}
_FORM: Schema = {
    "type": "object",
    "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
    "required": ["file"],
}
_WHY = {
    400: "The body or an argument is not what is expected, or `Host` names another server.",
    401: "A token is needed.",
    403: "Not with this token, not from a page from elsewhere, or turned off.",
    404: "No such model, version or page.",
    405: "Not with this method.",
    408: "The body came too slowly (30 s).",
    413: "Larger than `pictures.max_file_mib`.",
    415: "Encoded bodies are not taken, and none of another format than the payload of the model's bundle.",
    422: "The picture, window or tensor cannot be used.",
    429: "`http.predict.queue` pictures are under way, or too many wrong tokens came; see `Retry-After`.",
    500: "The inference failed, or its answer cannot be used; the log says why.",
    502: "No picture came from its address.",
    503: "The device stops, or no model runs (safe mode).",
    504: "No answer within `http.predict.timeout_s`.",
}
_REFUSED = (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)


def describe(status: type, health: type) -> Schema:
    """The document.

    Args:
        status: The dataclass of ``/status``.
        health: The dataclass of ``/healthz`` and ``/readyz``.
    """
    schemas: dict[str, Schema] = {
        "Error": _ERROR,
        "Result": RESULT,
        "Rejection": REJECTION,
        **OIP_SCHEMAS,
        **COMMAND_SCHEMAS,
        "Trends": TRENDS_ANSWER,
        "Live": LIVE_ANSWER,
    }
    schemas |= describe_types((status, health, InferRequest))
    for name, kind in (("Status", status), ("HealthVerdict", health), ("InferRequest", InferRequest)):
        schemas.setdefault(name, refer_to(kind.__name__))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edge-runtime",
            "version": __version__,
            "description": "Health, status, results, and pictures that are answered.",
        },
        "security": [{}, {"token": []}, {"session": []}],
        "paths": {path: _close(path, methods) for path, methods in _paths()},
        "components": {
            "schemas": schemas,
            "securitySchemes": _SCHEMES,
        },
    }


def _paths() -> Iterator[tuple[str, Schema]]:
    unchanged = {304: {"description": "As the one that the caller has.", "content": {}}}
    yield "/", _get("The dashboard.", {200: _other("text/html"), **unchanged})
    part = {
        "description": AS_ASKED_FOR,
        "content": {"text/javascript": {}, "text/css": {}, "text/plain": {}},
    }
    yield (
        "/page/{part}",
        _get("A part of the dashboard.", {200: part, **unchanged, **_refusals(404)}, name_in_path("part")),
    )
    yield "/healthz", _get("Whether inference makes progress, or nothing is due; with reasons.", _verdict())
    yield "/readyz", _get("Whether results can be trusted; with reasons.", _verdict())
    yield "/session", _session()
    yield "/status", _get("Everything that the device knows about itself.", {200: _json("Status")})
    for name in ("results", "events", "reports"):
        listed = {
            "type": "object",
            "properties": {name: {"type": "array", "items": ANY}},
            "required": [name],
        }
        yield (
            f"/{name}",
            _get(
                f"The newest {name}, the newest first.",
                {200: answer_with(listed), **_refusals(400)},
                MOST.describe(),
            ),
        )
    yield (
        "/trends",
        _get(
            "Figures of the last hour or day over time, as the charts show them.",
            {200: _json("Trends"), **_refusals(400)},
            *TRENDS,
        ),
    )
    page = {"content": {"text/html": {}, "application/json": {"schema": ANY}}, "description": "The report."}
    yield (
        "/reports/{model}/{report}",
        _get(
            "A recalibration, a dry run or a trial; with .json behind the id its figures.",
            {200: page, **_refusals(404)},
            name_in_path("model"),
            name_in_path("report"),
        ),
    )
    yield "/results/events", _result_events()
    yield (
        "/cameras/{stream}/picture.jpg",
        _picture("The next picture of a camera.", "image/jpeg", MAX_SIDE.describe()),
    )
    preview = "Pictures of a camera, one after the other."
    yield (
        "/cameras/{stream}/preview.mjpg",
        _picture(preview, "multipart/x-mixed-replace", MAX_SIDE.describe(), FPS.describe()),
    )
    yield "/sensors/{stream}/window.svg", _picture("The next window of a sensor, a chart.", "image/svg+xml")
    lines = {
        "type": "object",
        "properties": {"log": {"type": "array", "items": LOG_LINE}},
        "required": ["log"],
    }
    yield (
        "/log",
        _get(
            "The newest lines of the log, the newest first.",
            {200: answer_with(lines), **_refusals(400)},
            MOST.describe(),
        ),
    )
    yield (
        "/live",
        _get(
            "The next pictures of cameras and charts of sensors, with their newest results.",
            _live_answers(),
            *LIVE,
        ),
    )
    yield "/metrics", _get("Counters, gauges and histograms for Prometheus.", {200: _other("text/plain")})
    yield from command_paths()
    yield (
        "/asyncapi.json",
        _get("Topics, commands and payloads, an AsyncAPI document.", {200: answer_with(ANY)}),
    )
    yield "/openapi.json", _get("This document, about all addresses.", {200: answer_with(ANY)})
    for path, names in (("/predict", ()), ("/predict/{model}", ("model",))):
        yield (
            path,
            _post(
                "A picture or window is answered.", _predict_body(), _predicted(), *map(name_in_path, names)
            ),
        )
    yield from _oip_paths()


def _oip_paths() -> Iterator[tuple[str, Schema]]:
    yield "/v2", _get("The server.", {200: _json("OipServer")})
    yield "/v2/health/live", _get("Whether it answers.", {200: answer_with(ANY)})
    ready = {200: answer_with(ANY), 503: answer_with(ANY, "Not ready.")}
    yield "/v2/health/ready", _get("Whether the device may be relied on.", ready)
    for path, names in (
        ("/v2/models/{model}", ("model",)),
        ("/v2/models/{model}/versions/{version}", ("model", "version")),
    ):
        given = [name_in_path(name) for name in names]
        yield path, _get("A model.", {200: _json("OipModel"), **_refusals(404, 503)}, *given)
        yield (
            f"{path}/config",
            _get("A model, for tools of Triton.", {200: _json("OipConfig"), **_refusals(404, 503)}, *given),
        )
        yield (
            f"{path}/ready",
            _get("Whether it is here.", {200: answer_with(ANY), **_refusals(404, 503)}, *given),
        )
        answers = {200: _json("Inferred", "application/octet-stream"), **_refusals(*_REFUSED)}
        body = {
            "application/json": {"schema": refer_to("InferRequest")},
            "application/octet-stream": {},
        }
        yield f"{path}/infer", _post("Inference.", body, answers, *given)


def _result_events() -> Schema:
    streams = {"name": "stream", "in": "query", "schema": {"type": "array", "items": TEXT}}
    last = {"name": "Last-Event-ID", "in": "header", "schema": TEXT}
    answers = {200: _other("text/event-stream"), **_refusals(400, 500)}
    return _get("Results as they come, as server-sent events.", answers, streams, last)


def _picture(summary: str, content_type: str, *parameters: Schema) -> Schema:
    frame = {"Captured-At": {"schema": {"type": "string", "format": "date-time"}}, "Frame-Seq": _COUNTED}
    headers = {
        "image/jpeg": {**frame, "Frame-Width": _COUNTED, "Frame-Height": _COUNTED},
        "image/svg+xml": frame,
    }
    answer = _other(content_type)
    if content_type in headers:
        answer["headers"] = headers[content_type]
    refused = _refusals(400, 401, 403, 404, 429, 500)
    silent = {503: answer_with(refer_to("Error"), "The camera or sensor gives none now.")}
    return _get(summary, {200: answer, **refused, **silent}, name_in_path("stream"), *parameters)


def _live_answers() -> Mapping[int, Schema]:
    return {200: _json("Live"), **_refusals(400, 401, 403, 429, 500)}


def _predict_body() -> Schema:
    return {
        "application/octet-stream": {},
        "multipart/form-data": {"schema": _FORM},
        **{name: {} for names in CONTENT_TYPES.values() for name in names},
        "application/json": {"schema": _INPUT},
    }


def _predicted() -> Mapping[int, Schema]:
    refused = refer_to("Rejection", "Error")
    own = refuse_with(refused, _WHY, 422, 500)
    return {200: _json("Result"), **_refusals(*_REFUSED, 502), **own}


def _get(summary: str, answers: Mapping[int, Schema], *parameters: Schema) -> Schema:
    return {"get": describe_operation(summary, answers, *parameters)}


def _post(summary: str, body: Schema, answers: Mapping[int, Schema], *parameters: Schema) -> Schema:
    return {
        "post": {
            **describe_operation(summary, answers, *parameters),
            "requestBody": {"required": True, "content": body},
        }
    }


def _refusals(*codes: int) -> dict[int, Schema]:
    return refuse_with(refer_to("Error"), _WHY, *codes)


def _verdict() -> dict[int, Schema]:
    """With the reasons for who may read them, else without."""
    either = answer_with({"anyOf": [refer_to("HealthVerdict"), _PROBE]})
    return {200: either, 503: {**either, "description": "It is not."}}


def _session() -> Schema:
    done = {204: {"description": "Done."}}
    opened = {204: {"description": "Opened.", "headers": {"Set-Cookie": {"schema": TEXT}}}}
    return {
        **_get("Who asks.", {200: answer_with(_CALLER), **_refusals(500)}),
        "post": describe_operation(
            "A cookie for the token that is shown.", {**opened, **_refusals(400, 500)}
        ),
        "delete": describe_operation("The cookie counts no longer.", {**done, **_refusals(500)}),
    }


def _close(path: str, methods: Schema) -> Schema:
    """All may be refused for their ``Host``, and all but the probes for want of a token."""
    is_open = path in OPEN
    refused = {str(code): one for code, one in _refusals(400, *(() if is_open else (401, 403, 429))).items()}
    always = {}
    if not is_open:
        refused["401"]["content"]["text/html"] = {}
        always = {"401": refused["401"]}

    def add(one: Schema) -> Schema:
        responses = dict(sorted({**refused, **one["responses"], **always}.items()))
        return {**one, "responses": responses, **({"security": []} if is_open else {})}

    return {method: add(one) for method, one in methods.items()}


def _json(name: str, *others: str) -> Schema:
    found = answer_with(refer_to(name))
    found["content"] |= {other: {} for other in others}
    return found


def _other(content_type: str) -> Schema:
    return {"description": AS_ASKED_FOR, "content": {content_type: {}}}
