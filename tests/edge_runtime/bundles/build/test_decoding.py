"""The layers that decode boxes are found by where they are: behind the last ones with weights."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.bundles.build.decoding import Layer, find_decoding, find_onnx_decoding, name_nodes
from edge_runtime.bundles.build.quantize_onnx import quantize_onnx
from edge_runtime.bundles.build.recipe_file import Quantization


def layers(text: str) -> dict[str, Layer]:
    """``name=Kind(input input)``; a star at the kind: it has weights."""
    found = {}
    for part in text.split(", "):
        name, _, rest = part.partition("=")
        kind, _, inputs = rest.rstrip(")").partition("(")
        found[name] = Layer(name, kind.rstrip("*"), tuple(inputs.split()), kind.endswith("*"))
    return found


BACKBONE = "stem=Conv*(x), act=Relu(stem), "
HEADS = {
    "YOLOv8": (
        ("cls=Conv*(act), box=Conv*(act), both=Concat(box cls), b=Split(both), d=Softmax(b), dfl=Conv*(d), "
        "px=Mul(dfl), c=Split(both), s=Sigmoid(c), y=Concat(px s)"),
        {"both", "b", "c", "d", "dfl", "px", "s", "y"},
    ),
    "DFL as a product": (
        "box=Conv*(act), d=Softmax(box), t=Transpose(d), r=Reshape(t), m=MatMul*(r), y=Mul(m)",
        {"d", "t", "r", "m", "y"},
    ),
    "YOLOv5": ("h=Conv*(act), r=Reshape(h), s=Sigmoid(r), xy=Mul(s), y=Concat(xy s)", {"r", "s", "xy", "y"}),
    "SSD": ("b=Conv*(act), e=Exp(b), c=Conv*(act), s=Softmax(c), y=Concat(e s)", {"e", "s", "y"}),
    "linear heads": ("b=Gemm*(act), s=Sigmoid(b), c=MatMul*(act), a=Add(c), y=Concat(s a)", {"s", "a", "y"}),
    "OpenVINO": ("h=GroupConvolution*(act), m=Multiply(h), y=Concat(m)", {"m", "y"}),
    "transposed": ("h=ConvTranspose*(act), y=Sigmoid(h)", {"y"}),
    "nothing behind the layers": ("y=Conv*(act)", set()),
    "an attention's product is no layer": (
        "q=MatMul*(act), p=Softmax(q), v=MatMul*(act), m=MatMul(p v), y=Mul(m)", {"p", "m", "y"},
    ),
    "two outputs": ("b=Conv*(act), y=Exp(b), c=Conv*(act), z=Sigmoid(c)", {"y", "z"}),
    "a loop of names": ("h=Conv*(act), a=Add(h b), b=Mul(a), y=Add(a b)", {"a", "b", "y"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_what_lies_behind_the_last_layers_is_the_decoding(name: str) -> None:
    text, expected = HEADS[name]
    assert set(find_decoding(layers(BACKBONE + text), ["y", "z"])) == expected


def test_a_model_without_layers_is_not_left_float_as_a_whole() -> None:
    assert find_decoding(layers("a=Relu(x), y=Mul(a)"), ["y"]) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["", ""], ["Relu_0", "Relu_1"]),
        (["a", "a"], ["a", "a_1"]),
        (["a", "b"], ["a", "b"]),
        (["Relu_1", ""], ["Relu_1", "Relu_2"]),
        (["", "Relu_0", ""], ["Relu_0", "Relu_0_1", "Relu_2"]),
    ],
)
def test_every_node_gets_a_name_of_its_own(given: list[str], expected: list[str]) -> None:
    nodes = [helper.make_node("Relu", ["x"], [f"y{i}"], name=name) for i, name in enumerate(given)]
    model = helper.make_model(helper.make_graph(nodes, "g", [], []))
    name_nodes(model)
    assert [node.name for node in model.graph.node] == expected


def test_pixels_and_scores_of_one_output_survive_the_quantizer() -> None:
    """The head of all YOLOs: boxes of 0 to 320 pixels next to scores of 0 to 1."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(0, 1, (6, 3, 1, 1)), "k": np.array([4, 2]), "p": np.array(80.0)}
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", c, 4, 4]) for n, c in (("x", 3), ("y", 6))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Split", ["h", "k"], ["b", "c"], axis=1),
        helper.make_node("Mul", ["b", "p"], ["px"]), helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Concat", ["px", "s"], ["y"], axis=1),
    ]  # fmt: skip
    kinds = {"k": np.int64}
    tensors = [numpy_helper.from_array(v.astype(kinds.get(n, np.float32)), n) for n, v in weights.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    name_nodes(model)
    assert len(find_onnx_decoding(model)) == 4
    x = rng.normal(0, 1, (24, 3, 4, 4)).astype(np.float32)
    lost, kept = (
        onnx.load_model_from_string(
            quantize_onnx(model.SerializeToString(), x, Quantization(keeps_decoding=keeps))
        )
        for keeps in (False, True)
    )
    assert {node.op_type for node in kept.graph.node if node.output[0] == "y"} == {"Concat"}
    assert {node.op_type for node in lost.graph.node if node.output[0] == "y"} == {"DequantizeLinear"}
