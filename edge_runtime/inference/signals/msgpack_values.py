"""MessagePack -> samples. The adapter of msgpack, its reference implementation."""

from collections.abc import Sequence
from typing import Any, NoReturn

import msgpack

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.structures import read_structure
from edge_runtime.inference.signals.unique import unique_fields
from edge_runtime.inference.specs import PayloadSpec


def read_msgpack(data: bytes, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    """The samples of one MessagePack value; binary values are raw numbers of ``payload.type``.

    Raises:
        InputFlaw: damaged, more than one value, of other types than plain ones, or not of a form of ``structures``.
    """
    try:
        value: Any = msgpack.unpackb(data, object_pairs_hook=unique_fields, ext_hook=_refuse, timestamp=1)
    except UnicodeDecodeError as err:
        raise InputFlaw(RejectReason.BAD_ENCODING, "MessagePack with text that is not UTF-8") from err
    except (ValueError, OverflowError, MemoryError, msgpack.UnpackException) as err:
        raise InputFlaw(RejectReason.UNREADABLE, f"no MessagePack: {type(err).__name__}") from err
    return read_structure(value, payload, channels)


def _refuse(code: int, _: bytes) -> NoReturn:
    raise InputFlaw(RejectReason.UNSUPPORTED, f"MessagePack with extension type {code}; expected plain types")
