"""Numbers in the query of an address."""

import re
from typing import TypeVar

from starlette.requests import Request

from edge_runtime.serving.refusals import Refusal

_Number = TypeVar("_Number", int, float)


def read_number(request: Request, name: str, usual: _Number, least: _Number, most: _Number) -> _Number:
    """A parameter of the request; ``usual`` where it is not given.

    Args:
        request: Read only.
        name: Of the parameter.
        usual: An int: only whole numbers are taken. A float: also up to three digits behind the point.
        least: The smallest that is taken, 0 or more.
        most: The largest that is taken, less than 10^10.

    Raises:
        Refusal: it is no such number.
    """
    text, kind = request.query_params.get(name, str(usual)), type(usual)
    pattern = r"[0-9]{1,10}" if kind is int else r"[0-9]{1,10}(\.[0-9]{1,3})?"
    if not re.fullmatch(pattern, text) or not least <= kind(text) <= most:
        raise Refusal(400, f"{name} is {text[:20]!r}; expected a number in {least}..{most}")
    return kind(text)
