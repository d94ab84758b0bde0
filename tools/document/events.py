"""The page of events, from their types."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import orjson

from edge_runtime.messaging import events
from edge_runtime.messaging.encoding import encode_event
from edge_runtime.messaging.event_forms import OF_DEVICE, kinds_of
from edge_runtime.messaging.events import Event
from tools.document.event_examples import EXAMPLES
from tools.document.fields import Field, list_fields, make_rows
from tools.document.markdown import code, page, prose, table
from tools.document.since import Since

_AT_WALL_S = 1_795_448_459.123


def make_events_page(document: Mapping[str, Any], since: Since) -> str:
    """One section for each kind: its variants, the fields of its data, an example of each."""
    definitions = document["components"]["schemas"]
    envelope = list(list_fields(document["components"]["messages"]["event"]["payload"], definitions))
    parts = [make_rows(envelope, since, "event")]
    for kind, facts in sorted(_group_by_kind().items()):
        parts += [f"## `{kind}`", *_describe_kind(kind, facts, definitions, since)]
    return page("Events", "events", *parts)


def _group_by_kind() -> dict[str, list[type]]:
    found: dict[str, list[type]] = {}
    for fact in get_args(events.Fact):
        for kind in kinds_of(fact):
            found.setdefault(kind, []).append(fact)
    return found


def _describe_kind(
    kind: str, facts: list[type], definitions: Mapping[str, Any], since: Since
) -> Iterator[str]:
    schemas = {fact.__name__: definitions[fact.__name__] for fact in facts}
    yield table(
        ("variant", "says", "when"),
        [
            (code(name), _name_constants(schema), prose(schema["description"]))
            for name, schema in schemas.items()
        ],
    )
    fields: dict[str, Field] = {}
    found_in: dict[str, list[str]] = {}
    for name, schema in schemas.items():
        for one in list_fields(schema, definitions):
            fields.setdefault(one.name, one)
            found_in.setdefault(one.name, []).append(name if one.is_required else f"{name} (not always)")
    merged = [_merge(one, schemas) for one in fields.values()]
    present = {name: _say_where(names, schemas) for name, names in found_in.items()}
    yield make_rows(merged, since, f"event {kind}", present)
    for fact, of_kind, _ in EXAMPLES.values():
        if of_kind == kind:
            assert isinstance(fact, get_args(events.Fact))
            event = Event(_AT_WALL_S, fact, None if isinstance(fact, OF_DEVICE) else "parts")
            shown = orjson.loads(encode_event(event, "belt-3"))
            yield f"```json\n{_to_json(shown)}\n```"


def _name_constants(schema: Mapping[str, Any]) -> str:
    constants = {
        name: one["const"]
        for name, one in schema["properties"].items()
        if "const" in one and name in schema["required"]
    }
    return ", ".join(
        f"`{name}` {code(orjson.dumps(value).decode().strip(chr(34)))}" for name, value in constants.items()
    )


def _merge(one: Field, schemas: Mapping[str, Any]) -> Field:
    """A field that says another constant in each variant, with all of them."""
    found = [schema["properties"].get(one.name, {}) for schema in schemas.values()]
    constants = [schema["const"] for schema in found if isinstance(schema.get("const"), str)]
    if not constants:
        return one
    return Field(one.name, {"enum": list(dict.fromkeys(constants))}, one.is_nullable, one.is_required)


def _say_where(names: list[str], schemas: Mapping[str, Any]) -> str:
    if names == list(schemas):
        return "always"
    if len(names) == len(schemas) and all(name.endswith("(not always)") for name in names):
        return "not always"
    return ", ".join(code(name.partition(" ")[0]) + name[len(name.partition(" ")[0]) :] for name in names)


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode().replace('":', '": ').replace(',"', ', "').replace(",{", ", {")
