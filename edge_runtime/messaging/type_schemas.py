"""JSON Schemas of dataclasses and models, with what their docstrings say, for readers who know no Python. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import ConfigDict, create_model

Schema = dict[str, Any]

REF = "#/components/schemas/"
"""Where AsyncAPI and OpenAPI documents have their types."""
_IN_JSON = {"None": "null", "True": "true", "False": "false"}


def describe_types(types: Iterable[type]) -> dict[str, Schema]:
    """The schemas of types, and of all types in them, by name of the class; references are to :data:`REF`."""
    fields: dict[str, Any] = {one.__name__: (one, ...) for one in types}
    model = create_model("Types", __config__=ConfigDict(use_attribute_docstrings=True), **fields)
    found = model.model_json_schema(ref_template=REF + "{model}", mode="serialization")
    return {name: _tidy(schema) for name, schema in found["$defs"].items()}


def clean(text: str) -> str:
    """A docstring in the words of JSON, on one line."""
    text = " ".join(text.split()).replace("``", "`")
    return re.sub(r"\b(None|True|False)\b", lambda found: _IN_JSON[found[1]], text)


def _tidy(schema: Any) -> Any:
    """Without titles, which only repeat names."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            tidy[key] = {name: _tidy(one) for name, one in value.items()}
        elif key == "description" and isinstance(value, str):
            tidy[key] = clean(value)
        elif key != "title":
            tidy[key] = _tidy(value)
    return tidy
