"""The derivatives of whole models: opsets, types, layouts, integers and every kind of loss, compared with torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.accuracy.torch_twin import TorchTwin
from calibration.patch import Affine
from calibration.targets.base import Aim, LossKind
from calibration.targets.open import open_onnx
from tests.support.gradients import file_of, relative_errors
from tests.support.onnx_nets import (
    Net,
    classifier,
    one_and_three_dimensions,
    pictures,
    quantized,
    transposed,
    with_batch_norm,
)

pytestmark = pytest.mark.integration

Floats = NDArray[np.float32]


def errors(
    model: bytes, x: Floats, output: str = "logits", kind: LossKind = "squares", axis: int = 1
) -> float:
    """The largest, against the same file read by torch."""
    axes = {tap.name: 1 for tap in open_onnx(model).taps}
    twin = TorchTwin(model, axes, axis)
    return max(relative_errors(model, lambda x, s: twin(x, s, output), x, output, kind).values())


def behind(model: bytes, op: str, output: str, **attributes: Any) -> bytes:
    """The model with one more operator at its end."""
    net = onnx.load_model_from_string(model)
    [last] = net.graph.output
    net.graph.node.append(helper.make_node(op, [last.name], [output], **attributes))
    last.name = output
    return bytes(net.SerializeToString())


def mobile() -> bytes:
    """Layers in a residual, depthwise, with a sigmoid gate, and with limits; linear head."""
    net = Net(3)
    top, zero = net.weight("six", np.float32(6)), net.weight("none", np.float32(0))
    stem = net.add("Clip", [net.conv("input", "stem", 3, 8), zero, top], "r0")
    x = net.add("Clip", [net.conv(stem, "depthwise", 8, 8, group=8), zero, top], "r1")
    x = net.add("Add", [stem, net.conv(x, "project", 8, 8)], "residual")
    gate = net.conv(x, "gate", 8, 8, bias=False)
    x = net.add("Mul", [gate, net.add("Sigmoid", [gate], "open")], "gated")
    x = net.add("Flatten", [net.add("GlobalAveragePool", [net.conv(x, "last", 8, 12)], "gap")], "flat")
    net.add("Gemm", [x, net.normal("fw", 12, 5)], "logits")
    return net.model("logits", out=("N", 5))


def a_small_net(net: Net, x: str) -> str:
    """Two layers and a head behind a picture (N, 3, ...)."""
    x = net.add("Relu", [net.conv(x, "conv1", 3, 4, strides=[2, 2])], "relu1")
    x = net.add("Relu", [net.conv(x, "conv2", 4, 5)], "relu2")
    flat = net.add("Flatten", [net.add("GlobalAveragePool", [x], "pooled")], "flat")
    return net.add("Gemm", [flat, net.normal("fc_w", 5, 4), net.normal("fc_b", 4)], "logits")


MODELS: dict[str, tuple[Callable[[], bytes], Floats]] = {
    **{f"opset {n}": (lambda n=n: classifier(opset=n), pictures(2)) for n in (13, 14, 15, 16, 17, 18, 19, 20, 21, 22)},
    "without biases": (lambda: classifier(bias=False), pictures(2)),
    "fixed batch": (lambda: classifier(batch=2), pictures(2)),
    "one frame": (classifier, pictures(1)),
    "live BatchNormalization": (with_batch_norm, pictures(3)),
    "transposed": (transposed, pictures(2, size=8)),
    "1d": (lambda: one_and_three_dimensions(1), pictures(2, channels=2, size=8)[:, :, 0]),
    "residual, gates and limits": (mobile, pictures(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    make, x = MODELS[name]
    assert errors(make(), x) <= 1e-3


@pytest.mark.parametrize(
    ("kind", "op", "attributes"),
    [
        ("softmax", None, {}),
        ("sigmoid", None, {}),
        ("likelihood", "Softmax", {"axis": 1}),
        ("squares", "Tanh", {}),
    ],
)
def test_losses(kind, op, attributes):
    """With weights that differ along the classes, and targets that do not sum to 1."""
    model, output = classifier(), "logits"
    if op is not None:
        model, output = behind(model, op, "y", **attributes), "y"
    assert errors(model, pictures(2), output, kind) <= 1e-3


@pytest.mark.parametrize("per_channel", [True, False])
def test_int8(tmp_path, per_channel):
    model = quantized(mobile(), tmp_path, pictures(32, seed=99), per_channel)
    assert errors(model, 2 * pictures(2)) <= 1e-3


def test_int8_of_a_fixed_batch(tmp_path):
    model = onnx.load_model_from_string(quantized(classifier(), tmp_path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    assert errors(model.SerializeToString(), pictures(2)) <= 1e-3


def test_channels_last():
    net = Net(2)
    logits = a_small_net(net, net.add("Transpose", ["input"], "turned", perm=[0, 3, 1, 2]))
    assert errors(file_of(net, [logits], ("N", 8, 8, 3)), pictures(2, size=8), axis=3) <= 1e-3


def test_bytes_as_the_picture():
    net = Net(2)
    real = net.add("Cast", ["input"], "real", to=TensorProto.FLOAT)
    turned = net.add("Transpose", [real], "turned", perm=[0, 3, 1, 2])
    off = net.add("Sub", [turned, net.weight("127", np.float32(127))], "off")
    logits = a_small_net(net, net.add("Div", [off, net.weight("128", np.float32(128))], "unit"))
    model = file_of(net, [logits], ("N", 8, 8, 3), TensorProto.UINT8)
    assert errors(model, np.rint(pictures(2, size=8) * 128 + 127), axis=3) <= 1e-3


def dequantized_bytes() -> bytes:
    """A picture of bytes that are the integers of a quantizer: nothing in front of the DequantizeLinear made them."""
    net = Net(2)
    parameters = [net.weight("scale", np.float32(1 / 128)), net.weight("zero", np.uint8(127))]
    logits = a_small_net(net, net.add("DequantizeLinear", ["input", *parameters], "unit"))
    return file_of(net, [logits], ("N", 3, 8, 8), TensorProto.UINT8)


def test_bytes_that_are_dequantized():
    plain = Net(2)
    limits = [plain.weight("0", np.float32(0)), plain.weight("255", np.float32(255))]
    within = plain.add("Clip", ["input", *limits], "within")
    off = plain.add("Sub", [within, plain.weight("127", np.float32(127))], "off")
    logits = a_small_net(plain, plain.add("Mul", [off, plain.weight("128", np.float32(1 / 128))], "unit"))
    twin = TorchTwin(file_of(plain, [logits], ("N", 3, 8, 8)), {"conv1": 1, "conv2": 1})
    x = np.rint(pictures(2, size=8) * 128 + 127)
    found = relative_errors(dequantized_bytes(), lambda x, s: twin(x, s, "logits"), x, "logits")
    assert max(found.values()) <= 1e-3


def between_quantizers(second_scale: float, *between: tuple[str, dict[str, Any]]) -> bytes:
    """Integers that are moved by some operators, and made numbers again by a scale of their own."""
    net = Net(2)
    first = [net.weight("scale", np.float32(0.05)), net.weight("zero", np.uint8(40))]
    second = [net.weight("scale2", np.float32(second_scale)), net.weight("zero2", np.uint8(40))]
    x = net.add("QuantizeLinear", [net.conv("input", "conv0", 3, 3), *first], "integers")
    for i, (op, attributes) in enumerate(between):
        x = net.add(op, [x], f"moved{i}", **attributes)
    logits = a_small_net(net, net.add("DequantizeLinear", [x, *second], "numbers"))
    return file_of(net, [logits], ("N", 3, 8, 8))


@pytest.mark.parametrize(
    "between",
    [[], [("Transpose", {"perm": [0, 1, 3, 2]}), ("MaxPool", {"kernel_shape": [2, 2], "strides": [1, 1]})]],
)
def test_integers_that_are_read_back(between):
    assert errors(between_quantizers(0.05, *between), pictures(2, size=8)) <= 1e-3


def test_integers_that_are_read_back_by_another_scale():
    """The same as a product and a sum behind the first scale."""
    model = onnx.load_model_from_string(between_quantizers(0.05))
    [node] = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    node.output[0] = "by_the_first"
    factor = numpy_helper.from_array(np.float32(0.08 / 0.05), "factor")
    model.graph.initializer.append(factor)
    place = list(model.graph.node).index(node) + 1
    model.graph.node.insert(place, helper.make_node("Mul", ["by_the_first", "factor"], ["numbers"]))
    axes = {"conv0": 1, "conv1": 1, "conv2": 1}
    twin = TorchTwin(model.SerializeToString(), axes)
    found = relative_errors(
        between_quantizers(0.08), lambda x, s: twin(x, s, "logits"), pictures(2, size=8), "logits"
    )
    assert max(found.values()) <= 1e-3


def in_float16() -> bytes:
    """A picture in float16; the layers with taps in float32, one more layer in float16, and one made of ones."""
    net = Net(2)
    x = net.add("Cast", ["input"], "wide", to=TensorProto.FLOAT)
    x = net.add("Relu", [net.conv(x, "conv1", 3, 4)], "relu1")
    x = net.add("Cast", [x], "narrow", to=TensorProto.FLOAT16)
    weight = net.weight("half_w", net.rng.normal(0, 0.4, (4, 4, 1, 1)).astype(np.float16))
    x = net.add("Conv", [x, weight], "half")
    ones = net.add(
        "ConstantOfShape", [net.weight("shape", np.array([1, 4, 1, 1]))], "ones",
        value=numpy_helper.from_array(np.ones(1, np.float16)),
    )  # fmt: skip
    x = net.add("Cast", [net.add("Add", [x, ones], "more")], "wide_again", to=TensorProto.FLOAT)
    x = net.add("Relu", [net.conv(x, "conv2", 4, 5)], "relu2")
    flat = net.add("Flatten", [net.add("GlobalAveragePool", [x], "pooled")], "flat")
    logits = net.add("Gemm", [flat, net.normal("fc_w", 5, 4), net.normal("fc_b", 4)], "logits")
    return file_of(net, [logits], ("N", 3, 8, 8), TensorProto.FLOAT16)


def test_float16():
    """Its twin has the same layers in float32."""
    model = onnx.load_model_from_string(in_float16())
    [ones] = [node for node in model.graph.node if node.op_type == "ConstantOfShape"]
    model.graph.node.remove(ones)
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 4, 1, 1), np.float32), "ones"))
    twin = TorchTwin(model.SerializeToString(), {"conv1": 1, "conv2": 1})
    found = relative_errors(in_float16(), lambda x, s: twin(x, s, "logits"), pictures(2, size=8), "logits")
    assert max(found.values()) <= 1e-3


def test_constants_of_every_form():
    net = Net(2)
    net.nodes.append(helper.make_node("Constant", [], ["one"], value_float=1.5))
    net.nodes.append(helper.make_node("Constant", [], ["three"], value_floats=[1.0, 2.0, 3.0]))
    net.nodes.append(helper.make_node("Constant", [], ["shape"], value_ints=[1, 3, 1, 1]))
    by_channel = net.add("Reshape", ["three", "shape"], "by_channel")
    x = net.add("Mul", [net.add("Add", ["input", "one"], "more"), by_channel], "scaled")
    assert errors(file_of(net, [a_small_net(net, x)], ("N", 3, 8, 8)), pictures(2, size=8)) <= 1e-3


def test_float_weights_that_the_file_quantizes():
    """As quantization-aware training exports them."""
    net = Net(2)
    scale = net.weight("scale", np.full(4, 0.02, np.float32))
    real, zero = net.normal("real", 4, 3, 3, 3, scale=0.5), net.weight("zero", np.zeros(4, np.int8))
    net.add("QuantizeLinear", [real, scale, zero], "integers", axis=0)
    weight = net.add("DequantizeLinear", ["integers", scale, "zero"], "weight", axis=0)
    x = net.add(
        "Mul", [net.add("Conv", ["input", weight], "conv0"), net.weight("half", np.float32(0.5))], "halved"
    )
    x = net.add("Slice", [x, *(net.weight(f"s{i}", np.array([n])) for i, n in enumerate((0, 3, 1)))], "three")
    model = file_of(net, [a_small_net(net, x)], ("N", 3, 8, 8))
    rounded = onnx.load_model_from_string(model)
    value = next(numpy_helper.to_array(t) for t in rounded.graph.initializer if t.name == real)
    integers = np.clip(np.rint(value / np.float32(0.02)), -128, 127)
    del rounded.graph.node[:2]
    rounded.graph.initializer.append(numpy_helper.from_array((integers * 0.02).astype(np.float32), "weight"))
    axes = {tap.name: 1 for tap in open_onnx(model).taps}
    twin = TorchTwin(rounded.SerializeToString(), axes)
    found = relative_errors(model, lambda x, s: twin(x, s, "logits"), pictures(2, size=8), "logits")
    assert max(found.values()) <= 1e-3


def test_runs_and_steps_in_any_order_say_the_same() -> None:
    """Each opens a session of its own in the place of the other's."""
    x = pictures(2)
    gradients = open_onnx(classifier(seed=4)).differentiate([Aim("conv2"), Aim("logits", "softmax")], x)
    affines = {
        tap: Affine(np.full(n, 1.1, np.float32), np.full(n, 0.1, np.float32))
        for tap, n in {
            "input": 3,
            **{tap.name: tap.channels for tap in open_onnx(classifier(seed=4)).taps},
        }.items()
    }
    targets = gradients.run(x)
    weights = {name: np.ones(1, np.float32) for name in targets}
    losses, slopes = gradients.step(x, affines, targets, weights)
    again = gradients.run(x)
    assert all(np.array_equal(targets[name], again[name]) for name in targets)
    more, same = gradients.step(x, affines, again, weights)
    assert more == losses
    assert all(np.array_equal(slopes[tap].scale, same[tap].scale) for tap in slopes)
