"""JSON of another party, read into a checked shape within bounds of memory, depth and words."""

from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from calibration.stats.json_values import MOST_VALUES, count_values

MOST_SHOWN = 200
"""Characters of a place or a message; a key of the text may be in it."""

_Shape = TypeVar("_Shape", bound=BaseModel)


class BadJson(Exception):
    """It is none, too large, or has another shape; the text says what was found."""


def read_json(shape: type[_Shape], data: bytes) -> _Shape:
    """Read a text whose bytes are bounded already; its shape should hide the input in its errors.

    Raises:
        BadJson: the first problem.
    """
    if count_values(data) > MOST_VALUES:
        raise BadJson(f"more than {MOST_VALUES} values")
    try:
        # orjson bounds the depth, which json does not.
        return shape.model_validate(orjson.loads(data))
    except orjson.JSONDecodeError as err:
        raise BadJson(f"no JSON ({err})") from err
    except ValidationError as err:
        raise BadJson(describe_first(err)) from err


def describe_first(err: ValidationError) -> str:
    """Place and message of the first problem, short."""
    first = err.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))[:MOST_SHOWN]
    message = str(first["msg"])[:MOST_SHOWN]
    return f"{place}: {message}" if place else message
