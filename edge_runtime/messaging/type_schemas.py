"""JSON Schemas of dataclasses and models, with what their docstrings say, for readers who know no Python. Pure."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

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


def describe_model(model: type[BaseModel]) -> Schema:
    """The schema of a model that validates, such as a request, with the docstrings of its fields."""
    schema: Schema = _tidy(model.model_json_schema(ref_template=REF + "{model}", by_alias=True))
    texts = {name: text for one in reversed(model.__mro__) for name, text in _list_docstrings(one)}
    for name, field in model.model_fields.items():
        if name in texts:
            schema["properties"][field.alias or name].setdefault("description", clean(texts[name]))
    schema.pop("description", None)
    return schema


def _list_docstrings(one: type) -> Iterator[tuple[str, str]]:
    """(field, text) of a class in this project: a class of models must not pay for that whenever it is imported."""
    if one.__module__.partition(".")[0] != __name__.partition(".")[0]:
        return
    [definition] = ast.parse(dedent(inspect.getsource(one))).body
    assert isinstance(definition, ast.ClassDef)
    for field, text in pairwise(definition.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                yield name, said


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
