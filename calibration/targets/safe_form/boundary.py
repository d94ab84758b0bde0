"""The one place that turns what a parser raises about foreign bytes into the declared error.

Each parser refuses what it knows to be wrong with its own exception. A file that it did not foresee ends in one of
Python's: that is a fact about the file too, and never a reason for a process to end.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from calibration.errors import ModelError

PARSER_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError, EOFError, LookupError, MemoryError, RecursionError, NotImplementedError, ValueError,
    struct.error, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error,
)  # fmt: skip
"""What code of Python and its library raises about bytes; TypeError and AttributeError would be mistakes of ours."""


@contextmanager
def translate_parser_errors(name: str) -> Iterator[None]:
    """Around everything that reads a foreign file.

    Raises:
        ModelError: a parser raised something else than its declared error; ``name`` is in the message.
    """
    try:
        yield
    except PARSER_ERRORS as err:
        found = f"{type(err).__name__} while it was read"
        raise ModelError(
            name, found, "a whole file that fits", "Export it again, or make it smaller."
        ) from err
