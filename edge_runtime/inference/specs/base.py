"""The parts that all specifications of a bundle share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_NAME_CHARACTERS = 1000
TensorName = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
"""Name of an output of a model."""
Finite = Annotated[float, Field(allow_inf_nan=False)]


class StrictModel(BaseModel):
    """Unknown fields are refused; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
