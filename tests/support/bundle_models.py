"""Small ONNX models and pictures for the bundle tests; made on the spot, so that each property can be set."""

from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 32


def small_model(
    *,
    batch: int | str = "n",
    training: bool = False,
    dropout: bool = False,
    dtype: int = TensorProto.FLOAT,
    seed: int = 0,
) -> bytes:
    """conv -> batch norm -> relu -> mean -> 5 logits; sensitive to colour order and scaling."""
    rng = np.random.default_rng(seed)
    weights = {
        "w": rng.normal(0, 0.6, (8, 3, 3, 3)), "gamma": np.ones(8), "beta": np.linspace(-0.5, 0.5, 8),
        "mean": np.zeros(8), "var": np.full(8, 1.0), "fc": rng.normal(0, 1, (8, 5)),
    }  # fmt: skip
    initializers = [
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()
    ]
    nodes = [helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2]))
    outputs = ["b", "m2", "v2"] if training else ["b"]
    nodes.append(
        helper.make_node(
            "BatchNormalization", ["c", "gamma", "beta", "mean", "var"], outputs, training_mode=int(training)
        )
    )
    last = "b"
    if dropout:
        # As exporters write it out; ONNX Runtime ignores the Dropout operator itself.
        nodes.append(helper.make_node("RandomUniformLike", ["b"], ["random"], low=0.0, high=2.0))
        nodes.append(helper.make_node("Mul", ["b", "random"], ["d"]))
        last = "d"
    nodes += [
        helper.make_node("Relu", [last], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["logits"]),
    ]
    return serialized(
        nodes, initializers,
        [helper.make_tensor_value_info("image", dtype, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])],
    )  # fmt: skip


def pooling_model(side: int) -> bytes:
    """Five scores from the mean colour of a large picture, fast."""
    weights = np.random.default_rng(0).normal(0, 3, (3, 5)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["logits"]),
    ]
    return serialized(
        nodes, [numpy_helper.from_array(weights, "fc")],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
    )  # fmt: skip


def company_model() -> bytes:
    """Normalises over its batch with plain operators: training mode that no attribute betrays."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0, 2, 3], keepdims=1),
        helper.make_node("Sub", ["image", "mean"], ["centred"]),
        helper.make_node("Relu", ["centred"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    return serialized(
        nodes, [],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
    )  # fmt: skip


def growing_model() -> bytes:
    """Its output is as long as its batch: each input is compared with all others."""
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["flat", "turned"], ["logits"]),
    ]
    return serialized(
        nodes, [],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "m"])],
    )  # fmt: skip


def serialized(nodes: list[Any], initializers: list[Any], inputs: list[Any], outputs: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10
    ).SerializeToString()


def external_model() -> bytes:
    """A model whose weight claims to lie in another file."""
    model = onnx.load_model_from_string(small_model())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return bytes(model.SerializeToString())


def colourful(seed: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """A BGR picture with strong, different colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    coarse[..., 0] //= 3
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def png(picture: NDArray[Any]) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()
