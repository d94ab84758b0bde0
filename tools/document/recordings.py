"""The page of the files of a recording, and their JSON Schema."""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from edge_runtime.recordings.manifest import (
    ANSWERS_FILE,
    FRAMES_FILE,
    MANIFEST_FILE,
    AnswerLine,
    FrameLine,
    Manifest,
)
from tools.document.fields import list_fields, make_rows
from tools.document.markdown import page
from tools.document.since import Since

_FILES = {MANIFEST_FILE: Manifest, FRAMES_FILE: FrameLine, ANSWERS_FILE: AnswerLine}


def describe_recordings() -> dict[str, Any]:
    """All parts as definitions of one JSON Schema; as a whole it is that of ``recording.json``."""
    _, found = models_json_schema(
        [(Manifest, "serialization"), (FrameLine, "serialization"), (AnswerLine, "serialization")]
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The files of a recording",
        "$ref": f"#/$defs/{Manifest.__name__}",
        "$defs": found["$defs"],
    }


def make_recordings_page(document: Mapping[str, Any], since: Since) -> str:
    """One section for each file."""
    parts = list[str]()
    for name, model in _FILES.items():
        definitions = document["$defs"]
        fields = list(list_fields(definitions[model.__name__], definitions))
        parts += [f"## `{name}`", make_rows(fields, since, f"recording {name}")]
    return page("Recordings", "recordings", *parts)
