"""What the Open Inference Protocol answers over HTTP, as schemas of the OpenAPI document."""

from edge_runtime.http.openapi_parts import TEXT
from edge_runtime.messaging.type_schemas import Schema

_PARAMETERS: Schema = {"type": "object", "additionalProperties": True}
_TENSOR: Schema = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "datatype": TEXT,
        "shape": {"type": "array", "items": {"type": "integer"}},
        "parameters": _PARAMETERS,
        "data": {"type": "array"},
    },
    "required": ["name", "datatype", "shape"],
}
_INFERRED: Schema = {
    "type": "object",
    "properties": {
        "model_name": TEXT,
        "model_version": TEXT,
        "id": TEXT,
        "parameters": _PARAMETERS,
        "outputs": {"type": "array", "items": _TENSOR},
    },
    "required": ["model_name", "model_version", "outputs"],
}
_OIP_SERVER: Schema = {
    "type": "object",
    "properties": {"name": TEXT, "version": TEXT, "extensions": {"type": "array", "items": TEXT}},
    "required": ["name", "version", "extensions"],
}
_OIP_MODEL: Schema = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "versions": {"type": "array", "items": TEXT},
        "platform": TEXT,
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {"type": "array", "items": _TENSOR},
    },
    "required": ["name", "versions", "platform", "inputs", "outputs"],
}
_CONFIG_TENSOR: Schema = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "data_type": TEXT,
        "dims": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["name", "data_type", "dims"],
}
_OIP_CONFIG: Schema = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "platform": TEXT,
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
