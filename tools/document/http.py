"""The page of HTTP, from the OpenAPI document."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from tools.document.fields import Field, list_fields, make_rows, name_range
from tools.document.markdown import code, page, prose, table
from tools.document.since import Since

_ELSEWHERE = {"Status": "status.md", "Result": "topics.md#result", "Rejection": "topics.md#rejected"}
"""Schemas that other pages describe."""


def make_http_page(document: Mapping[str, Any], since: Since) -> str:
    """Addresses, statuses, and what is in bodies."""
    schemas = document["components"]["schemas"]
    named = [name for name in _named_schemas(document["paths"]) if name not in _ELSEWHERE]
    parts = [
        "## Addresses",
        table(
            ("address", "", "takes", "gives", "other statuses", "since"),
            _list_addresses(document["paths"], since),
        ),
        "## Parameters",
        table(("address", "parameter", "range", "", "since"), _list_parameters(document["paths"], since)),
        "## Statuses",
        table(("status", "", "when"), _list_statuses(document["paths"])),
    ]
    for name in named:
        schema = schemas[name]
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
        fields: list[Field] = list(list_fields(schema, schemas))
        parts += [f"## {name}", make_rows(fields, since, f"http {name}")]
    return page("HTTP", "http", *parts)


def _operations(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def _list_addresses(paths: Mapping[str, Any], since: Since) -> Iterator[tuple[str, ...]]:
    for path, method, operation in _operations(paths):
        answers = operation["responses"]
        good = [answer for status, answer in answers.items() if status < "300"]
        yield (
            code(f"{method} {path}"),
            prose(operation["summary"]),
            _name_content(operation.get("requestBody", {}).get("content", {})),
            "; ".join(_name_content(answer.get("content", {})) for answer in good),
            " ".join(status for status in answers if status >= "300"),
            since.of(f"http {method} {path}"),
        )


def _name_content(content: Mapping[str, Any]) -> str:
    return ", ".join(f"{code(kind)}{_link(media.get('schema', {}))}" for kind, media in content.items())


def _link(schema: Mapping[str, Any]) -> str:
    if "$ref" not in schema:
        return ""
    name = schema["$ref"].rsplit("/", 1)[1]
    return f" [{name}]({_ELSEWHERE.get(name, f'#{name.lower()}')})"


def _named_schemas(paths: Mapping[str, Any]) -> list[str]:
    """Those that an address takes or gives, each once."""
    found: dict[str, None] = {}
    for _, _, operation in _operations(paths):
        for one in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media in one.get("content", {}).values():
                if "$ref" in media.get("schema", {}):
                    found[media["schema"]["$ref"].rsplit("/", 1)[1]] = None
    return list(found)


def _list_parameters(paths: Mapping[str, Any], since: Since) -> Iterator[tuple[str, ...]]:
    for path, method, operation in _operations(paths):
        for one in operation.get("parameters", ()):
            if one["in"] == "path":
                continue
            schema = one["schema"]
            default = f"default {code(str(schema['default']))}" if "default" in schema else ""
            text = "; ".join(filter(None, (one.get("description", ""), default)))
            name = since.of(f"http {method} {path}?{one['name']}")
            yield code(f"{method} {path}"), code(one["name"]), name_range(schema), prose(text), name


def _list_statuses(paths: Mapping[str, Any]) -> list[tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for _, _, operation in _operations(paths):
        for status, answer in operation["responses"].items():
            found.setdefault(status, {})[answer["description"]] = None
    return [
        (status, HTTPStatus(int(status)).phrase, prose(" ".join(texts)))
        for status, texts in sorted(found.items())
    ]
