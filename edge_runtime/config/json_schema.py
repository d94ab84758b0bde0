"""The JSON Schema of the configuration, for editors and for people without our code.

Derived from the pydantic models and nothing else; ``configs/edge-runtime.schema.json`` is this text, kept current
by a test.
"""

import json
from typing import Any

from edge_runtime.config import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """The schema as data: draft 2020-12, unknown keys forbidden, every key with description and default."""
    schema = Config.model_json_schema()
    schema = {"$schema": DIALECT, **schema, "title": "edge-runtime configuration"}
    for section in (schema, *schema["$defs"].values()):
        for key in section.get("properties", {}).values():
            key.pop("title", None)  # it only repeats the key
    return schema


def schema_text() -> str:
    """The schema as it is committed: two spaces, sorted as written, one newline at the end."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"
