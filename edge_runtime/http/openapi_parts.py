"""Parts that the sections of the OpenAPI document have in common: types, parameters, answers, operations. Pure."""

from collections.abc import Mapping

from edge_runtime.messaging.type_schemas import REF, Schema

TEXT: Schema = {"type": "string"}
ANY: Schema = {"type": "object"}
AS_ASKED_FOR = "As asked for."


def refer_to(*names: str) -> Schema:
    """The component of the document with this name; of several one of them."""
    found = [{"$ref": REF + name} for name in names]
    return found[0] if len(found) == 1 else {"anyOf": found}


def answer_with(schema: Schema, description: str = AS_ASKED_FOR) -> Schema:
    """An answer of JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def refuse_with(schema: Schema, reasons: Mapping[int, str], *codes: int) -> dict[int, Schema]:
    """An answer of JSON for each of these codes."""
    return {code: answer_with(schema, reasons[code]) for code in codes}


def describe_operation(summary: str, answers: Mapping[int, Schema], *parameters: Schema) -> Schema:
    """A method of an address; its answers by code, the smallest first."""
    found: Schema = {"summary": summary, "responses": {str(code): answers[code] for code in sorted(answers)}}
    return {**found, "parameters": list(parameters)} if parameters else found


def name_in_path(name: str, schema: Schema = TEXT) -> Schema:
    """A parameter that is a part of the path."""
    return {"name": name, "in": "path", "required": True, "schema": schema}
