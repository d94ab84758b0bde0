"""CBOR -> samples. The adapter of cbor2.

Of all tags, those of time and of typed arrays (RFC 8746) are read. Others are refused: some of them make huge numbers,
loops or regular expressions out of few bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import cbor2
import numpy as np

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.structures import MAX_DEPTH, read_structure
from edge_runtime.inference.specs import PayloadSpec

_ARRAYS = {
    64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
    72: "i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
    80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
}  # fmt: skip
_AS_IT_IS = (0, 1, 55799)
"""Date and time as text, seconds since 1970, and "this is CBOR"."""
_BUILT_IN = (2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000)
"""Further ones that cbor2 knows."""


def read_cbor(data: bytes, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    """The samples of one CBOR item; byte strings without a tag are raw numbers of ``payload.type``.

    Raises:
        InputFlaw: damaged, with other tags, a field twice, or not of a form of ``structures``.
    """
    try:
        value = cbor2.loads(
            data, max_depth=MAX_DEPTH, allow_duplicate_keys=False, strict_hashable_types=True,
            semantic_decoders=_DECODERS, tag_hook=_read_tag,
        )  # fmt: skip
    except cbor2.CBORDecodeError as err:
        if isinstance(err.__cause__, InputFlaw):
            raise err.__cause__ from err
        if isinstance(err.__cause__, UnicodeDecodeError):
            raise InputFlaw(RejectReason.BAD_ENCODING, "CBOR with text that is not UTF-8") from err
        reason = RejectReason.TRUNCATED if isinstance(err, cbor2.CBORDecodeEOF) else RejectReason.UNREADABLE
        raise InputFlaw(reason, "no CBOR: cut off, damaged, nested too deeply or with a field twice") from err
    return read_structure(value, payload, channels)


def _read_tag(tag: cbor2.CBORTag, _: bool) -> Any:
    dtype = _ARRAYS.get(tag.tag)
    if dtype is None or not isinstance(tag.value, bytes):
        _refuse(tag.tag, False)
    size = np.dtype(dtype).itemsize
    if len(tag.value) % size:
        found = f"{len(tag.value)} bytes in an array of {dtype[1:]}"
        raise InputFlaw(RejectReason.BAD_SHAPE, f"{found}; expected a multiple of {size}")
    return np.frombuffer(tag.value, dtype)


def _refuse(_: Any, __: bool) -> NoReturn:
    found = "CBOR with a tag that is not read"
    raise InputFlaw(RejectReason.UNSUPPORTED, f"{found}; expected plain values, times and typed arrays")


def _keep(value: Any, _: bool) -> Any:
    return value


_DECODERS: dict[int, Callable[[Any, bool], Any]] = {
    **dict.fromkeys(_BUILT_IN, _refuse),
    **dict.fromkeys(_AS_IT_IS, _keep),
}
