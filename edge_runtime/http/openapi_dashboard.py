"""What the dashboard asks for, as schemas of the OpenAPI document. Values only."""

from edge_runtime.http.openapi_parts import ANY, TEXT
from edge_runtime.messaging.type_schemas import Schema

MAX_SIDE: Schema = {
    "name": "max_side",
    "in": "query",
    "schema": {"type": "integer", "minimum": 16, "maximum": 1920, "default": 640},
}
LIVE: tuple[Schema, ...] = (
    {
        "name": "camera",
        "in": "query",
        "required": True,
        "schema": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 64},
    },
    MAX_SIDE,
    {
        "name": "longest_ms",
        "in": "query",
        "schema": {"type": "integer", "minimum": 0, "maximum": 5000, "default": 5000},
        "description": "How long it waits for a first picture.",
    },
)
LIVE_ANSWER: Schema = {
    "type": "object",
    "properties": {
        "pictures": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "camera": TEXT,
                    "seq": {"type": "integer"},
                    "captured_at": TEXT,
                    "width": {"type": "integer", "description": "Of the frame, in whose pixels results are."},
                    "height": {"type": "integer"},
                    "jpeg": {**TEXT, "contentEncoding": "base64"},
                },
                "required": ["camera", "seq", "captured_at", "width", "height", "jpeg"],
            },
        },
        "refused": {"type": "object", "description": "By camera, the code and the reason."},
        "waiting": {"type": "object", "description": "By camera that gave none yet, why."},
        "results": {"type": "array", "items": ANY, "description": "The newest results of these cameras."},
    },
    "required": ["pictures", "refused", "waiting", "results"],
}
LARGEST_TREND_NUMBER = 9_999_999_999
TRENDS: tuple[Schema, ...] = tuple(
    {
        "name": name,
        "in": "query",
        "schema": {"type": "integer", "minimum": 0, "maximum": LARGEST_TREND_NUMBER, "default": default},
    }
    for name, default in (("span_s", 3600), ("after", 0))
)
_NUMBER: Schema = {"type": "number"}
TRENDS_ANSWER: Schema = {
    "type": "object",
    "properties": {
        "first": {"type": "integer", "description": "Number of the first step."},
        "steps": {"type": "integer"},
        "step_s": _NUMBER,
        "offset_s": {**_NUMBER, "description": "Step n begins at offset_s + n * step_s seconds since 1970."},
        "now_s": _NUMBER,
        "figures": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": TEXT,
                    "model": {"type": ["string", "null"]},
                    "part": {"type": ["string", "null"], "description": "The stream, or the reason."},
                    "values": {"type": "array", "items": {"type": ["number", "null"]}},
                },
                "required": ["name", "model", "part", "values"],
            },
        },
        "marks": {"type": "array", "items": ANY},
    },
    "required": ["first", "steps", "step_s", "offset_s", "now_s", "figures", "marks"],
}
LOG_LINE: Schema = {
    "type": "object",
    "properties": {"level": {**TEXT, "description": "`info`, `warning`, ..."}, "text": TEXT},
    "required": ["level", "text"],
}
