"""The parts that all specifications of a bundle share."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_NAME_CHARACTERS = 1000
TensorName = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
"""Name of an output of a model."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _check_text(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("control characters, or spaces at its ends; expected text that can be printed")
    return text


Text = Annotated[str, AfterValidator(_check_text)]
"""Of people, for messages, pages and charts."""


class StrictModel(BaseModel):
    """Unknown fields are refused; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
