"""Numbers in the query of an address: how they are read, and how the OpenAPI document describes them."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from edge_runtime.messaging.type_schemas import Schema
from edge_runtime.serving.refusals import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class NumberParameter(Generic[_Number]):
    """A parameter of the query.

    With an int as ``usual`` only whole numbers are taken, with a float also up to three digits behind the point.
    """

    name: str
    usual: _Number
    """Where it is not given."""
    least: _Number
    """0 or more."""
    most: _Number
    """Less than 10^10."""
    description: str | None = None

    def read(self, request: "Request") -> _Number:
        """Its value in a request.

        Raises:
            Refusal: it is no such number.
        """
        text, kind = request.query_params.get(self.name, str(self.usual)), type(self.usual)
        pattern = r"[0-9]{1,10}" if kind is int else r"[0-9]{1,10}(\.[0-9]{1,3})?"
        if not re.fullmatch(pattern, text) or not self.least <= kind(text) <= self.most:
            expected = f"a number in {self.least}..{self.most}"
            raise Refusal(400, f"{self.name} is {text[:20]!r}; expected {expected}")
        return kind(text)

    def describe(self) -> Schema:
        """It as a parameter of an OpenAPI document."""
        kind = "integer" if isinstance(self.usual, int) else "number"
        schema: Schema = {"type": kind, "minimum": self.least, "maximum": self.most, "default": self.usual}
        found: Schema = {"name": self.name, "in": "query", "schema": schema}
        return found if self.description is None else {**found, "description": self.description}


MOST = NumberParameter("most", 50, 1, 500)
MAX_SIDE = NumberParameter("max_side", 640, 16, 1920)
FPS = NumberParameter("fps", 2.0, 0.1, 5.0)
LONGEST_MS = NumberParameter("longest_ms", 5000, 0, 5000, "How long it waits for a first picture.")
SPAN_S = NumberParameter("span_s", 3600, 0, 9_999_999_999)
AFTER = NumberParameter("after", 0, 0, 9_999_999_999)
