"""All topics, commands and payloads of a device for machines: an AsyncAPI 3.0 document, made from the types. Pure.

The point of view is the device's: it *sends* results and *receives* commands (AsyncAPI 3.0.0, "Operation Object").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime import __version__
from edge_runtime.config import Config, HomeAssistantConfig
from edge_runtime.messaging.commands.request import ARGUMENTS
from edge_runtime.messaging.commands.roles import find_least_role
from edge_runtime.messaging.commands.verb_texts import VERB_TEXTS
from edge_runtime.messaging.event_schemas import event_payload, event_schemas
from edge_runtime.messaging.home_assistant.contract import make_messages, make_topics
from edge_runtime.messaging.message_schemas import (
    ANSWER_DATA,
    AVAILABILITY,
    PROGRESS,
    REJECTION,
    RESULT,
    TOKEN,
    answer,
)
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.object_events import OBJECT_EVENT
from edge_runtime.messaging.type_schemas import REF, Schema, describe_model, describe_types

VERSION = "3.0.0"

_RECEIVED = frozenset({"picture", "signal", "upload", "home-assistant"})
_RETAINED = frozenset({"availability", "state", "discovery"})
_LIGHT = frozenset({"figures", "progress", "snapshot"})
"""Not worth keeping while the broker is away: at QoS 0."""
_PARAMETERS = {
    "stream": {"description": "Name of a camera or sensor."},
    "chunk": {"description": "SHA-256 of the content, base64url without padding."},
    "verb": {
        "description": "Of a command; those that are answered at once tell no progress.",
        "enum": list(ARGUMENTS),
    },
}


@dataclass(frozen=True, slots=True)
class DaemonTypes:
    """Dataclasses of the daemon that travel in messages."""

    status: type
    """All that it knows of itself."""
    health: type


def describe(config: Config, types: DaemonTypes) -> Schema:
    """The document of the device that a configuration describes."""
    topics = Topics(config.mqtt.prefix if config.mqtt else "edge", config.device)
    home_assistant = config.mqtt.home_assistant if config.mqtt else None
    return describe_device(topics, __version__, types, config.commands.groups, home_assistant)


def describe_device(
    topics: Topics,
    version: str,
    types: DaemonTypes,
    groups: tuple[str, ...] = (),
    home_assistant: HomeAssistantConfig | None = None,
) -> Schema:
    """The document of one device.

    Args:
        topics: Of the device.
        version: Of the program.
        types: Of the daemon.
        groups: That the device belongs to.
        home_assistant: Where the device describes itself to Home Assistant; None: nowhere.
    """
    channels, operations, messages = dict[str, Schema](), dict[str, Schema](), _device_messages(types)
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
    data = {**ANSWER_DATA, "status": {"$ref": REF + types.status.__name__}}
    for verb in ARGUMENTS:
        request, response = f"request-{verb}", f"response-{verb}"
        messages[request] = _message(_request(verb), f"Needs the role {find_least_role(verb)}.")
        messages[response] = _message(answer(data[verb]), f"The answer to {verb}.")
        channels[request] = _channel(topics.request(verb), VERB_TEXTS[verb], request)
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
        "components": {
            "messages": messages,
            "schemas": describe_types((types.status, types.health)) | event_schemas(),
        },
    }


def _device_topics(topics: Topics) -> Mapping[str, tuple[str, str]]:
    root = topics.root
    return {
        "result": (f"{root}/result/{{stream}}", "One message for each answered frame."),
        "rejected": (f"{root}/rejected/{{stream}}", "One message for each frame that has no result."),
        "snapshot": (f"{root}/snapshot/{{stream}}", "Pictures of cameras that may leave, where keys say so."),
        "objects": (f"{root}/objects/{{stream}}", "What becomes of each object that is followed (tracking)."),
        "event": (topics.event, "What an operator may want to know."),
        "availability": (topics.availability, "Retained; also the last will."),
        "state": (topics.state, "Retained: health, and the active generation of every model."),
        "progress": (
            f"{root}/response/{{verb}}/progress",
            "How far a command is; below the topic of its answer.",
        ),
        "upload": (f"{root}/upload/{{chunk}}", "Chunks that a command install has named."),
        "picture": (f"{root}/picture/{{stream}}", "Pictures for a camera with the path mqtt."),
        "signal": (
            f"{root}/signal/{{stream}}",
            "Samples of a sensor with the path mqtt that names no other topic.",
        ),
    }


def _device_messages(types: DaemonTypes) -> dict[str, Schema]:
    state = {
        "type": "object",
        "properties": {
            "health": {"$ref": REF + types.health.__name__},
            "models": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "By model, the active generation.",
            },
        },
        "required": ["health", "models"],
    }
    return {
        "result": _message(RESULT, "An answer of a model."),
        "rejected": _message(REJECTION, "Why a frame has no answer."),
        "objects": _message(OBJECT_EVENT, "An object has come, is told of again, or has gone."),
        "event": _message(event_payload(), "What an operator may want to know."),
        "availability": {**_message(AVAILABILITY, "Plain text."), "contentType": "text/plain"},
        "state": _message(state, "How the device is."),
        "progress": _message(PROGRESS, "At most one a second, before the answer."),
        "upload": {
            "summary": "A chunk of an archive, as it is.",
            "contentType": "application/octet-stream",
        },
        "snapshot": {"summary": "A JPEG of at most 640 pixels.", "contentType": "image/jpeg"},
        "picture": {
            "summary": "An encoded picture: JPEG, PNG and others.",
            "contentType": "application/octet-stream",
        },
        "signal": {
            "summary": "Samples in the declared format: JSON, CSV, CBOR, MessagePack, raw numbers or .npy.",
            "contentType": "application/octet-stream",
        },
    }


def _request(verb: str) -> Schema:
    """JSON, or a token instead; an empty message where no argument is needed."""
    return {"oneOf": [describe_model(ARGUMENTS[verb]), TOKEN]}


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
    mqtt = {"qos": int(channel not in _LIGHT), "retain": channel in _RETAINED, "bindingVersion": "0.2.0"}
    return {
        "action": action,
        "channel": _ref("channels", channel),
        "messages": listed,
        "bindings": {"mqtt": mqtt},
    }


def _ref(place: str, name: str) -> Schema:
    return {"$ref": f"#/{place}/{name}"}
