"""Pydantic's readers of types that are no models, made when they are used: a start uses few, each costs milliseconds.

``defer_build`` of pydantic does this for models, and cannot for dataclasses.
"""

from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


class LazyAdapter(Generic[T]):
    """The adapter of one type; made once, at the first use."""

    def __init__(self, form: Any) -> None:
        """``form`` is the type ``T``; a union or an annotated type is no ``type[T]`` to a type checker."""
        self._form = form

    @cached_property
    def adapter(self) -> TypeAdapter[T]:
        """The adapter itself."""
        return TypeAdapter(self._form)
