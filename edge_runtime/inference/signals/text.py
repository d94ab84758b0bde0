"""Bytes -> text, in the declared encoding and no other.

Numbers are ASCII in every encoding here, so a wrong one seldom fails by itself: what shows it is looked for.
"""

import codecs
from collections.abc import Sequence
from contextlib import suppress
from itertools import product

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.specs.signals import Encoding

_MARKS: tuple[tuple[bytes, Encoding], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHERS: tuple[Encoding, ...] = ("utf-8", "gbk", "latin-1")


def decode_text(data: bytes, encoding: Encoding) -> str:
    """The text, without its byte order mark.

    Raises:
        InputFlaw: BAD_ENCODING: it is not in this encoding, as far as that can be seen.
    """
    mark, marked = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", None))
    actual = marked if encoding == "utf-16" else encoding
    if actual is None:
        found = "no byte order mark; without one declare utf-16-le or utf-16-be"
        raise InputFlaw(RejectReason.BAD_ENCODING, f"{found} (payload.encoding)")
    if marked is not None and (marked != actual or (encoding == "utf-16" and marked == "utf-8")):
        raise _refuse(f"a byte order mark of {marked}", encoding)
    _check_zeros(data, actual)
    try:
        return data[len(mark) :].decode(actual)
    except UnicodeDecodeError as err:
        raise _refuse(f"bytes that are not {encoding}, the first one at {err.start}", encoding) from err


def find_encoding(data: bytes, names: Sequence[str], declared: Encoding) -> Encoding | None:
    """The encoding in which one of these names is in the bytes; None where it is in none, or a name of ASCII only."""
    for name, other in product((name for name in names if not name.isascii()), _OTHERS):
        with suppress(UnicodeEncodeError):
            if other != declared and name.encode(other) in data:
                return other
    return None


def _check_zeros(data: bytes, encoding: Encoding) -> None:
    """A digit has a zero byte in utf-16, on the side of its order, and none elsewhere."""
    is_wide = encoding in ("utf-16-le", "utf-16-be")
    if not is_wide and b"\0" in data:
        raise _refuse("zero bytes, as in utf-16", encoding)
    if is_wide:
        at_even, at_odd = data[::2].count(0), data[1::2].count(0)
        if not (at_even or at_odd):
            raise _refuse("no zero byte, as every digit of utf-16 has one", encoding)
        if (at_even > at_odd) != (encoding == "utf-16-be"):
            raise _refuse("utf-16 in the other byte order", encoding)


def _refuse(found: str, encoding: Encoding) -> InputFlaw:
    return InputFlaw(RejectReason.BAD_ENCODING, f"{found}; expected {encoding} (payload.encoding)")
