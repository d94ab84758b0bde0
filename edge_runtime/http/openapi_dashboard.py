"""What the dashboard asks for, as schemas of the OpenAPI document. Values only."""

from edge_runtime.http.openapi_parts import ANY, TEXT
from edge_runtime.http.parameters import AFTER, LONGEST_MS, MAX_SIDE, SPAN_S
from edge_runtime.messaging.type_schemas import Schema

LIVE: tuple[Schema, ...] = (
    {
        "name": "camera",
        "in": "query",
        "required": True,
        "schema": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 64},
        "description": "Of a camera or a sensor.",
    },
    MAX_SIDE.describe(),
    LONGEST_MS.describe(),
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
                    "jpeg": {**TEXT, "contentEncoding": "base64", "description": "Of a camera."},
                    "svg": {**TEXT, "description": "Of a sensor: the chart of a window."},
                },
                "required": ["camera", "seq", "captured_at", "width", "height"],
                "oneOf": [{"required": ["jpeg"]}, {"required": ["svg"]}],
            },
        },
        "refused": {"type": "object", "description": "By camera, the code and the reason."},
        "waiting": {"type": "object", "description": "By camera that gave none yet, why."},
        "results": {"type": "array", "items": ANY, "description": "The newest results of these cameras."},
    },
    "required": ["pictures", "refused", "waiting", "results"],
}
TRENDS: tuple[Schema, ...] = (SPAN_S.describe(), AFTER.describe())
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
