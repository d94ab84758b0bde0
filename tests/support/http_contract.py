"""Whether an answer is one that the OpenAPI document of the HTTP server has."""

import re

from tests.support.document_schemas import DocumentSchemas


class Contract:
    """The document, as a hook for answers: ``httpx.Client(event_hooks={"response": [contract.check]})``."""

    def __init__(self, document):
        self._paths = [
            (re.compile(re.sub(r"{[a-z]+}", "[^/]+", path)), methods)
            for path, methods in document["paths"].items()
        ]
        self._schemas = DocumentSchemas(document)

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
            self._schemas.validator(content[kind]["schema"]).validate(answer.json())
