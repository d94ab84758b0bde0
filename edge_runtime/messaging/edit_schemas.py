"""JSON Schemas of answers to commands about the configuration: what ``daemon.config_editor`` gives. Pure."""

from edge_runtime.config.changes import Effect
from edge_runtime.messaging.type_schemas import Schema

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TIME: Schema = {"type": "string", "format": "date-time"}
_EFFECTS: Schema = {
    "type": "object",
    "additionalProperties": {"enum": [str(effect) for effect in Effect]},
    "description": "By key, after what it counts.",
}
_TRIAL: Schema = {
    "type": "object",
    "properties": {
        "by": {**_TEXT, "description": "Who had commanded it."},
        "changed": {**_TEXTS, "description": "Keys that decide how the box is reached."},
        "waits_for_restart": {"type": "boolean"},
        "ends_in_s": {"type": ["number", "null"], "minimum": 0, "description": "Null before the restart."},
    },
    "required": ["by", "changed", "waits_for_restart", "ends_in_s"],
}
CONFIG_TEXT: Schema = {
    "type": "object",
    "properties": {
        "file": {**_TEXT, "description": "Its path."},
        "text": {**_TEXT, "description": "Without secrets."},
        "sha256": {**_TEXT, "pattern": "^[0-9a-f]{64}$", "description": "Of the file as it is."},
        "in_force": {"type": "boolean", "description": "But for the keys of `after_restart`."},
        "after_restart": {**_TEXTS, "description": "Keys whose values in the file wait for a restart."},
        "problem": {"type": ["string", "null"], "description": "Why it is not in force."},
        "trial": {
            "anyOf": [_TRIAL, {"type": "null"}],
            "description": "An edit that is taken back unless the broker is reached; null: none.",
        },
    },
    "required": ["file", "text", "sha256", "in_force", "after_restart", "problem", "trial"],
}
_EDITED = {
    "outcome": {
        "enum": ["in_force", "written", "waits", "checked"],
        "description": "`written`: from the next start on. `waits`: its models are still being opened. `checked`: a "
        "dry run.",
    },
    "changed": _EFFECTS,
    "after_restart": {**_TEXTS, "description": "Keys that count only then."},
    "hint": {**_TEXT, "description": "Only of `waits`: what to do."},
    "warnings": {**_TEXTS, "description": "What a person should look at."},
}
EDITED: Schema = {"type": "object", "properties": _EDITED, "required": ["outcome", "warnings"]}
UNDONE: Schema = {
    "type": "object",
    "properties": {
        "number": {"type": "integer", "minimum": 1, "description": "In the history, of what was put back."},
        **_EDITED,
    },
    "required": ["number", "outcome", "warnings"],
}
HISTORY: Schema = {
    "type": "object",
    "properties": {
        "entries": {
            "type": "array",
            "description": "Oldest first.",
            "items": {
                "type": "object",
                "properties": {
                    "number": {"type": "integer", "minimum": 1},
                    "at": _TIME,
                    "by": {
                        **_TEXT,
                        "description": "Name of a caller's key, `unsigned`, `file`, `start` or `undone`.",
                    },
                    "changed": _EFFECTS,
                    "has_text": {
                        "type": "boolean",
                        "description": "A text with a password in it is not kept.",
                    },
                },
                "required": ["number", "at", "by", "changed", "has_text"],
            },
        }
    },
    "required": ["entries"],
}
