"""Types of figures in events, with their range and unit."""

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=0)]
Distance = Annotated[float, Field(ge=0)]
"""Without unit."""
Seconds = Annotated[float, Field(ge=0, json_schema_extra={"x-unit": "s"})]
UnixTime = Annotated[float, Field(json_schema_extra={"x-unit": "s since 1970"})]
