"""Writes the table of all configuration keys into ``docs/configuration.md``, from the JSON Schema."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_runtime.config.json_schema import config_schema

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
BEGIN = "<!-- keys: written by `python tools/document_config.py`; a test compares -->\n"
END = "<!-- /keys -->"


def table() -> str:
    """One Markdown row for each key: name, default, description."""
    schema = config_schema()
    rows = [f"| `{key}` | {default} | {text} |" for key, default, text in _keys(schema, schema, "")]
    return "\n".join(["| key | default | |", "|---|---|---|", *rows]) + "\n"


def _keys(schema: dict[str, Any], node: dict[str, Any], prefix: str) -> Iterator[tuple[str, str, str]]:
    required = set(node.get("required", ()))
    for name, given in node.get("properties", {}).items():
        field, key = _resolved(schema, given), prefix + name
        inner = _resolved(schema, next(iter(field.get("patternProperties", {}).values()), {}))
        section = field if "properties" in field else inner
        if "properties" in section:
            yield from _keys(schema, section, f"{key}.NAME." if section is inner else f"{key}.")
        else:
            yield key, "required" if name in required else f"`{_shown(field.get('default'))}`", _text(field)


def _resolved(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    """The field with its reference followed; of ``X or null`` the X."""
    kinds = [kind for kind in field.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) == 1:
        field = {**kinds[0], **{name: value for name, value in field.items() if name != "anyOf"}}
    if "$ref" in field:
        target = schema["$defs"][field["$ref"].rsplit("/", 1)[1]]
        field = {**target, **{name: value for name, value in field.items() if name != "$ref"}}
    return field


def _shown(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def _text(field: dict[str, Any]) -> str:
    text = str(field.get("description", ""))
    values = [value for value in field.get("enum", ()) if isinstance(value, str)]
    if not all(re.search(rf"\b{re.escape(value)}\b", text) for value in values):
        text += f" One of {', '.join(f'`{value}`' for value in values)}."
    return text.replace("|", "\\|").replace("<", "&lt;")


def page(text: str) -> str:
    """The page with a fresh table."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
