"""The schemas of an AsyncAPI or OpenAPI document, as validators that know its components."""

from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_NOWHERE = "urn:document"


class DocumentSchemas:
    """Strict: an object has no fields but those that its schema names, unless the schema says that it may.

    The documents themselves let fields be added, as the project may; a field that is sent and not described is a
    fault all the same.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        resource = Resource.from_contents(_close(document), default_specification=DRAFT202012)
        self._registry = Registry().with_resource(_NOWHERE, resource)

    def validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        """Of a schema of the document."""
        checker = Draft202012Validator.FORMAT_CHECKER
        strict = _make_absolute(_close(schema))
        return Draft202012Validator(strict, registry=self._registry, format_checker=checker)


def form_of(value: Any, place: str = "") -> frozenset[str]:
    """Which keys a value of JSON has, at any depth, and of what type each is: messages of one form are alike."""
    if isinstance(value, dict):
        parts = [form_of(one, f"{place}.{key}") for key, one in value.items()]
    elif isinstance(value, list):
        parts = [form_of(one, f"{place}[]") for one in value]
    else:
        parts = []
    return frozenset({f"{place} {type(value).__name__}"}).union(*parts)


def _close(value: Any) -> Any:
    if isinstance(value, list):
        return [_close(one) for one in value]
    if not isinstance(value, dict):
        return value
    closed = {key: _close(one) for key, one in value.items()}
    if value.get("type") == "object" and "properties" in value:
        closed.setdefault("additionalProperties", False)
    return closed


def _make_absolute(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: f"{_NOWHERE}{one}" if key == "$ref" else _make_absolute(one) for key, one in value.items()
        }
    return [_make_absolute(one) for one in value] if isinstance(value, list) else value
