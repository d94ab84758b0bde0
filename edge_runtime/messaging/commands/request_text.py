"""The text of a request, before and after its verb is known: JSON of at most 64 KiB. Pure."""

import json
from collections import Counter
from typing import Any

import orjson
from pydantic import ValidationError

from edge_runtime.errors import CommandError
from edge_runtime.messaging.commands.token import is_token, read_token_id
from edge_runtime.system.rfc3339 import format_rfc3339

MAX_REQUEST_BYTES = 64 * 1024


def parse(payload: bytes) -> dict[str, Any]:
    """The content of a request as a JSON object.

    Raises:
        CommandError: it is none, or too long.
    """
    if len(payload) > MAX_REQUEST_BYTES:
        raise CommandError(f"the request is too long; at most {MAX_REQUEST_BYTES} bytes are accepted")
    if not payload:
        return {}
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError as err:
        raise CommandError(f"the request is not JSON: {err.msg} at byte {err.pos}") from err
    if not isinstance(content, dict):
        raise CommandError(f"the request is a JSON {type(content).__name__}; expected an object")
    _refuse_repeated_keys(payload)
    return content


def _refuse_repeated_keys(payload: bytes) -> None:
    """Of equal keys orjson takes the last; another reader of the same request may have seen the first."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        twice = [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
        if twice:
            raise CommandError(
                f"the key {twice[0][:64]!r} comes twice in the request; expected each key once"
            )

    try:
        json.loads(payload, object_pairs_hook=check, parse_int=str)
    except RecursionError as err:
        raise CommandError("the request is nested too deep; the arguments of all verbs are flat") from err


def describe(err: ValidationError) -> str:
    """The first problems, for the caller; pydantic adds the name of a member of a union to a location."""
    problems = []
    for problem in err.errors(include_url=False, include_context=False)[:8]:
        where = f"{str(problem['loc'][0])[:64]}: " if problem["loc"] else ""
        is_unknown = problem["type"] == "extra_forbidden"
        said = "no argument of this verb" if is_unknown else problem["msg"].removeprefix("Value error, ")
        problems.append(where + said)
    return "; ".join(problems)


def check_expiry(verb: str, expires_wall_s: float, now_wall_s: float) -> None:
    """Refuse a request that has expired.

    Raises:
        CommandError: with the time of this device.
    """
    if expires_wall_s < now_wall_s:
        raise CommandError(
            f"{verb}: expired at {format_rfc3339(expires_wall_s)}; this device's clock says "
            f"{format_rfc3339(now_wall_s)}; send it again with a later one"
        )


def read_transaction(payload: bytes) -> str | int | None:
    """The transaction of a request that may be bad in other ways, so that its caller recognises the answer."""
    try:
        found = read_token_id(payload) if is_token(payload) else parse(payload).get("transaction")
    except CommandError:
        return None
    is_usable = (isinstance(found, str) and 0 < len(found) <= 128) or type(found) is int
    return found if is_usable else None
