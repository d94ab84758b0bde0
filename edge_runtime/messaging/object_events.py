"""Object events as JSON bytes, in the manner of Frigate's topic ``events``, and their schema. Pure.

``type``, ``before`` and ``after`` and the keys in these are Frigate's where they mean the same: times in them are Unix
seconds. What it does not have are the keys around them, and ``why``.
"""

from collections.abc import Mapping
from typing import Any

from edge_runtime.inference.tracking.life import ObjectChange, ObjectState
from edge_runtime.messaging.encoding import BOX_DIGITS, SCORE_DIGITS, encode_object
from edge_runtime.messaging.type_schemas import Schema
from edge_runtime.system.rfc3339 import format_rfc3339

TIME_DIGITS = 3

_TIME: Schema = {"type": "number", "description": "Unix seconds."}
_SCORE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_STATE: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Unique for ever."},
        "camera": {"type": "string"},
        "label": {"type": "string", "description": "By the scores of all frames."},
        "score": {**_SCORE, "description": "Of the newest box."},
        "top_score": _SCORE,
        "box": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        "frames": {"type": "integer", "minimum": 1, "description": "In which it was seen."},
        "frame_time": {**_TIME, "description": "Of the newest box, Unix seconds."},
        "start_time": _TIME,
        "end_time": {"type": ["number", "null"], "description": "Null while it is there."},
    },
    "required": [
        "id", "camera", "label", "score", "top_score", "box", "frames", "frame_time", "start_time", "end_time",
    ],
}  # fmt: skip
OBJECT_EVENT: Schema = {
    "type": "object",
    "properties": {
        "type": {"enum": ["new", "update", "end"]},
        "why": {"enum": ["lost", "off", "stopped", "restarted"], "description": "Of an end."},
        "before": {
            "oneOf": [_STATE, {"type": "null"}],
            "description": "As it was at the event before; null of a new one.",
        },
        "after": _STATE,
        "count": {
            "type": "object",
            "description": "Objects that are there after this, by label.",
            "additionalProperties": {"type": "integer", "minimum": 1},
        },
        "device": {"type": "string"},
        "model": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
    },
    "required": ["type", "before", "after", "count", "device", "model", "at"],
}


def encode_object_event(
    change: ObjectChange, device: str, stream: str, model: str, count: Mapping[str, int]
) -> bytes:
    """One step in the life of an object as a JSON object on one line; ``count``: objects that are there, by label."""
    ended_at = change.after.seen_at_wall_s if change.kind == "end" else None
    return encode_object(
        {
            "type": change.kind,
            **({} if change.why is None else {"why": change.why}),
            "before": None if change.before is None else _encode(change.before, stream, None),
            "after": _encode(change.after, stream, ended_at),
            "count": dict(count),
            "device": device,
            "model": model,
            "at": format_rfc3339(change.after.seen_at_wall_s),
        }
    )


def _encode(state: ObjectState, stream: str, ended_at_wall_s: float | None) -> dict[str, Any]:
    return {
        "id": state.id,
        "camera": stream,
        "label": state.label,
        "score": round(state.score, SCORE_DIGITS),
        "top_score": round(state.top_score, SCORE_DIGITS),
        "box": [round(edge, BOX_DIGITS) for edge in state.box],
        "frames": state.frames,
        "frame_time": round(state.seen_at_wall_s, TIME_DIGITS),
        "start_time": round(state.started_at_wall_s, TIME_DIGITS),
        "end_time": None if ended_at_wall_s is None else round(ended_at_wall_s, TIME_DIGITS),
    }
