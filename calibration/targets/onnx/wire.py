"""Fields of protobuf messages, read without a library: importing onnx costs a third of a daemon's start."""

from collections.abc import Iterator

Value = int | memoryview
"""A varint, or the payload of a message, a text or packed numbers."""


class Damaged(ValueError):
    """The bytes are not a message."""


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """(field number, value) of one message; numbers of fixed width are skipped.

    Raises:
        Damaged: it ends in the middle, or has fields of an unknown kind.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            length, at = _varint(data, at)
            if length > len(data) - at:
                raise Damaged("it ends in the middle of a field")
            yield number, data[at : at + length]
            at += length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise Damaged(f"wire type {wire}")


def varints(data: memoryview) -> Iterator[int]:
    """Packed numbers.

    Raises:
        Damaged: the last one has no end.
    """
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift <= 63:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Damaged("it ends in the middle of a number")
