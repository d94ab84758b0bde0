"""Whether an answer is one that the OpenAPI document of the HTTP server has."""

import re

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_NOWHERE = "urn:document"


class Contract:
    """The document, as a hook for answers: ``httpx.Client(event_hooks={"response": [contract.check]})``."""

    def __init__(self, document):
        self._paths = [
            (re.compile(re.sub(r"{[a-z]+}", "[^/]+", path)), methods)
            for path, methods in document["paths"].items()
        ]
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry = Registry().with_resource(_NOWHERE, resource)

    def check(self, answer):
        """Fail unless its status, its type and its content are there; another method than those is 405."""
        answer.read()
        request, what = (
            answer.request,
            f"{answer.request.method} {answer.request.url.path}: {answer.status_code}",
        )
        methods = next((methods for path, methods in self._paths if path.fullmatch(request.url.path)), None)
        if methods is None:
            assert answer.status_code in (401, 404), what
            return
        operation = methods.get(request.method.lower())
        if operation is None:
            assert answer.status_code == 405, what
            return
        assert str(answer.status_code) in operation["responses"], what
        content = operation["responses"][str(answer.status_code)].get("content")
        if content is None:
            assert answer.content == b"", what
            return
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in content, f"{what}: {kind}"
        if kind == "application/json" and "schema" in content[kind]:
            schema = _absolute(content[kind]["schema"])
            Draft202012Validator(schema, registry=self._registry).validate(answer.json())


def _absolute(value):
    if isinstance(value, dict):
        return {key: f"{_NOWHERE}{one}" if key == "$ref" else _absolute(one) for key, one in value.items()}
    return [_absolute(one) for one in value] if isinstance(value, list) else value
