"""Turns errors of pydantic into problems for an operator: where, which line, what was found and expected.

Pure: data in, ``Problem`` values out. Secrets never get in here: the shown values come from the text as it was
written, before anything from the environment was put in.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from edge_runtime.config.section import describe_keys
from edge_runtime.config.strict_yaml import MAX_PROBLEMS, Document
from edge_runtime.errors import Problem
from edge_runtime.system.redaction import HIDDEN, PROCESS

Loc = tuple[str | int, ...]
MAX_SHOWN = 60
MAX_READ = 4096
"""Characters of a text that are looked through for passwords before the first of them are shown."""
MAX_KNOWN = 64

_EXPECTED = {
    "missing": "this key",
    "string_type": "text (put quotes around it)",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "path_type": "a path",
    "dict_type": "a section of 'key: value' lines",
    "model_type": "a section of 'key: value' lines",
    "model_attributes_type": "a section of 'key: value' lines",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} entry",
    "string_too_long": "at most {max_length} characters",
    "too_long": "at most {max_length} entries",
    "refused": "{expected}",
    "value_error": "{error}",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_pattern_mismatch": "text of the form {pattern}",
}
_SECRET_KEYS = frozenset({"password"})


def problems_of(error: ValidationError, document: Document, shape: type[BaseModel]) -> list[Problem]:
    """The problems of a validation in the order of the file, at most 50 and the number of the rest.

    A key that failed several ways comes once.
    """
    grouped: dict[Loc, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        grouped.setdefault(_place(detail, document.data), []).append(detail)
    grouped = {loc: details for loc, details in grouped.items() if not _is_shortened(loc, details, grouped)}
    first = sorted(
        grouped, key=lambda loc: (document.nearest_line(loc) or math.inf, [str(part) for part in loc])
    )
    found = [_problem(loc, grouped[loc], document, shape) for loc in first[:MAX_PROBLEMS]]
    if len(first) > MAX_PROBLEMS:
        found.append(Problem("", None, f"{len(first) - MAX_PROBLEMS} more", "those above to be solved first"))
    return found


def _is_shortened(loc: Loc, details: list[ErrorDetails], all_places: Iterable[Loc]) -> bool:
    """Whether a list is too short only because pydantic leaves out its wrong entries, which are reported anyway."""
    if any(detail["type"] != "too_short" for detail in details):
        return False
    return any(len(other) > len(loc) and other[: len(loc)] == loc for other in all_places)


def _place(detail: ErrorDetails, data: Any) -> Loc:
    """The part of a location that the file has: pydantic adds '[key]' and names of union members."""
    loc, place = detail["loc"], list[str | int]()
    # Of a validator of a whole section the last part is no key.
    is_of_a_section = detail["type"] == "value_error"
    for position, part in enumerate(loc):
        if part == "[key]":
            break
        if isinstance(data, Mapping):
            if part not in data and (position < len(loc) - 1 or is_of_a_section):
                continue  # the tag of a discriminated union
            place.append(part)
            data = data.get(part)
        elif isinstance(data, Sequence) and not isinstance(data, str) and isinstance(part, int):
            place.append(part)
            data = data[part] if part < len(data) else None
        else:
            break
    return tuple(place)


def _problem(loc: Loc, details: list[ErrorDetails], document: Document, shape: type[BaseModel]) -> Problem:
    where = ".".join(str(part) for part in loc)
    first = details[0]
    if first["type"] == "extra_forbidden":
        found, expected = f"unknown key {show(loc[-1])}", _known_keys(loc, shape)
    elif "[key]" in first["loc"]:
        found, expected = f"name {show(loc[-1])}", _expected(first)
    elif first["type"] == "value_error" and isinstance(value_at(document.data, loc), Mapping):
        found, expected = _expected(first), "values that go together"
    elif first["type"] in ("union_tag_not_found", "union_tag_invalid"):
        key = first["ctx"]["discriminator"].strip("'")
        models, _ = _find_field(first["loc"], shape)
        tags = [tag for model in models for tag in _list_choices(model.model_fields[key].annotation)]
        where = f"{where}.{key}" if where else key
        found = "missing" if first["type"] == "union_tag_not_found" else show(first["ctx"]["tag"])
        expected = _join(tags) or "this key"
    else:
        found = "missing" if first["type"] == "missing" else _found(loc, first, document.data)
        expected = " or ".join(dict.fromkeys(_expected(detail) for detail in details))
        if first["type"] in ("tuple_type", "list_type"):
            expected += _example_of(first["loc"], shape)
        if first["type"] == "missing":
            expected = _choices_of(first["loc"], shape) or _description(first["loc"], shape) or expected
    return Problem(where, document.nearest_line(loc), found, expected)


def _expected(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    template = _EXPECTED.get(detail["type"])
    return template.format(**context) if template is not None else detail["msg"]


def _found(loc: Loc, detail: ErrorDetails, data: Any) -> str:
    found = detail.get("ctx", {}).get("found")
    if found is not None:
        return str(found)
    return show(value_at(data, loc), is_secret=bool(loc) and loc[-1] in _SECRET_KEYS)


def value_at(data: Any, loc: Loc) -> Any:
    """The value at a place of the file; None when it does not have it."""
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def show(value: Any, *, is_secret: bool = False) -> str:
    """A value in a few words, passwords left out."""
    if is_secret:
        return "a value that is not shown"
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = PROCESS.text(repr(_without_userinfo(value[:MAX_READ]) if isinstance(value, str) else value))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def _without_userinfo(value: str) -> str:
    """One value has no words around it: all that is before an @ may be a password."""
    before, at, after = value.rpartition("@")
    if not at:
        return value
    scheme, mark, _ = before.partition("://")
    return f"{scheme}{mark}{HIDDEN}@{after}" if mark else f"{HIDDEN}@{after}"


def _known_keys(loc: Loc, shape: type[BaseModel]) -> str:
    sections, _ = _find_field(loc[:-1], shape)  # only the data says which one of a union is meant
    return did_you_mean(str(loc[-1]), sections[0].model_fields) if len(sections) == 1 else "no such key"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``'fps' (did you mean it?)`` when one is near, else all there are."""
    names = list(islice(known, MAX_KNOWN))
    near = get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    return f"{near[0]!r} (did you mean it?)" if near else f"one of: {', '.join(names)}"


