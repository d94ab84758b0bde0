"""A normalisation of weights is folded; one of pictures is left, and refused by who checks the file."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.build.constant_norm import fold_constant_norms
from edge_runtime.bundles.verify import check_model
from edge_runtime.errors import BundleError

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.normal(1, 2, (4, 3, 3, 3)).astype(np.float32),
    "rows": RNG.normal(1, 2, (1, 4, 27)).astype(np.float32), "flat": np.array([1, 4, -1]),
    "back": np.array([4, 3, 3, 3]),
    "half": RNG.normal(1, 2, (1, 4, 27)).astype(np.float16),
    "level4": RNG.normal(1, 2, (1, 4, 1, 1)).astype(np.float32), "level": np.zeros((1, 1, 1, 1), np.float32),
    **{name: np.full(4, value, np.float32) for name, value in (("s", 1), ("b", 0), ("m", 0), ("v", 1), ("gain", 3))},
}  # fmt: skip


def norm(source: str, target: str, *, scale: str = "s", mode: int = 1) -> onnx.NodeProto:
    outputs = [target, f"{target}_mean", f"{target}_var"] if mode else [target]
    return helper.make_node("BatchNormalization", [source, scale, "b", "m", "v"], outputs, training_mode=mode)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def made(*nodes: onnx.NodeProto, inputs: tuple[str, ...] = ("x",)) -> bytes:
    x = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 8, 8]) for name in inputs[:1]]
    x += [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs[1:]]
    y = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", x, y, [numpy_helper.from_array(a, n) for n, a in WEIGHTS.items()])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


FLAT, BACK, CONV = node("Reshape", "w flat", "f"), node("Reshape", "n back", "k"), node("Conv", "x k", "y")
FOLDED = {
    "timm's StdConv": (FLAT, norm("f", "n"), BACK, CONV),
    "weights as they are": (norm("rows", "n"), BACK, CONV),
    "with a gain": (FLAT, norm("f", "n", scale="gain"), BACK, CONV),
    "with a computed gain": (FLAT, node("Exp", "gain", "e"), norm("f", "n", scale="e"), BACK, CONV),
    "from half floats": (node("Cast", "half", "h", to=1), norm("h", "n"), BACK, CONV),
    "of computed weights": (node("Abs", "rows", "a"), node("Mul", "a rows", "p"), norm("p", "n"), BACK, CONV),
    "of a constant node": (
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(WEIGHTS["rows"])),
        norm("c", "n"), BACK, CONV,
    ),
    "read twice": (norm("rows", "n"), BACK, node("Conv", "x k", "c"), node("Exp", "k", "e"), node("Conv", "x e", "y")),
    "two of them": (norm("rows", "n1"), norm("n1", "n"), BACK, CONV),
    "behind a layer": (node("Relu", "x", "r"), norm("rows", "n"), BACK, node("Conv", "r k", "y")),
    "of no layer": (norm("level4", "n"), node("Conv", "x w", "c"), node("Mul", "c n", "y")),
    "one of a layer, one of none": (
        norm("rows", "n"), BACK, node("Conv", "x k", "c"), norm("level4", "m2"), node("Mul", "c m2", "y"),
    ),
    "scaled afterwards": (norm("rows", "n"), BACK, node("Mul", "k w", "q"), node("Conv", "x q", "y")),
}  # fmt: skip


def answer(model: bytes) -> np.ndarray:
    x = np.random.default_rng(1).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("name", FOLDED)
def test_normalised_weights_become_constants_with_the_same_answers(name: str) -> None:
    model = made(*FOLDED[name])
    folded = fold_constant_norms(model)
    check_model("model", ModelFiles(folded), "onnx")
    np.testing.assert_allclose(answer(folded), answer(model), rtol=1e-4, atol=1e-4)


LEFT = {
    "of pictures": made(node("Concat", "x level", "c", axis=1), norm("c", "n"), node("Relu", "n", "y")),
    "of what a layer makes": made(node("Conv", "x w", "c"), norm("c", "n"), node("Relu", "n", "y")),
    "of weights and what a layer makes": made(
        node("Conv", "x w", "c"), node("Add", "c level", "a"), norm("a", "n"), node("Relu", "n", "y")
    ),
    "of weights that a picture scales": made(
        node("ReduceMax", "x", "top", keepdims=0), node("Mul", "rows top", "p"), norm("p", "n"), BACK, CONV
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_normalisation_of_pictures_is_still_refused(name: str) -> None:
    assert fold_constant_norms(LEFT[name]) == LEFT[name]
    with pytest.raises(BundleError, match="training mode"):
        check_model("model", ModelFiles(LEFT[name]), "onnx")


def test_weights_that_a_caller_may_change_are_left() -> None:
    model = made(norm("rows", "n"), BACK, CONV, inputs=("x", "rows"))
    assert fold_constant_norms(model) == model


def test_a_model_in_evaluation_mode_keeps_its_bytes() -> None:
    model = made(norm("rows", "n", mode=0), BACK, CONV)
    assert fold_constant_norms(model) == model
