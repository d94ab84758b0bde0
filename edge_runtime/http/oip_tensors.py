"""Tensors of the Open Inference Protocol, in JSON and in the binary tensor data extension.

Binary data are little-endian, row-major and without gaps; an element of BYTES is its length, 4 bytes, and the bytes.
Source: kserve/open-inference-protocol, inference_rest; triton-inference-server, extension_binary_data and
extension_classification.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.http.refusals import Refusal
from edge_runtime.http.request_body import decode_base64

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "float": "FP32", "double": "FP64",
    "boolean": "BOOL", "i8": "INT8", "i16": "INT16", "i32": "INT32", "i64": "INT64", "f64": "FP64",
    "u16": "UINT16", "u32": "UINT32", "u64": "UINT64",
}  # fmt: skip
"""By the names that engines give types."""
_LENGTH = struct.Struct("<I")


def read_floats(shape: Sequence[int], data: Any, binary: memoryview | None) -> NDArray[np.float32]:
    """An FP32 tensor of this shape, of which the caller knows that it is small.

    Raises:
        Refusal: the data are of another size or kind.
    """
    count = prod(shape)
    if binary is not None:
        if len(binary) != 4 * count:
            raise Refusal(400, f"{len(binary)} bytes; shape {list(shape)} of FP32 has {4 * count}")
        return np.frombuffer(binary, "<f4").astype(np.float32).reshape(shape)
    if not _holds_numbers(data, len(shape)):
        raise Refusal(400, "data: expected numbers, flat or nested as the shape")
    try:
        found = np.asarray(data)
    except ValueError as err:
        raise Refusal(
            400, "data: lists of different lengths; expected numbers, flat or nested as the shape"
        ) from err
    if found.size != count or (found.ndim > 1 and found.shape != tuple(shape)):
        raise Refusal(400, f"data of shape {list(found.shape)}; expected {list(shape)}, or {count} numbers")
    with np.errstate(over="ignore"):  # beyond float32: infinity, which preprocessing refuses
        return found.astype(np.float32).reshape(shape)


def _holds_numbers(data: Any, most_axes: int) -> bool:
    """Whether these are lists of numbers alone. An array of texts would have the room of the longest for each one."""
    if not isinstance(data, list) or most_axes < 1:
        return False
    kinds = set(map(type, data))
    return kinds <= {int, float} or (
        kinds == {list} and all(_holds_numbers(one, most_axes - 1) for one in data)
    )


def read_bytes(count: int, data: Any, binary: memoryview | None, *, is_base64: bool) -> list[bytes]:
    """The elements of a BYTES tensor; in JSON, which holds text only, as Base64.

    Raises:
        Refusal: there are more or fewer, or they are something else.
    """
    if binary is not None:
        found = list(islice(_split(binary), count + 1))  # not the millions of empty ones that a body can hold
    elif not is_base64:
        raise Refusal(400, 'BYTES in JSON: expected Base64, and "parameters": {"content_type": "base64"}')
    else:
        flat = data[0] if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list) else data
        if not isinstance(flat, list) or not all(isinstance(one, str) for one in flat):
            raise Refusal(400, "data: expected texts in Base64")
        found = [decode_base64(one) for one in flat[: count + 1]]
    if len(found) != count:
        found_text = f"more than {count}" if len(found) > count else str(len(found))
        raise Refusal(400, f"{found_text} elements; the shape has {count}")
    return found


def _split(binary: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(binary):
        if len(binary) - at < _LENGTH.size:
            raise Refusal(400, "BYTES: the binary data end within a length")
        (length,) = _LENGTH.unpack_from(binary, at)
        at += _LENGTH.size
        if len(binary) - at < length:
            raise Refusal(400, f"BYTES: an element of {length} bytes; {len(binary) - at} are left")
        yield bytes(binary[at : at + length])
        at += length


def pack_array(values: NDArray[Any]) -> bytes:
    """Numbers as binary data."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def pack_texts(values: Sequence[str]) -> bytes:
    """Elements of BYTES as binary data."""
    encoded = [value.encode() for value in values]
    return b"".join(part for one in encoded for part in (_LENGTH.pack(len(one)), one))


def classify(scores: NDArray[Any], count: int, labels: Sequence[str]) -> list[str]:
    """The classes with the highest values, the highest first, as ``value:index:label``.

    Args:
        scores: Of one picture; its axes are flattened.
        count: How many.
        labels: By index, where there are any.
    """
    flat = scores.ravel()
    best = np.argsort(-flat.astype(np.float64), kind="stable")[:count]
    has_labels = len(labels) == flat.size
    return [f"{float(flat[i]):f}:{i}" + (f":{labels[i]}" if has_labels else "") for i in best]