def _choices_of(loc: Loc, shape: type[BaseModel]) -> str | None:
    """The values that a key may have, where they are few; None where they are not."""
    _, field = _find_field(loc, shape)
    return None if field is None else _join(_list_choices(field.annotation))


def _example_of(loc: Loc, shape: type[BaseModel]) -> str:
    """``, such as [1280, 720]``, where the key has an example; else nothing."""
    _, field = _find_field(loc, shape)
    return f", such as {field.examples[0]}" if field is not None and field.examples else ""


def _list_choices(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [repr(one) for one in get_args(annotation)]
    if get_origin(annotation) in (Annotated, Union, UnionType):
        parts = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
        found = [_list_choices(part) for part in parts if part is not NoneType]
        return [one for part in found for one in part] if all(found) else []
    return []


def _join(choices: Sequence[str]) -> str | None:
    if len(choices) < 2:
        return choices[0] if choices else None
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def _find_field(loc: Loc, shape: type[BaseModel]) -> tuple[list[type[BaseModel]], FieldInfo | None]:
    """The sections that may stand at a location as pydantic has it, with the tags of unions, and the field there."""
    models, annotation = [shape], shape  # type: list[type[BaseModel]], Any
    field: FieldInfo | None = None
    for part in loc:
        tagged = [model for model in models if _has_tag(model, part)]
        if field is not None and tagged:
            models = tagged
            continue
        owner = next((model for model in models if part in model.model_fields), None)
        if owner is not None:
            field = owner.model_fields[str(part)]
            annotation = field.annotation
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            return [], None
        models = _list_sections(annotation)
    return models, field


def _has_tag(model: type[BaseModel], tag: str | int) -> bool:
    annotations = (field.annotation for field in model.model_fields.values())
    return any(get_origin(one) is Literal and get_args(one) == (tag,) for one in annotations)


def _list_sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is dict:
        return []
    return [one for part in get_args(annotation) for one in _list_sections(part)]


def _description(loc: Loc, shape: type[BaseModel]) -> str | None:
    sections, _ = _find_field(loc[:-1], shape)
    section = sections[0] if len(sections) == 1 else shape if len(loc) == 1 else None
    text = describe_keys(section).get(str(loc[-1])) if section is not None else None
    return f"{loc[-1]}: {text.split('. ')[0].rstrip('.')}" if text is not None else None
