"""JSON Schemas of the data of events, made from their types and :mod:`.event_forms`. Pure."""

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, get_args

from calibration.verdict import FrameCounts
from edge_runtime.datatypes import Generation
from edge_runtime.messaging import events
from edge_runtime.messaging.event_forms import OF_DEVICE, OLD_KINDS, form_of, kinds_of
from edge_runtime.messaging.type_schemas import REF, Schema, describe_types

_TEXT: Schema = {"type": "string"}
_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
_PARTS = (events.BaselineScore, events.PatchFacts, FrameCounts)
"""Types that stand in fields of events."""
_FINDING: Schema = {
    "type": "object",
    "properties": {
        "value": {**_NUMBER_OR_NULL, "description": "As measured; null when it was not."},
        "limit": {**_NUMBER_OR_NULL, "description": "Where it fails."},
        "verdict": {
            "enum": ["pass", "fail", "inconclusive", "running"],
            "description": "Of `agreement` and `confidence` of a patch it decides nothing.",
        },
        "low": {"type": "number", "description": "Lower end of the 95 % interval, where there is one."},
        "high": {"type": "number", "description": "Its upper end."},
        "frames_needed": {
            "type": "number",
            "minimum": 0,
            "description": "Where frames are wanting: so many decide it if its figures stay.",
        },
    },
    "required": ["value", "limit", "verdict"],
}
_DIFFERENCE: Schema = {"type": "number", "minimum": -1, "maximum": 1}
_FRAMES: Schema = {"type": "integer", "minimum": 0}
_COMPARISON: Schema = {
    "type": "object",
    "properties": {
        "name": {"enum": ["confidence", "confident_share", "label_share"]},
        "label": {"type": ["string", "null"], "description": "Of a `label_share`."},
        "is_paired": {"type": "boolean", "description": "On the same frames."},
        "difference": {**_DIFFERENCE, "description": "Of the candidate, minus that of the active version."},
        "low": {**_DIFFERENCE, "description": "Lower end of the 95 % interval."},
        "high": {**_DIFFERENCE, "description": "Its upper end."},
        "frames": {**_FRAMES, "description": "Of the candidate."},
        "active_frames": _FRAMES,
        "frames_needed": {
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "Of each, until a true difference of this size is told from none; null when it is told "
            "already.",
        },
        "text": {**_TEXT, "description": "For people."},
    },
}
_COMPARISON["required"] = list(_COMPARISON["properties"])
_ITEMS: Mapping[str, tuple[str, Schema]] = {
    "findings": ("additionalProperties", {"$ref": f"{REF}EventFinding"}),
    "comparisons": ("items", {"$ref": f"{REF}EventComparison"}),
}
"""By field, where the schema of its items stands: the types say no more than that they are mappings."""
_MODEL: Schema = {**_TEXT, "description": "Name of the model in the configuration."}


def event_schemas() -> dict[str, Schema]:
    """The data of every type of event by its name, and the types that stand in them."""
    facts: tuple[type, ...] = get_args(events.Fact)
    raw = describe_types((*facts, *_PARTS))
    found = {one.__name__: _describe_fact(one, raw) for one in facts}
    found |= {one.__name__: _describe_type(one, raw) for one in _PARTS}
    return {**found, "EventFinding": _FINDING, "EventComparison": _COMPARISON}


def event_payload() -> Schema:
    """A message of the topic ``event``; its data is in the components of the document."""
    variants: dict[str, list[str]] = {}
    for fact in get_args(events.Fact):
        for kind in kinds_of(fact):
            variants.setdefault(kind, []).append(fact.__name__)
    kinds = sorted(variants)
    return {
        "type": "object",
        "properties": {
            "event": {"enum": [*kinds, *OLD_KINDS], "description": "The kind."},
            "device": {**_TEXT, "description": "Its name in the configuration."},
            "at": {"type": "string", "format": "date-time", "description": "To milliseconds."},
            "data": {"type": "object", "description": "By kind; several variants may share one."},
            "deprecated": {"const": True, "description": "Only of copies under an old name."},
        },
        "required": ["event", "device", "at", "data"],
        "oneOf": [*(_of_kind(kind, variants[kind]) for kind in kinds), _OLD],
    }


_OLD: Schema = {
    "title": "old names, for one release",
    "properties": {
        "event": {"enum": list(OLD_KINDS)},
        "data": {"type": "object", "description": "As under its new name, without `outcome`."},
        "deprecated": {"const": True},
    },
    "required": ["deprecated"],
}


def _of_kind(kind: str, names: list[str]) -> Schema:
    variants = {"anyOf": [{"$ref": REF + name} for name in names]}
    return {"title": kind, "properties": {"event": {"const": kind}, "data": variants}}


def _describe_fact(fact: type, raw: Mapping[str, Schema]) -> Schema:
    schema = _describe_type(fact, raw)
    if not issubclass(fact, OF_DEVICE):
        schema["properties"] = {"model": _MODEL, **schema["properties"]}
        schema["required"].insert(0, "model")
    return schema


def _describe_type(kind: type, raw: Mapping[str, Schema]) -> Schema:
    form, properties, required = form_of(kind), dict[str, Schema](), list[str]()
    for name, value in form.constants.items():
        properties[name] = {"const": value}
        required.append(name)
    for one in fields(kind):
        given = raw[kind.__name__]["properties"][one.name]
        if one.name == form.inlined:
            inner = _describe_type(_type_of(one), raw)
            properties |= inner["properties"]
            required += inner["required"]
        elif one.name != form.unsent:
            is_sometimes = one.name in form.sometimes
            properties[form.name(one.name)] = _describe_field(one, given, is_sometimes=is_sometimes)
            required += [] if is_sometimes else [form.name(one.name)]
    text = raw[kind.__name__]["description"]
    return {"type": "object", "description": text, "properties": properties, "required": required}


def _type_of(one: "Field[Any]") -> type:
    assert isinstance(one.type, type)
    return one.type


def _describe_field(one: "Field[Any]", given: Schema, *, is_sometimes: bool) -> Schema:
    schema = {name: value for name, value in given.items() if name != "default"}
    if is_sometimes:
        schema = _without_nothing(schema)
    if one.name in _ITEMS:
        place, items = _ITEMS[one.name]
        schema[place] = items
    if schema.get("$ref") == f"{REF}{Generation.__name__}":
        schema = _TEXT | {"description": schema.get("description", "Active now: `bundle/version+patch`.")}
    return schema


def _without_nothing(schema: Schema) -> Schema:
    """Of a field that is left out while it says nothing: a flag is true, anything else not null."""
    if "description" in schema:
        schema = {**schema, "description": schema["description"].replace("null ", "absent ")}
    if schema.get("type") == "boolean":
        return {**{name: value for name, value in schema.items() if name != "type"}, "const": True}
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**kinds[0], **rest} if len(kinds) == 1 else schema
