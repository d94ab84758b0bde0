"""One line on a terminal that says how far a command is, written over by the next."""

import shutil
import sys
from types import TracebackType
from typing import Any, Self

_ERASE = "\r\x1b[K"


class ProgressLine:
    """On the error stream, and only where a person looks at it; gone at the end."""

    def __init__(self) -> None:
        self._is_shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._is_shown:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()

    def show(self, data: dict[str, Any]) -> None:
        """Such as ``phase opening, waited_s 3``; lists are too long for a line."""
        if not sys.stderr.isatty():
            return
        self._is_shown = True
        shown = ", ".join(
            f"{key} {value}" for key, value in data.items() if not isinstance(value, dict | list)
        )
        text = "".join(char if char.isprintable() else "?" for char in shown)
        sys.stderr.write(_ERASE + text[: shutil.get_terminal_size().columns - 1])
        sys.stderr.flush()
