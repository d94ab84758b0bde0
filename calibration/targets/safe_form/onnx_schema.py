"""The messages and fields of an ONNX file, as its wire format has them. Only a table.

Source: onnx/onnx.proto (1.23); a test compares it with the installed onnx package.
"""

from dataclasses import dataclass
from typing import Literal

Message = Literal[
    "model", "opset", "graph", "node", "attribute", "tensor", "segment", "entry", "sparse", "function", "training",
    "value_info", "type", "tensor_type", "shape", "dimension", "sequence_type", "map_type", "optional_type",
    "opaque_type", "annotation", "node_device", "sharding", "int_int_list", "sharded_dim", "simple_dim", "device",
]  # fmt: skip
Scalar = Literal["int64", "uint64", "int32", "enum", "float", "double", "bytes"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message."""

    kind: Scalar | Message
    is_repeated: bool = False


def _fields(text: str) -> dict[int, Field]:
    """From ``1:node* 2:bytes``; a star marks repeated fields."""
    parts = (part.split(":") for part in text.split())
    return {
        int(number): Field(kind.rstrip("*"), kind.endswith("*"))  # type: ignore[arg-type]
        for number, kind in parts
    }


MESSAGES: dict[Message, dict[int, Field]] = {
    "model": _fields(
        "1:int64 2:bytes 3:bytes 4:bytes 5:int64 6:bytes 7:graph 8:opset* 14:entry* 20:training* 25:function* "
        "26:device*"
    ),
    "opset": _fields("1:bytes 2:int64"),
    "graph": _fields(
        "1:node* 2:bytes 5:tensor* 10:bytes 11:value_info* 12:value_info* 13:value_info* 14:annotation* 15:sparse* "
        "16:entry*"
    ),
    "node": _fields(
        "1:bytes* 2:bytes* 3:bytes 4:bytes 5:attribute* 6:bytes 7:bytes 8:bytes 9:entry* 10:node_device*"
    ),
    "attribute": _fields(
        "1:bytes 2:float 3:int64 4:bytes 5:tensor 6:graph 7:float* 8:int64* 9:bytes* 10:tensor* 11:graph* 13:bytes "
        "14:type 15:type* 20:enum 21:bytes 22:sparse 23:sparse*"
    ),
    "tensor": _fields(
        "1:int64* 2:int32 3:segment 4:float* 5:int32* 6:bytes* 7:int64* 8:bytes 9:bytes 10:double* 11:uint64* 12:bytes "
        "13:entry* 14:enum 16:entry*"
    ),
    "segment": _fields("1:int64 2:int64"),
    "entry": _fields("1:bytes 2:bytes"),
    "sparse": _fields("1:tensor 2:tensor 3:int64*"),
    "function": _fields(
        "1:bytes 4:bytes* 5:bytes* 6:bytes* 7:node* 8:bytes 9:opset* 10:bytes 11:attribute* 12:value_info* 13:bytes "
        "14:entry*"
    ),
    "training": _fields("1:graph 2:graph 3:entry* 4:entry*"),
    "value_info": _fields("1:bytes 2:type 3:bytes 4:entry*"),
    "type": _fields(
        "1:tensor_type 4:sequence_type 5:map_type 6:bytes 7:opaque_type 8:tensor_type 9:optional_type"
    ),
    "tensor_type": _fields("1:int32 2:shape"),
    "shape": _fields("1:dimension*"),
    "dimension": _fields("1:int64 2:bytes 3:bytes"),
    "sequence_type": _fields("1:type"),
    "map_type": _fields("1:int32 2:type"),
    "optional_type": _fields("1:type"),
    "opaque_type": _fields("1:bytes 2:bytes"),
    "annotation": _fields("1:bytes 2:entry*"),
    "node_device": _fields("1:bytes 2:sharding* 3:int32"),
    "sharding": _fields("1:bytes 2:int64* 3:int_int_list* 4:sharded_dim*"),
    "int_int_list": _fields("1:int64 2:int64*"),
    "sharded_dim": _fields("1:int64 2:simple_dim*"),
    "simple_dim": _fields("1:int64 2:bytes 3:int64"),
    "device": _fields("1:bytes 2:int32 3:bytes*"),
}
