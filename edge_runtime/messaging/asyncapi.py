"""All topics, commands and payloads of a device for machines: an AsyncAPI 3.0 document, made from the types. Pure.

The point of view is the device's: it *sends* results and *receives* commands (AsyncAPI 3.0.0, "Operation Object").
"""

from collections.abc import Mapping
from typing import Any, get_args

from edge_runtime import __version__
from edge_runtime.config import Config, HomeAssistantConfig
from edge_runtime.messaging.commands.request import ARGUMENTS
from edge_runtime.messaging.commands.roles import find_least_role
from edge_runtime.messaging.events import Fact
from edge_runtime.messaging.home_assistant.contract import make_messages, make_topics
from edge_runtime.messaging.mqtt.topics import Topics

VERSION = "3.0.0"
Schema = dict[str, Any]

_TIME: Schema = {"type": "string", "format": "date-time"}
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_ANY_OBJECT: Schema = {"type": "object"}
_LABEL: Schema = {
    "type": "object",
    "properties": {"index": _COUNT, "label": _TEXT, "score": {"type": "number"}},
    "required": ["index", "label", "score"],
}
_BOX: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
_DETECTION: Schema = {
    **_LABEL,
    "properties": {**_LABEL["properties"], "box": _BOX},
    "required": [*_LABEL["required"], "box"],
}
_FRAME: Schema = {
    "id": _TEXT,
    "stream": _TEXT,
    "seq": _COUNT,
    "captured_at": _TIME,
    "model": _TEXT,
    "input": _ANY_OBJECT,
}
RESULT: Schema = {
    "type": "object",
    "properties": {
        **_FRAME,
        "generation": {**_TEXT, "description": "Version of the bundle, and patch."},
        "arm": {"enum": ["candidate"], "description": "Only where a newer version answered."},
        "top": {"type": "array", "items": _LABEL},
        "detections": {"type": "array", "items": _DETECTION},
        "outputs": _ANY_OBJECT,
        "timings_ms": {"type": "object", "additionalProperties": {"type": "number"}},
    },
    "required": ["id", "stream", "seq", "captured_at", "model", "generation", "timings_ms"],
    "oneOf": [{"required": [answers]} for answers in ("top", "detections", "outputs")],
}
REJECTION: Schema = {
    "type": "object",
    "properties": {
        **_FRAME,
        "captured_at": {"oneOf": [_TIME, {"type": "null"}]},
        "rejected": _TEXT,
        "detail": _TEXT,
        "unsaid": {**_COUNT, "description": "Rejections before this one that were counted only."},
    },
    "required": ["id", "stream", "seq", "captured_at", "model", "rejected", "detail"],
}
_ANSWER: Schema = {
    "type": "object",
    "properties": {
        "status": {"enum": ["ok", "error"]},
        "data": {},
        "error": _TEXT,
        "transaction": {"type": ["string", "integer", "null"]},
    },
    "required": ["status", "transaction"],
}
_PICTURE: Schema = {
    "type": "object",
    "properties": {
        "camera": _TEXT,
        "at": _TIME,
        "age_ms": _COUNT,
        "width": _COUNT,
        "height": _COUNT,
        "jpeg": {**_TEXT, "contentEncoding": "base64", "contentMediaType": "image/jpeg"},
    },
    "required": ["camera", "at", "age_ms", "width", "height", "jpeg"],
}
_INSTALLED: Schema = {
    "type": "object",
    "properties": {
        "bundle": _TEXT,
        "outcome": {"enum": ["installed", "already installed", "repaired"]},
        "name": _TEXT,
        "version": {"type": "integer", "minimum": 1},
        "sha256": {**_TEXT, "pattern": "^[0-9a-f]{64}$", "description": "Of the manifest."},
        "signed_by": {"type": ["string", "null"]},
        "size_bytes": _COUNT,
        "downloaded_bytes": _COUNT,
        "kept_bytes": _COUNT,
        "removed": {"type": "array", "items": _TEXT},
        "models": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"model": _TEXT, "taken": {"enum": ["rollout", "next_start", "never"]}},
                "required": ["model", "taken"],
            },
        },
    },
    "required": ["bundle", "outcome", "sha256", "models"],
}
_DATA: Mapping[str, Schema] = {"snapshot": _PICTURE, "install": _INSTALLED}
"""Of the answers to verbs; of others it is anything."""
_PROGRESS: Schema = {
    "type": "object",
    "properties": {
        "status": {"const": "progress"},
        "data": {**_ANY_OBJECT, "description": "How far it is; other keys for each verb."},
        "transaction": {"type": ["string", "integer", "null"]},
    },
    "required": ["status", "data", "transaction"],
}
_TOKEN: Schema = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
    "description": "A compact JWS (RFC 7515) by an Ed25519 key, whose content has aud, exp, jti, verb and arguments.",
}
_OLD_KINDS = {"commission", "recalibrate"}
"""Of tasks that failed, for one release."""
_RECEIVED = frozenset({"picture", "upload", "home-assistant"})
_PARAMETERS = {
    "stream": {"description": "Name of a camera."},
    "chunk": {"description": "SHA-256 of the content, base64url without padding."},
    "verb": {
        "description": "Of a command; those that are answered at once tell no progress.",
        "enum": list(ARGUMENTS),
    },
}


def describe(config: Config) -> Schema:
    """The document of the device that a configuration describes."""
    topics = Topics(config.mqtt.prefix if config.mqtt else "edge", config.device)
    home_assistant = config.mqtt.home_assistant if config.mqtt else None
    return describe_device(topics, __version__, config.commands.groups, home_assistant)


