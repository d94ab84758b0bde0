"""The base of every section of the configuration: frozen, closed, and able to name the key that is wrong.

Nothing specific to one section lives here.
"""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, InitErrorDetails, ValidationError

from edge_runtime.config.values import refusal


class Section(BaseModel):
    """A closed set of keys; an unknown one is an error, and nothing changes after validation."""

    # Deferred: a section is checked as a part of ``Config``, which is built once, and seldom by itself.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
        defer_build=True,
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for key, text in describe_keys(cls).items():
            properties[key]["description"] = text
        return schema

    @model_validator(mode="before")
    @classmethod
    def _refuse_yes_as_number(cls, data: Any) -> Any:
        """Pydantic takes True as 1; in a configuration ``port: yes`` is a slip. As text it is refused."""
        if not isinstance(data, Mapping):
            return data
        return {key: str(value) if cls._is_slip(key, value) else value for key, value in data.items()}

    @classmethod
    def _is_slip(cls, key: str, value: Any) -> bool:
        info = cls.model_fields.get(key)
        if info is None or not isinstance(value, bool):
            return False
        kinds = (info.annotation, *get_args(info.annotation))
        return bool not in kinds and (int in kinds or float in kinds)

    def require(self, condition: bool, key: str, expected: str, found: str | None = None) -> None:
        """Refuse ``key`` of this section unless ``condition`` holds.

        Raises:
            ValidationError: located at the key, so that the problem gets the key's path and line.
        """
        if condition:
            return
        value = getattr(self, key, None)
        shown = found if found is not None else ("missing" if value is None else repr(value))
        details = InitErrorDetails(type=refusal(expected, shown), loc=(key,), input=None)
        raise ValidationError.from_exception_data(type(self).__name__, [details])


def describe_keys(section: type[BaseModel]) -> dict[str, str]:
    """The text below each key in the source; pydantic's ``use_attribute_docstrings`` costs every start 20 ms."""
    stated = {name: info.description for name, info in section.model_fields.items() if info.description}
    try:
        source = inspect.getsource(section)
    except OSError:  # an installation without it
        return stated
    (described,) = ast.parse(textwrap.dedent(source)).body
    assert isinstance(described, ast.ClassDef)
    return stated | {
        key.target.id: " ".join(text.value.value.split())
        for key, text in pairwise(described.body)
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name)
        if isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
