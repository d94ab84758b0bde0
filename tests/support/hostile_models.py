"""ONNX models that never end or take all memory; harmless until an engine opens them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.support.bundle_models import SIDE, serialized

node = helper.make_node


def net(*nodes, **constants):
    """Five outputs of a picture, ``l0``, and then these nodes up to ``logits``."""
    first = [
        node("GlobalAveragePool", ["image"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "fc"], ["l0"]),
    ]
    arrays = {"fc": np.ones((3, 5), np.float32), **constants}
    return serialized(
        [*first, *nodes],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
    )


def endless_body():
    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    return helper.make_graph(
        [node("Identity", ["on"], ["still_on"]), node("Identity", ["x"], ["y"])], "body",
        [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("x", 1, ["n", 5])],
        [value("still_on", TensorProto.BOOL, []), value("y", 1, ["n", 5])],
    )  # fmt: skip


LOOP = net(node("Loop", ["", "on", "l0"], ["logits"], body=endless_body()), on=np.array(True))
LOOP_ON_A_PICTURE = net(
    node("ReduceMax", ["l0"], ["m"], keepdims=0), node("ReduceMin", ["l0"], ["s"], keepdims=0),
    node("Sub", ["m", "s"], ["d"]), node("Add", ["d", "m"], ["e"]), node("Abs", ["e"], ["a"]),
    node("Greater", ["a", "zero"], ["on"]), node("Loop", ["", "on", "l0"], ["logits"], body=endless_body()),
    zero=np.float32(0.0),
)  # fmt: skip
"""Warm-up is with zeros, at which it ends."""