def describe_device(
    topics: Topics,
    version: str,
    groups: tuple[str, ...] = (),
    home_assistant: HomeAssistantConfig | None = None,
) -> Schema:
    """The document of one device.

    Args:
        topics: Of the device.
        version: Of the program.
        groups: That the device belongs to.
        home_assistant: Where the device describes itself to Home Assistant; None: nowhere.
    """
    channels, operations, messages = dict[str, Schema](), dict[str, Schema](), _device_messages()
    addresses = dict(_device_topics(topics))
    if home_assistant is not None:
        addresses |= make_topics(topics, home_assistant)
        messages |= make_messages()
    for name, (address, what) in addresses.items():
        known = {key: one for key, one in _PARAMETERS.items() if f"{{{key}}}" in address}
        parameters = {"parameters": known} if known else {}
        channels[name] = _channel(address, what, name, **parameters)
        action = "receive" if name in _RECEIVED else "send"
        operations[f"{action}-{name}"] = _operation(action, name, [name])
    for verb, arguments in ARGUMENTS.items():
        request, response = f"request-{verb}", f"response-{verb}"
        messages[request] = _message(_request(verb), f"Needs the role {find_least_role(verb)}.")
        messages[response] = _message(_answer(verb), f"The answer to {verb}.")
        what = " ".join((arguments.__doc__ or "").split()).replace("``", "")
        channels[request] = _channel(topics.request(verb), what, request)
        channels[response] = _channel(
            topics.response(verb), "Where the caller names no other topic.", response
        )
        reply = {
            "channel": _ref("channels", response),
            "messages": [_ref(f"channels/{response}/messages", response)],
        }
        operations[f"receive-{verb}"] = {**_operation("receive", request, [request]), "reply": reply}
        for group in groups:
            name = f"group-{group}-{verb}"
            channels[name] = _channel(
                topics.group_request(group, verb), f"The same to all of {group}.", request
            )
            operations[f"receive-{name}"] = {**_operation("receive", name, [request]), "reply": reply}
    return {
        "asyncapi": VERSION,
        "info": {"title": f"edge-runtime on {topics.device}", "version": version},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def _device_topics(topics: Topics) -> Mapping[str, tuple[str, str]]:
    root = topics.root
    return {
        "result": (f"{root}/result/{{stream}}", "One message for each answered frame."),
        "rejected": (f"{root}/rejected/{{stream}}", "One message for each frame that has no result."),
        "event": (topics.event, "What an operator may want to know."),
        "availability": (topics.availability, "Retained; also the last will."),
        "state": (topics.state, "Retained: health, and the active generation of every model."),
        "progress": (
            f"{root}/response/{{verb}}/progress",
            "How far a command is; below the topic of its answer.",
        ),
        "upload": (f"{root}/upload/{{chunk}}", "Chunks that a command install has named."),
        "picture": (f"{root}/picture/{{stream}}", "Pictures for a camera with the path mqtt."),
    }


def _device_messages() -> dict[str, Schema]:
    kinds = sorted({fact.kind for fact in get_args(Fact) if isinstance(fact.kind, str)} | _OLD_KINDS)
    event = {
        "type": "object",
        "properties": {
            "event": {"enum": kinds},
            "device": _TEXT,
            "at": _TIME,
            "data": _ANY_OBJECT,
            "deprecated": {"const": True},
        },
        "required": ["event", "device", "at", "data"],
    }
    state = {
        "type": "object",
        "properties": {"health": _ANY_OBJECT, "models": {"type": "object", "additionalProperties": _TEXT}},
        "required": ["health", "models"],
    }
    availability = {"enum": ["online", "offline"]}
    return {
        "result": _message(RESULT, "An answer of a model."),
        "rejected": _message(REJECTION, "Why a frame has no answer."),
        "event": _message(event, "docs/events.md lists the data of each kind."),
        "availability": {**_message(availability, "Plain text."), "contentType": "text/plain"},
        "state": _message(state, "As in status."),
        "progress": _message(_PROGRESS, "At most one a second, before the answer."),
        "upload": {
            "summary": "A chunk of an archive, as it is.",
            "contentType": "application/octet-stream",
        },
        "picture": {
            "summary": "An encoded picture: JPEG, PNG and others.",
            "contentType": "application/octet-stream",
        },
    }


def _request(verb: str) -> Schema:
    """JSON, or a token instead; an empty message where no argument is needed."""
    arguments = ARGUMENTS[verb].model_json_schema(ref_template="#/components/schemas/{model}")
    for key in ("title", "description"):
        arguments.pop(key, None)
    return {"oneOf": [arguments, _TOKEN]}


def _answer(verb: str) -> Schema:
    return {**_ANSWER, "properties": {**_ANSWER["properties"], "data": _DATA.get(verb, {})}}


def _message(payload: Schema, summary: str) -> Schema:
    return {"summary": summary, "payload": payload}


def _channel(address: str, what: str, message: str, **more: Any) -> Schema:
    return {
        "address": address,
        "description": what,
        "messages": {message: _ref("components/messages", message)},
        **more,
    }


def _operation(action: str, channel: str, messages: list[str]) -> Schema:
    listed = [_ref(f"channels/{channel}/messages", message) for message in messages]
    return {"action": action, "channel": _ref("channels", channel), "messages": listed}


def _ref(place: str, name: str) -> Schema:
    return {"$ref": f"#/{place}/{name}"}
