"""The part of the OpenAPI document that is about commands. Pure."""

from collections.abc import Iterator

from edge_runtime.http.openapi_parts import (
    ANY,
    TEXT,
    answer_with,
    describe_operation,
    name_in_path,
    refer_to,
    refuse_with,
)
from edge_runtime.messaging.commands.request import ARGUMENTS
from edge_runtime.messaging.type_schemas import Schema

_WHY = {
    400: "The arguments are not those of the verb.",
    401: "A token is needed.",
    403: "Not with this role, no tokens are configured, or commands are turned off.",
    404: "No such verb; or no command with this id, for this caller.",
    408: "The body came too slowly.",
    409: "The device says no, or the transaction was used.",
    413: "Too large.",
    415: "Encoded bodies are not taken.",
    429: "Too many commands.",
    500: "It failed unexpectedly; the log says why.",
    503: "The device stops.",
}
_PREFER: Schema = {
    "name": "Prefer",
    "in": "header",
    "description": "wait=SECONDS, at most 60 (RFC 7240): how long the answer is waited for.",
    "schema": {"type": "string"},
}
_TRANSACTION: Schema = {"type": ["string", "integer", "null"]}
COMMAND_SCHEMAS: dict[str, Schema] = {
    "Command": {
        "type": "object",
        "description": "The arguments of the verb, as /commands and the AsyncAPI document describe them.",
        "properties": {
            "transaction": {**_TRANSACTION, "description": "A change acts once for each."},
            "device": {"type": ["string", "null"]},
            "expires_at": {"type": ["string", "null"], "format": "date-time"},
        },
        "additionalProperties": True,
    },
    "CommandAnswer": {
        "type": "object",
        "properties": {
            "status": {"enum": ["ok", "error"]},
            "data": ANY,
            "error": TEXT,
            "transaction": _TRANSACTION,
        },
        "required": ["status", "transaction"],
    },
    "CommandProgress": {
        "type": "object",
        "properties": {"status": {"const": "progress"}, "data": ANY, "transaction": _TRANSACTION},
        "required": ["status", "data", "transaction"],
    },
    "Verbs": {
        "type": "object",
        "properties": {
            "caller": TEXT,
            "role": TEXT,
            "verbs": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"role": TEXT, "arguments": ANY},
                    "required": ["role", "arguments"],
                },
            },
        },
        "required": ["caller", "role", "verbs"],
    },
}


def command_paths() -> Iterator[tuple[str, Schema]]:
    """The addresses, and what may be done with each; and what an editor of the configuration needs."""
    found = {200: answer_with(ANY), **_refusals(500)}
    read = describe_operation("The JSON Schema of the configuration.", found)
    yield "/config-schema.json", {"get": read}
    verb, id_ = name_in_path("verb", {"enum": list(ARGUMENTS)}), name_in_path("id")
    listed = {200: answer_with(refer_to("Verbs")), **_refusals(401, 403, 500, 503)}
    yield "/commands", {"get": describe_operation("What this caller may command.", listed)}
    answers = {
        200: answer_with(refer_to("CommandAnswer"), "It was done."),
        202: answer_with(refer_to("CommandProgress"), "It takes longer; Location has its answer."),
        **_refusals(400, 401, 403, 404, 409, 429, 500, 503),
    }
    content = {"application/json": {"schema": refer_to("Command")}}
    posted = describe_operation("A command.", {**answers, **_refusals(408, 413, 415)}, verb, _PREFER)
    yield "/commands/{verb}", {"post": {**posted, "requestBody": {"content": content}}}
    followed = describe_operation("How far a command is, then its answer.", answers, verb, id_, _PREFER)
    yield "/commands/{verb}/{id}", {"get": followed}


def _refusals(*codes: int) -> dict[int, Schema]:
    return refuse_with(refer_to("CommandAnswer", "Error"), _WHY, *codes)
