"""A message of the broker, apart from the library that brings it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """A message that arrived."""

    topic: str
    payload: bytes
    is_retained: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None
    content_type: str | None = None
    properties: tuple[tuple[str, str], ...] = ()
    """User properties in their order."""
