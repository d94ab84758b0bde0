"""Pointwise int8 convolutions are measured by integer products; the moments are those of the layers themselves."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.accuracy.methods.sequential import observe as observe_in_turn
from calibration.patch import Affine
from calibration.targets.base import Normalisation
from calibration.targets.open import open_onnx
from calibration.targets.target import Target
from tests.support.onnx_nets import Net, hazy, pictures, quantized

PRODUCT = "MatMulIntegerToFloat"


def mobile(opset: int = 17, **last: object) -> bytes:
    """conv - pointwise - depthwise - pointwise, a residual; pointwise with a sigmoid gate; pointwise; linear head."""
    net = Net(3, opset)
    top, zero = net.weight("six", np.float32(6)), net.weight("none", np.float32(0))
    x = net.add("Clip", [net.conv("input", "stem", 3, 8), zero, top], "r0")
    inner = net.add("Relu", [_pointwise(net, x, "expand", 8, 24)], "r1")
    inner = net.add("Clip", [net.conv(inner, "depthwise", 24, 24, group=24), zero, top], "r2")
    x = net.add("Add", [x, _pointwise(net, inner, "project", 24, 8)], "residual")
    gate = _pointwise(net, x, "gate", 8, 8, bias=False)
    x = net.add("Mul", [gate, net.add("Sigmoid", [gate], "open")], "gated")
    x = net.add("Relu", [_pointwise(net, x, "last", 8, 12, **last)], "r3")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [x], "gap")], "flat")
    net.add("Gemm", [x, net.normal("fw", 12, 5)], "logits")
    return net.model("logits", out=("N", 5))


def _pointwise(
    net: Net, source: str, name: str, c_in: int, c_out: int, bias: bool = True, **more: object
) -> str:
    inputs = [source, net.normal(f"{name}_w", c_out, c_in, 1, 1, scale=c_in**-0.5 * 1.4)]
    if bias:
        inputs.append(net.normal(f"{name}_b", c_out, scale=0.3))
    return net.add("Conv", inputs, name, kernel_shape=[1, 1], **more)


def products(target: Target) -> int:
    """How many integer products the plain observer, which the probe is cut from, holds."""
    probe = onnx.load_model_from_string(target.probe(len(target.taps)).data)
    return sum(node.op_type == PRODUCT for node in probe.graph.node)


def layer_moments(model: bytes, x: np.ndarray, tap: str) -> tuple[np.ndarray, np.ndarray]:
    """Direct formula: the layer's output as the deployed graph computes it, before its rounding to 8 bits."""
    proto = onnx.load_model_from_string(model)
    proto.graph.output.append(helper.make_tensor_value_info(tap, TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options)
    (y,) = session.run([tap], {"input": x})
    wide = y.astype(np.float64)
    return wide.mean((0, 2, 3)), wide.var((0, 2, 3))


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_moments_are_those_of_the_layers(opset: int, tmp_path: Path) -> None:
    model, x = quantized(mobile(opset), tmp_path), pictures(12)
    target = open_onnx(model)
    assert products(target) == 4
    seen = target.observe(x).moments
    for tap in target.taps:
        mean, var = layer_moments(model, x, tap.name)
        np.testing.assert_allclose(seen[tap.name].mean, mean, rtol=1e-4, atol=1e-4, err_msg=tap.name)
        np.testing.assert_allclose(seen[tap.name].var, var, rtol=1e-3, atol=1e-5, err_msg=tap.name)


def test_corrected_moments_are_those_of_patched_models_in_turn(tmp_path: Path) -> None:
    target = open_onnx(quantized(mobile(), tmp_path))
    healthy, live = pictures(24), hazy(pictures(24, seed=5))
    wanted = Normalisation(target.observe(healthy).moments, prior=0.3)
    at_once, in_turn = target.observe(live, wanted).moments, observe_in_turn(target, live, wanted)
    for tap in target.taps:  # between them lie the rounding of biases and of single activations to 8 bits
        spread = np.sqrt(in_turn[tap.name].var).max()
        np.testing.assert_allclose(at_once[tap.name].mean, in_turn[tap.name].mean, atol=0.03 * spread)
        np.testing.assert_allclose(at_once[tap.name].var, in_turn[tap.name].var, rtol=0.1, atol=1e-3)


def test_one_observer_serves_priors_and_input_corrections_in_any_order(tmp_path: Path) -> None:
    model = quantized(mobile(), tmp_path)
    target, live = open_onnx(model), hazy(pictures(16))
    baseline = target.observe(pictures(16)).moments
    of_input = Affine(np.full(3, 1.5, np.float32), np.full(3, -0.2, np.float32))
    settings = [
        Normalisation(baseline, 0.0),
        Normalisation(baseline, 0.6, of_input),
        Normalisation(baseline, 0.0),
    ]
    first, other, again = (target.observe(live, each).moments for each in settings)
    fresh = open_onnx(model).observe(live, settings[1]).moments
    for tap in first:
        np.testing.assert_array_equal(first[tap].mean, again[tap].mean)
        np.testing.assert_array_equal(other[tap].var, fresh[tap].var)


@pytest.mark.parametrize(
    ("last", "why"),
    [({"strides": [2, 2]}, "a stride"), ({"pads": [1, 1, 1, 1]}, "padding")],
    ids=["stride", "padding"],
)
def test_windows_that_move_or_reach_out_keep_the_general_way(
    last: dict[str, list[int]], why: str, tmp_path: Path
) -> None:
    target = open_onnx(quantized(mobile(**last), tmp_path))
    assert products(target) == 3, why
    assert target.observe(pictures(4)).moments


def test_signed_pictures_keep_the_general_way(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(quantized(mobile(), tmp_path))
    for constant in model.graph.initializer:
        if constant.data_type == TensorProto.UINT8:
            value = numpy_helper.to_array(constant).astype(np.int16) - 128
            constant.CopyFrom(numpy_helper.from_array(value.astype(np.int8), constant.name))
    target = open_onnx(model.SerializeToString())
    assert products(target) == 0
    assert target.observe(pictures(4)).moments
