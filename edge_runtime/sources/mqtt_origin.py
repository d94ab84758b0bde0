"""What the sender of a picture says about it in its MQTT v5 properties, within bounds. Pure.

It is kept in memory, on disk and in every result, so its size is limited. What is beyond a limit is left out as a whole
and named: half a correlation would name another picture.
"""

from collections.abc import Callable, Sequence

from edge_runtime.datatypes import Origin
from edge_runtime.system.rfc3339 import parse_rfc3339

MAX_CORRELATION_BYTES = 1024
MAX_CONTENT_TYPE_BYTES = 256
MAX_PROPERTIES = 16
MAX_PROPERTIES_BYTES = 4096
"""Names and values of all user properties together, as UTF-8."""
CAPTURED_AT = "captured_at"
"""The user property with the sender's own time of the picture, RFC 3339 with an offset from UTC."""


def read_origin(
    *,
    correlation: bytes | None = None,
    content_type: str | None = None,
    properties: Sequence[tuple[str, str]] = (),
    response_topic: str | None = None,
    may_answer: Callable[[str], bool] = lambda _: False,
) -> Origin | None:
    """The origin of a picture; None when its message says nothing about it.

    Args:
        correlation: Correlation data.
        content_type: Content type.
        properties: User properties in their order.
        response_topic: Response topic.
        may_answer: Whether this device may publish to a response topic.
    """
    left_out = []
    if correlation is not None and len(correlation) > MAX_CORRELATION_BYTES:
        correlation = None
        left_out.append("correlation")
    if content_type is not None and _size_bytes(content_type) > MAX_CONTENT_TYPE_BYTES:
        content_type = None
        left_out.append("content_type")
    stated_times = [value for name, value in properties if name == CAPTURED_AT]
    captured_at_wall_s = _read_time(stated_times[0]) if stated_times else None
    if stated_times and captured_at_wall_s is None:
        left_out.append(CAPTURED_AT)
    kept = tuple((name, value) for name, value in properties if name != CAPTURED_AT)
    if len(kept) > MAX_PROPERTIES or sum(map(_size_bytes, sum(kept, ()))) > MAX_PROPERTIES_BYTES:
        kept = ()
        left_out.append("properties")
    if response_topic is not None and not may_answer(response_topic):
        response_topic = None
        left_out.append("response_topic")
    origin = Origin(
        captured_at_wall_s=captured_at_wall_s,
        correlation=correlation,
        content_type=content_type,
        properties=kept,
        response_topic=response_topic,
        left_out=tuple(left_out),
    )
    return None if origin == Origin() else origin


def _size_bytes(text: str) -> int:
    return len(text.encode(errors="replace"))


def _read_time(text: str) -> float | None:
    try:
        return parse_rfc3339(text)
    except ValueError:
        return None
