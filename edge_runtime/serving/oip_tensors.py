"""Tensors of the Open Inference Protocol in binary, as its extension of HTTP and its raw contents of gRPC have them.

Binary data are little-endian, row-major and without gaps; an element of BYTES is its length, 4 bytes, and the bytes.
Source: kserve/open-inference-protocol, inference_rest and inference_grpc; triton-inference-server,
extension_binary_data and extension_classification.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.serving.refusals import Refusal

DATATYPES = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64", "float": "FP32", "double": "FP64",
    "boolean": "BOOL", "i8": "INT8", "i16": "INT16", "i32": "INT32", "i64": "INT64", "f64": "FP64",
    "u16": "UINT16", "u32": "UINT32", "u64": "UINT64",
}  # fmt: skip
"""By the names that engines give types."""
_LENGTH = struct.Struct("<I")


class TensorData(Protocol):
    """The numbers or pictures of one input, in the form that they came in."""

    def read_floats(self, shape: Sequence[int], /) -> NDArray[np.float32]:
        """An FP32 tensor of this shape, of which the caller knows that it is small.

        Raises:
            Refusal: the data are of another size or kind.
        """

    def read_elements(self, count: int, /) -> list[bytes]:
        """The elements of a BYTES tensor.

        Raises:
            Refusal: there are more or fewer, or they are something else.
        """


@dataclass(frozen=True, slots=True)
class BinaryData:
    """Implements ``TensorData``: binary data as the module says."""

    binary: memoryview

    def read_floats(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """See ``TensorData``."""
        count = prod(shape)
        if len(self.binary) != 4 * count:
            raise Refusal(400, f"{len(self.binary)} bytes; shape {list(shape)} of FP32 has {4 * count}")
        return np.frombuffer(self.binary, "<f4").astype(np.float32).reshape(shape)

    def read_elements(self, count: int) -> list[bytes]:
        """See ``TensorData``."""
        # not the millions of empty ones that a body can hold
        return require_count(list(islice(_split(self.binary), count + 1)), count)


def require_count(found: list[bytes], count: int) -> list[bytes]:
    """The elements, of which one more than expected was read where there are more.

    Raises:
        Refusal: there are more or fewer than ``count``.
    """
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
