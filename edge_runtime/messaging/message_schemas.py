"""JSON Schemas of results, rejections and answers: what ``encoding`` and ``commands.answers`` write. Pure."""

from collections.abc import Mapping
from dataclasses import fields

from edge_runtime.datatypes import RejectReason, Timings
from edge_runtime.messaging.edit_schemas import CONFIG_TEXT, EDITED, HISTORY, UNDONE
from edge_runtime.messaging.task_schemas import TASK_DATA
from edge_runtime.messaging.type_schemas import Schema

_TIME: Schema = {"type": "string", "format": "date-time"}
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_BYTES: Schema = {**_COUNT, "x-unit": "bytes"}
_PIXELS: Schema = {**_COUNT, "x-unit": "pixels"}
_ANY_OBJECT: Schema = {"type": "object"}


def _said(schema: Schema, text: str) -> Schema:
    return {**schema, "description": text}


_LABEL: Schema = {
    "type": "object",
    "properties": {
        "index": _said(_COUNT, "Of the class."),
        "label": _said(_TEXT, "Of the class, as in the bundle."),
        "score": _said({"type": "number"}, "0 to 1 where the model gives probabilities."),
    },
    "required": ["index", "label", "score"],
}
_BOX: Schema = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 4,
    "maxItems": 4,
    "x-unit": "pixels",
    "description": "x1, y1, x2, y2 in the frame as it was captured.",
}
_DETECTION: Schema = {
    **_LABEL,
    "properties": {**_LABEL["properties"], "box": _BOX},
    "required": [*_LABEL["required"], "box"],
}
_ARRAY: Schema = {
    "type": "object",
    "properties": {
        "shape": {"type": "array", "items": _COUNT, "description": "Without the batch."},
        "dtype": _said(_TEXT, "As NumPy names it."),
        "data": _said({"type": "array"}, "All values in C order; null is not finite."),
    },
    "required": ["shape", "dtype", "data"],
}
_VALUE: Schema = {
    "type": "object",
    "properties": {
        "name": _said(_TEXT, "As in the bundle."),
        "value": _said({"type": "number"}, "In its unit, with six significant digits."),
        "unit": _said(_TEXT, "As in the bundle; empty: none."),
        "limits": {
            "enum": ["inside", "below", "above", None],
            "description": "Where the value is; null: the bundle says no limits.",
        },
    },
    "required": ["name", "value", "unit", "limits"],
}
_ANOMALY: Schema = {
    "type": "object",
    "properties": {
        "score": _said({"type": "number"}, "The higher, the less the input is like the healthy ones."),
        "threshold": {
            "type": ["number", "null"],
            "description": "Null: there is none before the site is commissioned.",
        },
        "is_anomalous": {
            "type": ["boolean", "null"],
            "description": "Whether the score is above the threshold; null without one.",
        },
    },
    "required": ["score", "threshold", "is_anomalous"],
}
_INPUT: Schema = {
    "type": "object",
    "description": "What its sender calls it; absent where nothing is known, as of network cameras and videos.",
    "properties": {
        "name": _said(_TEXT, "Of a file in a folder, relative to the folder."),
        "modified_at": _said(_TIME, "When the file was last changed."),
        "captured_at": _said(_TIME, "The sender's own time: the user property `captured_at` of the message."),
        "correlation": _said(_TEXT, "Correlation data of the message; at most 1 KiB."),
        "correlation_base64": _said(_TEXT, "The same where it is no text."),
        "content_type": _said(_TEXT, "Of the message."),
        "properties": {
            "type": "object",
            "additionalProperties": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}]},
            "description": "User properties of the message; the values of a name that comes twice are a list.",
        },
        "left_out": {
            "type": "array",
            "items": _TEXT,
            "description": "Names of those that were too large or could not be read, and `response_topic` where it "
            "is not allowed.",
        },
    },
}
_FRAME: Schema = {
    "id": _said(_TEXT, "`device/stream/seq`: the same again when it is delivered twice."),
    "stream": _said(_TEXT, "Name of the camera or sensor; `:http` for what was sent over HTTP."),
    "seq": _said(_COUNT, "Of the frame in its stream; grows, also over restarts."),
    "captured_at": _said(_TIME, "When this box read or received the frame, by its clock."),
    "model": _said(_TEXT, "Name of the model in the configuration."),
    "input": _INPUT,
}
RESULT: Schema = {
    "type": "object",
    "properties": {
        **_FRAME,
        "generation": _said(_TEXT, "Which answered: `bundle/version+patch`."),
        "arm": {"enum": ["candidate"], "description": "Only where a newer version that is tried answered."},
        "top": {"type": "array", "items": _LABEL, "description": "Of a classifier: the best classes."},
        "detections": {
            "type": "array",
            "items": _DETECTION,
            "description": "Of a detector.",
        },
        "values": {
            "type": "array",
            "items": _VALUE,
            "description": "Of a regression, in the bundle's order.",
        },
        "anomaly": _said(_ANOMALY, "Of a model that scores anomalies."),
        "outputs": {
            "type": "object",
            "additionalProperties": _ARRAY,
            "description": "Of other models: the raw outputs by name.",
        },
        "filled": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "Only of windows of a sensor: the share of values that were missing and were filled.",
        },
        "timings_ms": {
            "type": "object",
            "properties": {
                one.name: {"type": "number", "minimum": 0, "x-unit": "ms"} for one in fields(Timings)
            },
            "required": [one.name for one in fields(Timings)],
            "description": "Spent on this frame; `total` runs from the capture to the outbox.",
        },
    },
    "required": ["id", "stream", "seq", "captured_at", "model", "generation", "timings_ms"],
    "oneOf": [{"required": [answers]} for answers in ("top", "detections", "values", "anomaly", "outputs")],
}
REJECTION: Schema = {
    "type": "object",
    "properties": {
        **_FRAME,
        "captured_at": _said({"oneOf": [_TIME, {"type": "null"}]}, "Null where it is not known."),
        "rejected": {"enum": [str(reason) for reason in RejectReason], "description": "Why."},
        "detail": _said({**_TEXT, "maxLength": 500}, "The same for people."),
        "unsaid": _said(_COUNT, "Rejections of the stream before this one that were counted only."),
    },
    "required": ["id", "stream", "seq", "captured_at", "model", "rejected", "detail"],
}
AVAILABILITY: Schema = {"enum": ["online", "offline"]}
_TRANSACTION: Schema = {
    "type": ["string", "integer", "null"],
    "description": "Of the request; null where it has none.",
}
_PICTURE: Schema = {
    "type": "object",
    "properties": {
        "camera": _said(_TEXT, "Its name in the configuration."),
        "at": _said(_TIME, "Of the frame."),
        "age_ms": _said(_COUNT, "How old the frame was."),
        "width": _said(_PIXELS, "Of the JPEG."),
        "height": _said(_PIXELS, "Of the JPEG."),
        "jpeg": {**_TEXT, "contentEncoding": "base64", "contentMediaType": "image/jpeg"},
    },
    "required": ["camera", "at", "age_ms", "width", "height", "jpeg"],
}
_INSTALLED: Schema = {
    "type": "object",
    "properties": {
        "bundle": _said(_TEXT, "Name and version."),
        "outcome": {"enum": ["installed", "already installed", "repaired"]},
        "name": _TEXT,
        "version": {"type": "integer", "minimum": 1},
        "sha256": {**_TEXT, "pattern": "^[0-9a-f]{64}$", "description": "Of the manifest."},
        "signed_by": {
            "type": ["string", "null"],
            "description": "Whose key; null: not signed, or no key is trusted.",
        },
        "size_bytes": _said(_BYTES, "Of the version on the disk."),
        "downloaded_bytes": _said(_BYTES, "That came over the network."),
        "kept_bytes": _said(_BYTES, "That were here already."),
        "removed": {"type": "array", "items": _TEXT, "description": "Older versions, to make room."},
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "model": _said(_TEXT, "Its name in the configuration."),
                    "taken": {
                        "enum": ["rollout", "next_start", "never"],
                        "description": "`rollout`: it is tried at once. `never`: a higher version is there, or "
                        "the configuration names another one.",
                    },
                },
                "required": ["model", "taken"],
            },
            "description": "Those of the configuration with this bundle, and when they take the version.",
        },
    },
    "required": ["bundle", "outcome", "sha256", "models"],
}
_LOG: Schema = {
    "type": "object",
    "properties": {"lines": {"type": "array", "items": _TEXT, "description": "Oldest first."}},
    "required": ["lines"],
}
ANSWER_DATA: Mapping[str, Schema] = {
    "snapshot": _PICTURE,
    "install": _INSTALLED,
    "logs": _LOG,
    **TASK_DATA,
    "get-config": CONFIG_TEXT,
    "set-config": EDITED,
    "undo-config": UNDONE,
    "config-history": HISTORY,
}
"""Of the answers to verbs; that of ``status`` is a type of the daemon."""
PROGRESS: Schema = {
    "type": "object",
    "properties": {
        "status": {"const": "progress"},
        "data": _said(_ANY_OBJECT, "How far it is; other keys for each verb."),
        "transaction": _TRANSACTION,
    },
    "required": ["status", "data", "transaction"],
}
TOKEN: Schema = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
    "description": "A compact JWS (RFC 7515) by an Ed25519 key, whose content has aud, exp, jti, verb and arguments.",
}


def answer(data: Schema) -> Schema:
    """The answer to a verb.

    Args:
        data: Of an answer that is no error.
    """
    return {
        "type": "object",
        "properties": {
            "status": {"enum": ["ok", "error"]},
            "data": _said(data, "Only of `ok`."),
            "error": _said(_TEXT, "Only of `error`: why, for people."),
            "transaction": _TRANSACTION,
        },
        "required": ["status", "transaction"],
    }
