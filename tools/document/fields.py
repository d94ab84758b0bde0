"""The fields of a JSON Schema as rows of a table: name, type, unit, range, whether it is always there. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tools.document.markdown import code, prose, table
from tools.document.since import Since

Schema = Mapping[str, Any]

_UNITS = (
    ("_wall_s", "s since 1970"),
    ("_per_s", "1/s"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("_seconds", "s"),
    ("_bytes", "bytes"),
    ("_mib", "MiB"),
    ("_mb", "MB"),
    ("_days", "days"),
    ("_age_h", "hours"),
    ("fps", "frames/s"),
    ("_percentage", "%"),
)
"""By the end of the name, as the names of the project say it."""
OF_REQUESTS = ("required", "optional")
"""Words for fields that others send."""
HEAD = ("field", "type", "unit", "range", "present", "", "since")


@dataclass(frozen=True, slots=True)
class Field:
    """One field, at any depth."""

    name: str
    """Dotted; ``*`` stands for any key, ``[]`` for the items of a list."""
    schema: Schema
    """With its reference followed."""
    is_nullable: bool
    is_required: bool


def list_fields(schema: Schema, definitions: Mapping[str, Schema], prefix: str = "") -> Iterator[Field]:
    """All fields, those of inner objects behind their own.

    Args:
        schema: Of an object.
        definitions: What references lead to, by their last part.
        prefix: Of the names.
    """
    required = set(schema.get("required", ()))
    for name, given in schema.get("properties", {}).items():
        found, is_nullable = _resolve(given, definitions)
        yield Field(prefix + name, found, is_nullable, name in required)
        yield from _list_inner(found, definitions, prefix + name)
    for kind in schema.get("anyOf", ()):  # one of several types, whose fields are there with it only
        for one in list_fields(_resolve(kind, definitions)[0], definitions, prefix):
            yield replace(one, is_required=False)


def _list_inner(found: Schema, definitions: Mapping[str, Schema], name: str) -> Iterator[Field]:
    yield from list_fields(found, definitions, f"{name}.")
    for place, mark in (("additionalProperties", ".*"), ("items", "[]")):
        if isinstance(found.get(place), Mapping):
            inner, _ = _resolve(found[place], definitions)
            yield from _list_inner(inner, definitions, name + mark)


def _resolve(given: Schema, definitions: Mapping[str, Schema]) -> tuple[Schema, bool]:
    """The schema with references followed, and whether it may be null; a field's own words come before the type's."""
    is_nullable = False
    for _ in range(4):  # a reference in a union in a reference
        if "$ref" in given:
            rest = {key: value for key, value in given.items() if key != "$ref"}
            given = {**definitions[given["$ref"].rsplit("/", 1)[1]], **rest}
        union = given.get("anyOf") or given.get("oneOf") or ()
        kinds = [one for one in union if one.get("type") != "null"]
        is_nullable = is_nullable or len(kinds) < len(union)
        if len(kinds) != 1:
            return given, is_nullable
        rest = {key: value for key, value in given.items() if key not in ("anyOf", "oneOf")}
        given = {**kinds[0], **rest}
    return given, is_nullable


def make_rows(
    fields: Sequence[Field],
    since: Since,
    place: str,
    present: Mapping[str, str] | None = None,
    words: tuple[str, str] = ("always", "not always"),
) -> str:
    """The table of fields.

    Args:
        fields: Of one payload.
        since: Which version each name came with.
        place: What the names are below, for ``since``.
        present: By name, when it is there; else as the schema says, in these words.
        words: For a field that is required, and for one that is not.
    """
    rows = [
        (
            code(one.name),
            name_type(one),
            find_unit(one),
            name_range(one.schema),
            (present or {}).get(one.name, words[0] if one.is_required else words[1]),
            prose(_describe(one, with_default=words == OF_REQUESTS)),
            since.of(f"{place} {one.name}"),
        )
        for one in fields
    ]
    return table(HEAD, rows)


def _describe(field: Field, *, with_default: bool) -> str:
    default = field.schema.get("default") if with_default else None
    text = str(field.schema.get("description", ""))
    return text if default in (None, {}, []) else f"{text} Default: {code(_show(default))}.".strip()


def name_type(field: Field) -> str:
    """In words."""
    name = _name_schema(field.schema)
    return f"{name} or null" if field.is_nullable and not name.endswith("null") else name


def _name_schema(schema: Schema) -> str:
    if "$ref" in schema:
        return "object"
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(kind)
    if "const" in schema or (kind is None and "enum" in schema):
        constant = schema.get("const")
        if isinstance(constant, int):
            return "boolean" if isinstance(constant, bool) else "integer"
        return "string"
    if kind == "array":
        items = _name_schema(schema.get("items", {}))
        return (
            "array"
            if items == "any"
            else "array of " + items.replace("array", "arrays", 1) + ("" if "array" in items else "s")
        )
    if kind is not None:
        return str(kind)
    kinds = [_name_schema(one) for one in schema.get("anyOf") or schema.get("oneOf") or ()]
    return " or ".join(dict.fromkeys(kinds)) or "any"


def find_unit(field: Field) -> str:
    """As the schema says, or else the name."""
    if field.schema.get("format") == "date-time":
        return "RFC 3339, UTC"
    if "x-unit" in field.schema:
        return str(field.schema["x-unit"])
    if not {"number", "integer"} & set(_list_kinds(field.schema)):
        return ""
    levels = reversed(field.name.replace("[]", "").split("."))  # the figures of timings_ms are ms, too
    return next((unit for level in levels for end, unit in _UNITS if level.endswith(end)), "")


def _list_kinds(schema: Schema) -> list[Any]:
    kind = schema.get("type")
    return kind if isinstance(kind, list) else [kind, *(one.get("type") for one in schema.get("anyOf", ()))]


def name_range(schema: Schema) -> str:
    """The values that there may be."""
    if "const" in schema:
        return code(_show(schema["const"]))
    if "enum" in schema:
        return ", ".join(code(_show(one)) for one in schema["enum"])
    least, most, above = (schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum"))
    if least is not None and most is not None:
        return f"{_number(least)} to {_number(most)}"
    limits = (("> ", above), ("≥ ", least), ("≤ ", most))
    shown = ", ".join(sign + _number(limit) for sign, limit in limits if limit is not None)
    if shown:
        return shown
    if schema.get("pattern"):
        return code(schema["pattern"])
    return ""


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
