"""Renaming keeps a model valid, whatever its names were, and its answers."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edge_runtime.bundles.build.layer_names import name_layers


def conv(source: str, weight: str, output: str) -> NodeProto:
    return helper.make_node("Conv", [source, weight], [output])


def made(*nodes: NodeProto, weights: tuple[str, ...], outputs: tuple[str, ...] = ("y",)) -> onnx.ModelProto:
    kernel = np.random.default_rng(0).normal(0, 1, (3, 3, 1, 1)).astype(np.float32)
    value = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 4, 4]) for name in ("x", *outputs)
    ]
    graph = helper.make_graph(
        nodes, "g", value[:1], value[1:], [numpy_helper.from_array(kernel, one) for one in weights]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def relu(source: str, output: str = "y") -> NodeProto:
    return helper.make_node("Relu", [source], [output])


def branch(output: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph([relu("c0", output)], output, [], [value])


BRANCHES = helper.make_node("If", ["yes"], ["y"], then_branch=branch("t"), else_branch=branch("stem"))
YES = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
CASES = {
    "plain": (made(conv("x", "stem.weight", "c0"), relu("c0"), weights=("stem.weight",)), ["stem"]),
    "private": (made(conv("x", "_stem.weight", "c0"), relu("c0"), weights=("_stem.weight",)), ["stem"]),
    "shared head": (
        made(conv("x", "head.weight", "c0"), conv("c0", "head.weight", "c1"), relu("c1"), weights=("head.weight",)),
        ["head", "head_2"],
    ),
    "read three times": (
        made(
            conv("x", "h.weight", "a"), conv("a", "h.weight", "b"), conv("b", "h.weight", "c"), relu("c"),
            weights=("h.weight",),
        ),
        ["h", "h_2", "h_3"],
    ),
    "the number is taken": (
        made(
            conv("x", "h.weight", "a"), conv("a", "h.weight", "b"), conv("b", "h_2.weight", "c"), relu("c"),
            weights=("h.weight", "h_2.weight"),
        ),
        ["h", "h_2", "h_2_2"],
    ),
    "a parameter without a suffix": (made(conv("x", "k", "c0"), relu("c0"), weights=("k",)), ["k_2"]),
    "a weight that is computed": (made(relu("k", "w"), conv("x", "w", "c0"), relu("c0"), weights=("k",)), ["c0"]),
    "named like the input": (made(conv("x", "x.weight", "c0"), relu("c0"), weights=("x.weight",)), ["x_2"]),
    "named like the output": (made(conv("x", "y.weight", "c0"), relu("c0"), weights=("y.weight",)), ["y_2"]),
    "named like another tensor": (
        made(conv("x", "r.weight", "c0"), relu("c0", "r"), relu("r"), weights=("r.weight",)), ["r_2"],
    ),
    "nothing but a suffix": (made(conv("x", ".weight", "c0"), relu("c0"), weights=(".weight",)), ["conv"]),
    "an output of the model": (made(conv("x", "stem.weight", "y"), weights=("stem.weight",)), ["y"]),
    "named like the next layer was": (
        made(conv("x", "b.weight", "a"), conv("a", "a.weight", "b"), relu("b"), weights=("a.weight", "b.weight")),
        ["b_2", "a_2"],
    ),
    "read and named inside branches": (
        made(conv("x", "stem.weight", "c0"), YES, BRANCHES, weights=("stem.weight",)), ["stem_2"],
    ),
}  # fmt: skip


def answer(model: onnx.ModelProto) -> NDArray[np.float32]:
    x = np.random.default_rng(1).normal(0, 1, (2, 3, 4, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"x": x})[0]
    return found


@pytest.mark.parametrize("name", CASES)
def test_layers_get_names_that_are_free(name: str) -> None:
    model, expected = CASES[name]
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    name_layers(renamed)
    assert [node.output[0] for node in renamed.graph.node if node.op_type == "Conv"] == expected
    onnx.checker.check_model(renamed, full_check=True)
    np.testing.assert_array_equal(answer(renamed), answer(model))
