"""Biases take up the mean error of rounded weights, and nothing else changes."""

from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_runtime.bundles.build import quantize_onnx as module
from edge_runtime.bundles.build.quantize_onnx import quantize_onnx

SIDE = 6


def one_layer(
    weights: tuple[int, ...],
    groups: int = 1,
    *,
    opset: int = 17,
    bias: bool = True,
    times: int = 1,
    half: bool = False,
) -> bytes:
    """``times`` convolutions with the same weights and bias, channels in = channels out where it is more than one."""
    rng = np.random.default_rng(len(weights) + groups)
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    constants = {"w": rng.normal(0.1, 1, weights).astype(dtype)}
    if bias:
        constants["b"] = rng.normal(0, 1, weights[0]).astype(dtype)
    names = ["x", *(f"c{i}" for i in range(times - 1)), "y"]
    nodes = [
        helper.make_node("Conv", [source, *constants], [target], name=f"layer{i}", group=groups)
        for i, (source, target) in enumerate(pairwise(names))
    ]
    shape = ["n", weights[1] * groups, *[SIDE] * (len(weights) - 2)]
    values = [helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", kind, None)]
    inits = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def with_an_axis_more(model: bytes) -> bytes:
    """The same layer behind an input (n, SIDE, SIDE) without channels, as nets of signals take it."""
    found = onnx.load_model_from_string(model)
    graph = found.graph
    graph.node.insert(0, helper.make_node("Unsqueeze", ["window", "axis"], ["x"], name="unsqueeze"))
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    graph.input[0].CopyFrom(helper.make_tensor_value_info("window", TensorProto.FLOAT, ["n", SIDE, SIDE]))
    return bytes(found.SerializeToString())


def run(model: bytes, x: NDArray[np.float32]) -> NDArray[np.float64]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    kind = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x.astype(kind)})[0], np.float64)


def pictures(model: bytes, count: int = 12) -> NDArray[np.float32]:
    shape = [
        d.dim_value for d in onnx.load_model_from_string(model).graph.input[0].type.tensor_type.shape.dim
    ][1:]
    return np.random.default_rng(5).uniform(0, 2, (count, *shape)).astype(np.float32)


@pytest.fixture
def uncorrected(monkeypatch: pytest.MonkeyPatch) -> Any:
    def quantize(model: bytes, x: NDArray[np.float32]) -> bytes:
        with monkeypatch.context() as patch:
            patch.setattr(module, "correct_biases", lambda int8, *_: int8)
            return quantize_onnx(model, x)

    return quantize


LAYERS = {
    "3 x 3": one_layer((8, 3, 3, 3)),
    "pointwise": one_layer((8, 16, 1, 1)),
    "depthwise": one_layer((8, 1, 3, 3), 8),
    "depthwise with a multiplier": one_layer((16, 1, 3, 3), 8),
    "grouped": one_layer((8, 4, 3, 3), 2),
    "one channel": one_layer((4, 1, 5, 5)),
    "one dimension": one_layer((8, 4, 3)),
    "three dimensions": one_layer((4, 3, 3, 3, 3)),
    "opset 13": one_layer((8, 3, 3, 3), opset=13),
    "opset 18": one_layer((8, 3, 3, 3), opset=18),
    "weights that two layers share": one_layer((3, 3, 1, 1), times=2),
    "windows with another axis inside": with_an_axis_more(one_layer((8, 1, 3, 3))),
    "half floats": one_layer((8, 3, 3, 3), opset=19, half=True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_of_each_channel_is_that_of_the_float_model(name: str, uncorrected: Any) -> None:
    model = LAYERS[name]
    x = pictures(model)
    axes = tuple(axis for axis in range(run(model, x).ndim) if axis != 1)
    expected = run(model, x).mean(axes)
    before, after = (
        np.abs(run(one, x).mean(axes) - expected).max()
        for one in (uncorrected(model, x), quantize_onnx(model, x))
    )
    step = np.ptp(run(model, x)) / 255
    assert after < max(0.35 * before, 0.15 * step)


def test_a_layer_without_a_bias_stays_as_it_is(uncorrected: Any) -> None:
    model = one_layer((8, 3, 3, 3), bias=False)
    assert quantize_onnx(model, pictures(model)) == uncorrected(model, pictures(model))


@pytest.mark.parametrize("name", ["x__mean", "x__mean__in_own_type", "__mean_axes", "calibration/mean/x"])
def test_names_of_tensors_change_nothing(name: str) -> None:
    model = one_layer((3, 3, 3, 3), times=2)
    other = onnx.load_model_from_string(model)
    other.graph.node[0].output[0] = other.graph.node[1].input[0] = name
    x = pictures(model)
    found, wanted = (run(quantize_onnx(data, x), x) for data in (other.SerializeToString(), model))
    np.testing.assert_array_equal(found, wanted)
