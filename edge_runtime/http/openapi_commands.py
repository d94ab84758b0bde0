"""The part of the OpenAPI document that is about commands. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from edge_runtime.messaging.commands.request import ARGUMENTS

Schema = dict[str, Any]

_REF = "#/components/schemas/"
_TEXT: Schema = {"type": "string"}
_ANY: Schema = {"type": "object"}
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
            "data": _ANY,
            "error": _TEXT,
            "transaction": _TRANSACTION,
        },
        "required": ["status", "transaction"],
    },
    "CommandProgress": {
        "type": "object",
        "properties": {"status": {"const": "progress"}, "data": _ANY, "transaction": _TRANSACTION},
        "required": ["status", "data", "transaction"],
    },
    "Verbs": {
        "type": "object",
        "properties": {
            "caller": _TEXT,
            "role": _TEXT,
            "verbs": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"role": _TEXT, "arguments": _ANY},
                    "required": ["role", "arguments"],
                },
            },
        },
        "required": ["caller", "role", "verbs"],
    },
}


def command_paths() -> Iterator[tuple[str, Schema]]:
    """The addresses, and what may be done with each; and what an editor of the configuration needs."""
    schema = {"description": "As asked for.", "content": {"application/json": {"schema": _ANY}}}
    read = _operation("The JSON Schema of the configuration.", {200: schema, **_refusals(500)})
    yield "/config-schema.json", {"get": read}
    verb = {"name": "verb", "in": "path", "required": True, "schema": {"enum": list(ARGUMENTS)}}
    id_ = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    listed = {200: _answer("Verbs", "As asked for."), **_refusals(401, 403, 500, 503)}
    yield "/commands", {"get": _operation("What this caller may command.", listed)}
    answers = {
        200: _answer("CommandAnswer", "It was done."),
        202: _answer("CommandProgress", "It takes longer; Location has its answer."),
        **_refusals(400, 401, 403, 404, 409, 429, 500, 503),
    }
    content = {"application/json": {"schema": {"$ref": f"{_REF}Command"}}}
    posted = _operation("A command.", {**answers, **_refusals(408, 413, 415)}, verb, _PREFER)
    yield "/commands/{verb}", {"post": {**posted, "requestBody": {"content": content}}}
    followed = _operation("How far a command is, then its answer.", answers, verb, id_, _PREFER)
    yield "/commands/{verb}/{id}", {"get": followed}


def _operation(summary: str, answers: Mapping[int, Schema], *parameters: Schema) -> Schema:
    responses = {str(code): answers[code] for code in sorted(answers)}
    found = {"summary": summary, "responses": responses}
    return {**found, "parameters": list(parameters)} if parameters else found


def _refusals(*codes: int) -> dict[int, Schema]:
    either = {"anyOf": [{"$ref": f"{_REF}{name}"} for name in ("CommandAnswer", "Error")]}
    content = {"application/json": {"schema": either}}
    return {code: {"description": _WHY[code], "content": content} for code in codes}


def _answer(name: str, description: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": _REF + name}}}
    return {"description": description, "content": content}
