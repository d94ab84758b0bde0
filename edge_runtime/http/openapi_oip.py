"""What the Open Inference Protocol answers over HTTP, as schemas of the OpenAPI document."""

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_PARAMETERS: Schema = {"type": "object", "additionalProperties": True}
_TENSOR: Schema = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "datatype": _TEXT,
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": _PARAMETERS,
        "data": {"type": "array"},
    },
    "required": ["name", "datatype", "shape"],
}
_INFERRED: Schema = {
    "type": "object",
    "properties": {
        "model_name": _TEXT,
        "model_version": _TEXT,
        "id": _TEXT,
        "parameters": _PARAMETERS,
        "outputs": {"type": "array", "items": _TENSOR},
    },
    "required": ["model_name", "model_version", "outputs"],
}
_OIP_SERVER: Schema = {
    "type": "object",
    "properties": {"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}},
    "required": ["name", "version", "extensions"],
}
_OIP_MODEL: Schema = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "versions": {"type": "array", "items": _TEXT},
        "platform": _TEXT,
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": _TENSOR},
    },
    "required": ["name", "versions", "platform", "inputs", "outputs"],
}
_CONFIG_TENSOR: Schema = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "data_type": _TEXT,
        "dims": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["name", "data_type", "dims"],
}
_OIP_CONFIG: Schema = {
    "type": "object",
    "properties": {
        "name": _TEXT,
        "platform": _TEXT,
        "max_batch_size": {"type": "integer"},
        "input": {"type": "array", "items": _CONFIG_TENSOR},
        "output": {"type": "array", "items": _CONFIG_TENSOR},
    },
    "required": ["name", "platform", "max_batch_size", "input", "output"],
}
OIP_SCHEMAS: dict[str, Schema] = {
    "Inferred": _INFERRED,
    "OipServer": _OIP_SERVER,
    "OipModel": _OIP_MODEL,
    "OipConfig": _OIP_CONFIG,
}
