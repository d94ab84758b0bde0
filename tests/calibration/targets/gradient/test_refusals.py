"""What has no derivative is named, and what can be reached without it still is; nothing is silently wrong."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from torch.nn import functional

from benchmarks.accuracy.torch_twin import TorchTwin
from calibration.targets.base import Aim, Gradients, NoDerivative
from calibration.targets.gradient.gradients import OnnxGradients
from calibration.targets.gradient.program import TapTensor
from calibration.targets.onnx.float_program import to_float_program
from calibration.targets.onnx.graph import parse
from calibration.targets.onnx.taps import find_taps
from calibration.targets.open import open_onnx
from tests.support.gradients import Problem, affines_for, errors_against, errors_of, file_of
from tests.support.onnx_nets import Net, classifier, pictures

pytestmark = pytest.mark.integration

X = pictures(2, size=8)
Ending = Callable[[Net, str], str]


def two_layers(ending: Ending, opset: int = 17) -> tuple[bytes, str]:
    """conv1 - relu - conv2 - what is under test - conv3 - the output; its name."""
    net = Net(2, opset)
    x = net.add("Relu", [net.conv("input", "conv1", 3, 4)], "relu1")
    x = ending(net, net.conv(x, "conv2", 4, 3))
    return file_of(net, [net.conv(x, "conv3", 3, 2)], ("N", 3, 8, 8)), "conv3"


def differentiate(ending: Ending, opset: int = 17) -> Gradients:
    model, output = two_layers(ending, opset)
    return open_onnx(model).differentiate([Aim("conv1"), Aim("conv2"), Aim(output)], X)


def branch(net: Net, x: str) -> str:
    """An If whose bodies read ``x`` from outside; its condition is a constant."""
    bodies = [
        helper.make_graph(
            [helper.make_node(op, [x], [f"{op}_out"])], op, [],
            [helper.make_tensor_value_info(f"{op}_out", TensorProto.FLOAT, None)],
        )
        for op in ("Relu", "Neg")
    ]  # fmt: skip
    condition = net.weight("condition", np.array(True))
    return net.add("If", [condition], "chosen", then_branch=bodies[0], else_branch=bodies[1])


def repeat(net: Net, x: str) -> str:
    """A Loop of two rounds."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Relu", ["before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    inputs = [net.weight("rounds", np.array(2)), net.weight("true", np.array(True)), x]
    return net.add("Loop", inputs, "repeated", body=body)


def best_boxes(net: Net, x: str) -> str:
    """What NonMaxSuppression keeps, as a factor: its number decides on a size."""
    boxes = net.add("Reshape", [x, net.weight("boxes_size", np.array([0, -1, 4]))], "boxes")
    scores = net.add("Reshape", [x, net.weight("scores_size", np.array([0, 4, -1]))], "scores")
    net.add("NonMaxSuppression", [boxes, scores, net.weight("most", np.array([3]))], "chosen")
    count = net.add(
        "Gather", [net.add("Shape", ["chosen"], "sizes"), net.weight("first", np.array(0))], "count"
    )
    return net.add("Mul", [x, net.add("Cast", [count], "factor", to=TensorProto.FLOAT)], "multiplied")


def random_factor(net: Net, x: str) -> str:
    return net.add("Mul", [x, net.add("RandomNormal", [], "noise", shape=[1, 3, 1, 1])], "noisy")


def places_of_a_pool(net: Net, x: str) -> str:
    net.add_many("MaxPool", [x], ["pooled", "places"], kernel_shape=[2, 2], strides=[2, 2])
    return net.add("Add", ["pooled", net.add("Cast", ["places"], "as_number", to=TensorProto.FLOAT)], "sum")


def spread_of_a_norm(net: Net, x: str) -> str:
    net.add_many("LayerNormalization", [x, net.normal("gamma", 8)], ["normal", "mean", "spread"])
    return net.add("Mul", ["normal", "spread"], "product")


def simple(op: str, *constants: Any, **attributes: Any) -> Ending:
    def add(net: Net, x: str) -> str:
        return net.add(op, [x, *("" if c is None else net.weight(f"c{i}", c) for i, c in enumerate(constants))],
                       "ended", **attributes)  # fmt: skip

    return add


def integers_as_numbers(net: Net, x: str) -> str:
    """What a quantizer gives is read as integers."""
    scales = [net.weight("scale", np.float32(0.05)), net.weight("zero", np.uint8(100))]
    return net.add(
        "Cast", [net.add("QuantizeLinear", [x, *scales], "integers")], "numbers", to=TensorProto.FLOAT
    )


def one_scale_a_channel(net: Net, x: str) -> str:
    scales = [net.weight("scale", np.full(3, 0.05, np.float32)), net.weight("zero", np.full(3, 9, np.uint8))]
    return net.add(
        "DequantizeLinear", [net.add("QuantizeLinear", [x, *scales], "integers"), *scales], "numbers"
    )


def weights_from_the_picture(net: Net, x: str) -> str:
    means = net.add("ReduceMean", [x], "means", axes=[0, 2, 3], keepdims=1)
    weight = net.add("Expand", [means, net.weight("weight_size", np.array([3, 3, 1, 1]))], "weight")
    return net.add("Conv", [x, weight], "convolved")


def exponent_from_the_picture(net: Net, x: str) -> str:
    return net.add("Pow", [net.weight("base", np.float32(2)), x], "power")


def highest(net: Net, x: str) -> str:
    net.add_many("TopK", [x, net.weight("k", np.array([4]))], ["values", "indices"])
    return "values"


def very_long_axis(net: Net, x: str) -> str:
    """A matrix of 64 x 300000 would be needed."""
    flat = net.add("Reshape", [x, net.weight("row", np.array([0, 3, 1, 64]))], "flat")
    return net.add("Resize", [flat, "", "", net.weight("long", np.array([2, 3, 1, 300_000]))], "resized")


def whole_numbers(net: Net, x: str) -> str:
    cut = net.add("Cast", [x], "cut", to=TensorProto.INT32)
    return net.add("Cast", [cut], "number", to=TensorProto.FLOAT)


ENDINGS: dict[str, tuple[Ending, str]] = {
    "If": (branch, "If"),
    "Loop": (repeat, "Loop"),
    "NonMaxSuppression": (best_boxes, "NonMaxSuppression"),
    "RandomNormal": (random_factor, "RandomNormal"),
    "the places of a MaxPool": (places_of_a_pool, "MaxPool"),
    "a second output": (spread_of_a_norm, "LayerNormalization"),
    "Round": (simple("Round"), "Round"),
    "TopK": (highest, "TopK"),
    "Cast to whole numbers": (whole_numbers, "Cast"),
    "Dropout that drops": (simple("Dropout", np.float32(0.5), np.array(True)), "Dropout"),
    "a region": (
        simple(
            "Resize", np.array([0, 0, 0, 0, 1, 1, 0.8, 0.8], np.float32), None, np.array([2, 3, 4, 4]), mode="linear",
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        "Resize",
    ),
    "a very long axis": (very_long_axis, "Resize"),
    "integers as numbers": (integers_as_numbers, "QuantizeLinear"),
    "one scale a channel": (one_scale_a_channel, "QuantizeLinear"),
    "weights from the picture": (weights_from_the_picture, "Conv"),
    "an exponent from the picture": (exponent_from_the_picture, "Pow"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_is_named_and_aims_before_it_are_reached(name):
    ending, op = ENDINGS[name]
    gradients = differentiate(ending)
    assert gradients.aims == (Aim("conv1"), Aim("conv2"))
    assert gradients.taps == ("input", "conv1", "conv2")
    assert len(gradients.problems) == 1
    assert op in gradients.problems[0]
    answers = gradients.run(X)
    losses, slopes = gradients.step(
        X,
        affines_for(gradients, {"input": 3, "conv1": 4, "conv2": 3}),
        answers,
        {name: np.ones((), np.float32) for name in answers},
    )
    assert set(losses) == {"conv1", "conv2"}
    assert all(np.abs(slope.scale).min() > 0 for slope in slopes.values())


def test_nothing_that_can_be_reached_is_an_error_with_the_operator():
    model, output = two_layers(simple("Round"))
    with pytest.raises(NoDerivative, match="Round"):
        open_onnx(model).differentiate([Aim(output)], X)


def test_what_onnx_runtime_refuses_in_float_has_no_derivative():
    """It pads no convolution with gaps by itself, where its layout of the channels is in blocks."""
    net = Net(2)
    weight = net.normal("w", 8, 8, 3, 3)
    x = net.add("Relu", [net.conv("input", "conv1", 3, 8)], "relu1")
    x = net.add("Conv", [x, weight], "conv2", auto_pad="SAME_LOWER", dilations=[2, 2])
    model = file_of(net, [net.conv(x, "conv3", 8, 2)], ("N", 3, 8, 8))
    with pytest.raises(NoDerivative, match="ONNX Runtime"):
        open_onnx(model).differentiate([Aim("conv3")], X)


def test_an_operator_of_another_domain_is_named():
    net = Net(2)
    x = net.conv("input", "conv1", 3, 4)
    net.nodes.append(helper.make_node("QuickGelu", [x], ["gelu"], domain="com.microsoft", alpha=1.7))
    model = _with_domain(file_of(net, [net.conv("gelu", "conv2", 4, 3)], ("N", 3, 8, 8)), "com.microsoft")
    gradients = open_onnx(model).differentiate([Aim("conv1"), Aim("conv2")], X)
    assert gradients.aims == (Aim("conv1"),)
    assert gradients.problems == ("com.microsoft:QuickGelu",)


def _with_domain(model: bytes, domain: str) -> bytes:
    proto = onnx.load_model_from_string(model)
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    return bytes(proto.SerializeToString())


def test_both_names_of_the_own_domain_are_known():
    proto = onnx.load_model_from_string(classifier())
    for part in (*proto.graph.node, *proto.opset_import):
        part.domain = "ai.onnx"
    assert open_onnx(proto.SerializeToString()).differentiate([Aim("logits")], pictures(2)).problems == ()


def test_an_aim_that_does_not_depend_on_the_picture_is_left_out():
    net = Net(2)
    x = net.conv("input", "conv1", 3, 4)
    net.add("Neg", [net.normal("fixed", 2, 3)], "constant")
    model = file_of(net, [net.conv(x, "conv2", 4, 3), "constant"], ("N", 3, 8, 8))
    gradients = open_onnx(model).differentiate([Aim("constant"), Aim("conv2"), Aim("input")], X)
    assert gradients.aims == (Aim("conv2"),)


def test_an_aim_of_classes_without_an_axis_for_them_is_left_out():
    net = Net(2)
    x = net.conv("input", "conv1", 3, 4)
    summed = net.add("ReduceMean", [x], "one_number", axes=[0, 1, 2, 3], keepdims=0)
    model = file_of(net, [summed, net.conv(x, "conv2", 4, 3)], ("N", 3, 8, 8))
    gradients = open_onnx(model).differentiate([Aim("one_number", "softmax"), Aim("conv2")], X)
    assert gradients.aims == (Aim("conv2"),)
    assert len(gradients.problems) == 1
    assert "one_number" in gradients.problems[0]


def test_equal_values_share_the_gradient():
    """Half of the values of both branches are 0: what torch does as well."""

    def build(net: Net, x: str) -> str:
        return net.add("Max", [net.add("Relu", [x], "a"), net.add("Relu", [x], "b")], "y")

    assert max(errors_of(Problem((3, 4), build, functional.relu)).values()) <= 1e-3


def test_extremes_of_equal_values_share_the_gradient():
    def build(net: Net, x: str) -> str:
        return net.add(
            "ReduceMax", [net.add("Clip", [x, "", net.weight("top", np.float32(0.1))], "cut")], "y", axes=[1]
        )

    assert (
        max(errors_of(Problem((3, 4), build, lambda x: x.clamp(max=0.1).amax(1, keepdim=True))).values())
        <= 1e-3
    )


SINGULAR = {
    "ReduceL2": simple("ReduceL2", axes=[1]),
    "Sqrt": lambda net, x: net.add("Sqrt", [net.add("Mul", [x, x], "square")], "root"),
    "Pow": lambda net, x: net.add(
        "Pow", [net.add("Mul", [x, x], "square"), net.weight("e", np.float32(0.5))], "root"
    ),
    "LpNormalization": simple("LpNormalization", axis=1),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_roots_of_zero_give_finite_gradients(name):
    net = Net(2)
    x = net.add("Relu", [net.conv("input", "conv1", 3, 4)], "relu1")
    nothing = net.add("Mul", [x, net.weight("nothing", np.float32(0))], "zeros")
    y = SINGULAR[name](net, nothing)
    model = file_of(net, [net.add("Add", [y, x], "sum"), net.conv(x, "conv2", 4, 3)], ("N", 3, 8, 8))
    gradients = open_onnx(model).differentiate([Aim("sum")], X)
    target = np.zeros_like(np.nan_to_num(gradients.run(X)["sum"]))
    _, slopes = gradients.step(
        X, affines_for(gradients, {"input": 3, "conv1": 4}), {"sum": target}, {"sum": np.ones((), np.float32)}
    )
    assert all(
        np.isfinite(slope.scale).all() and np.isfinite(slope.offset).all() for slope in slopes.values()
    )


def test_a_tap_that_is_an_output_is_compared_as_it_is_corrected():
    """No ONNX file has one; other formats may."""
    graph = parse("model", classifier())
    program = to_float_program(graph, find_taps(graph)[0])
    program = replace(program, taps=(*program.taps, TapTensor("logits", "logits", 10, 1)))
    gradients = OnnxGradients(program, [Aim("logits")], pictures(2), 1)
    assert gradients.taps[-1] == "logits"
    twin = TorchTwin(classifier(), {tap.name: 1 for tap in program.taps})
    channels = {tap.name: tap.channels for tap in program.taps} | {"input": 3}
    found = errors_against(lambda x, s: twin(x, s, "logits"), gradients, channels, pictures(2))
    assert max(found.values()) <= 1e-3
