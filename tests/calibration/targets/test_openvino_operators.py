"""Every operator of an OpenVINO IR that has a derivative answers as OpenVINO does; what has none is named."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset1, opset14
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

from calibration.errors import ModelError
from calibration.patch import Affine
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Aim, Gradients, NoDerivative
from calibration.targets.openvino.graph import serialize
from tests.support.onnx_nets import Floats
from tests.support.openvino_nets import Files, conv, opened, run_in_openvino

pytestmark = pytest.mark.integration


def constant(values: Any, kind: Any = np.float32) -> Any:
    return ops.constant(np.asarray(values, kind))


def ints(*values: int) -> Any:
    return constant(values, np.int64)


def ranges(*ends: Any) -> list[Any]:
    return [constant(end) for end in ends]


def per_channel(*values: float) -> NDArray[np.float32]:
    return np.asarray(values, np.float32).reshape(1, -1, 1, 1)


RNG = np.random.default_rng(3)
W = RNG.normal(0, 0.4, (6, 4, 3, 3)).astype(np.float32)
GROUPED = RNG.normal(0, 0.4, (2, 3, 2, 3, 3)).astype(np.float32)
BACK = RNG.normal(0, 0.4, (4, 5, 3, 3)).astype(np.float32)
BACK_GROUPED = RNG.normal(0, 0.4, (2, 2, 3, 3, 3)).astype(np.float32)
SQUARE = RNG.normal(0, 0.4, (8, 6)).astype(np.float32)
SLOPES = np.asarray([0.1, 0.2, -0.3, 0.4], np.float32)
ONES, TWO = [1, 1], [2, 2]


def backward(x: Any, weights: Any, strides: list[int], size: Any = None, **more: Any) -> Any:
    given: dict[str, Any] = {"pads_begin": [0, 0], "pads_end": [0, 0], "dilations": ONES} | more
    return ops.convolution_backprop_data(x, constant(weights), strides, size, **given)


def resized(x: Any, mode: str, sizes: tuple[int, ...], **more: Any) -> Any:
    return ops.interpolate(x, ints(*sizes), mode, "sizes", axes=ints(2, 3), **more)


def reduced(make: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda x: make(x, ints(-1, 1), keep_dims=False)


def by_shape_of(x: Any) -> Any:
    first = ops.gather(ops.shape_of(x), ints(0, 1), constant(0, np.int64))
    return ops.reshape(x, ops.concat([first, ints(-1)], 0), False)


def scattered(x: Any) -> Any:
    part = ops.relu(ops.gather(x, ints(1), constant(1, np.int64)))
    return ops.scatter_update(x, ints(0), part, constant(1, np.int64))


def version_4(*inputs: Any) -> Any:
    given = {
        "mode": "linear_onnx",
        "shape_calculation_mode": "scales",
        "coordinate_transformation_mode": "asymmetric",
    }
    return NodeFactory("opset4").create("Interpolate", list(inputs), given)


OPERATORS: Mapping[str, Callable[[Any], Any]] = {
    "Convolution, strided": lambda x: ops.convolution(x, constant(W), TWO, [1, 1], [1, 0], ONES),
    "Convolution, same_upper": lambda x: ops.convolution(x, constant(W), TWO, [0, 0], [0, 0], ONES, "same_upper"),
    "Convolution, same_lower": lambda x: ops.convolution(x, constant(W), [3, 2], [0, 0], [0, 0], ONES, "same_lower"),
    "Convolution, dilated": lambda x: ops.convolution(x, constant(W), ONES, [2, 0], [2, 0], TWO),
    "Convolution, odd end": lambda x: ops.convolution(x, constant(W), [3, 3], [0, 0], [0, 0], ONES, "valid"),
    "GroupConvolution": lambda x: ops.group_convolution(x, constant(GROUPED), TWO, [1, 1], [1, 1], ONES),
    "ConvolutionBackpropData": lambda x: backward(x, BACK, TWO, pads_begin=[1, 0], pads_end=[0, 1]),
    "ConvolutionBackpropData, padded": lambda x: backward(x, BACK, TWO, output_padding=[1, 1]),
    "ConvolutionBackpropData, valid": lambda x: backward(x, BACK, TWO, auto_pad="valid"),
    "ConvolutionBackpropData, sized": lambda x: backward(x, BACK, TWO, ints(16, 15), auto_pad="same_upper"),
    "ConvolutionBackpropData, sized, explicit": lambda x: backward(x, BACK, TWO, ints(16, 15), pads_begin=[1, 0]),
    "ConvolutionBackpropData, sized up": lambda x: backward(x, BACK, TWO, ints(18, 17), auto_pad="same_upper"),
    "ConvolutionBackpropData, sized lower": lambda x: backward(x, BACK, TWO, ints(16, 15), auto_pad="same_lower"),
    "GroupConvolutionBackpropData": lambda x: ops.group_convolution_backprop_data(
        x, constant(BACK_GROUPED), TWO, pads_begin=[1, 1], pads_end=[1, 1], dilations=ONES, output_padding=[1, 0]
    ),
    "MatMul": lambda x: ops.matmul(x, constant(SQUARE), False, False),
    "MatMul, turned": lambda x: ops.matmul(x, constant(SQUARE.T), True, True),
    "MatMul of two": lambda x: ops.matmul(x, ops.relu(x), False, True),
    "MatMul of two, turned": lambda x: ops.matmul(x, ops.relu(x), True, False),
    "Add": lambda x: ops.add(x, ops.relu(x)),
    "Subtract": lambda x: ops.subtract(constant(SLOPES.reshape(4, 1, 1)), x),
    "Multiply": lambda x: ops.multiply(ops.sigmoid(x), x),
    "Divide": lambda x: ops.divide(x, ops.exp(x)),
    "Divide by a constant": lambda x: ops.divide(ops.relu(x), constant(per_channel(1, 2, -3, 4))),
    "Divide a constant": lambda x: ops.divide(constant(2.0), ops.exp(x)),
    "Power": lambda x: ops.power(ops.exp(x), constant(0.5)),
    "Maximum": lambda x: ops.maximum(x, constant(SLOPES.reshape(4, 1, 1))),
    "Minimum": lambda x: ops.minimum(x, ops.negative(x)),
    "SquaredDifference": lambda x: ops.squared_difference(x, constant(1.0)),
    "FakeQuantize": lambda x: ops.fake_quantize(x, *ranges(-0.5, 0.7, -0.5, 0.7), 16_000_000),
    "FakeQuantize, per channel": lambda x: ops.fake_quantize(
        x, *ranges(per_channel(-1, -0.5, 0, 0.1), per_channel(0, 0.5, 1, 0.9)) * 2, 16_000_000
    ),
    "FakeQuantize to another range": lambda x: ops.fake_quantize(x, *ranges(-0.5, 0.5, 0, 255), 16_000_000),
    "FakeQuantize to other ranges": lambda x: ops.fake_quantize(
        x, *ranges(-0.5, 0.5, per_channel(0, 1, 2, 3), per_channel(3, 2, 4, 9)), 16_000_000
    ),
    "BatchNormInference": lambda x: ops.batch_norm_inference(
        ops.relu(x), *(constant(np.abs(SLOPES) + i) for i in range(4)), 1e-3
    ),
    "MaxPool": lambda x: ops.max_pool(x, TWO, ONES, [1, 0], [0, 1], [3, 3]).output(0),
    "MaxPool, rounded up": lambda x: ops.max_pool(x, [3, 3], ONES, [0, 0], [0, 0], [3, 3], "ceil").output(0),
    "MaxPool, version 1": lambda x: opset1.max_pool(x, TWO, [0, 0], [0, 0], [3, 3]),
    "MaxPool, version 14": lambda x: opset14.max_pool(
        x, TWO, TWO, [1, 1], [1, 1], [3, 3], "ceil_torch"
    ).output(0),
    "AvgPool": lambda x: ops.avg_pool(x, TWO, [1, 1], [1, 1], [3, 3], True),
    "AvgPool with its border": lambda x: ops.avg_pool(x, TWO, [1, 1], [0, 1], [3, 3], False),
    "AvgPool, rounded up": lambda x: opset14.avg_pool(x, TWO, [1, 1], [1, 1], [3, 3], True, "ceil_torch"),
    "AvgPool, same_upper": lambda x: ops.avg_pool(x, TWO, [0, 0], [0, 0], [3, 3], True, auto_pad="same_upper"),
    "ReduceL1": reduced(ops.reduce_l1),
    "ReduceL2": reduced(ops.reduce_l2),
    "ReduceMax": reduced(ops.reduce_max),
    "ReduceMean": reduced(ops.reduce_mean),
    "ReduceMin": reduced(ops.reduce_min),
    "ReduceSum": reduced(ops.reduce_sum),
    "ReduceMean, kept": lambda x: ops.reduce_mean(x, ints(2, 3), keep_dims=True),
    "Interpolate, nearest": lambda x: resized(
        x, "nearest", (16, 24), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "Interpolate, nearest, simple": lambda x: resized(
        x, "nearest", (4, 4), coordinate_transformation_mode="asymmetric", nearest_mode="simple"
    ),
    "Interpolate, nearest, simple, larger": lambda x: resized(
        x, "nearest", (13, 16), coordinate_transformation_mode="asymmetric", nearest_mode="simple"
    ),
    "Interpolate, linear": lambda x: resized(x, "linear", (13, 16)),
    "Interpolate, linear_onnx": lambda x: resized(
        x, "linear_onnx", (16, 5), coordinate_transformation_mode="pytorch_half_pixel"
    ),
    "Interpolate, corners": lambda x: resized(
        x, "linear_onnx", (15, 15), coordinate_transformation_mode="align_corners"
    ),
    "Interpolate, cubic": lambda x: resized(x, "cubic", (16, 16), cube_coeff=-0.5),
    "Interpolate by scales": lambda x: ops.interpolate(
        x, constant([1.7, 2.2]), "linear_onnx", "scales", axes=ints(2, 3)
    ),
    "Interpolate by scales, version 4": lambda x: version_4(x, ints(2, 4, 13, 17), constant([1, 1, 1.7, 2.2])),
    "Interpolate by scales of some axes": lambda x: version_4(x, ints(13, 17), constant([1.7, 2.2]), ints(2, 3)),
    "Pad": lambda x: ops.pad(x, ints(0, 1, 1, 2), ints(0, 0, 2, -1), "constant", constant(0.5)),
    "Pad, edge": lambda x: ops.pad(x, ints(0, 0, 1, 2), ints(0, 0, 2, 1), "edge"),
    "Pad, reflect": lambda x: ops.pad(x, ints(0, 0, 1, 2), ints(0, 0, 2, 1), "reflect"),
    "Concat": lambda x: ops.concat([x, constant(np.ones((2, 3, 8, 8))), ops.relu(x)], 1),
    "Split": lambda x: ops.subtract(*(ops.split(x, constant(1, np.int64), 2).output(i) for i in (1, 0))),
    "VariadicSplit": lambda x: ops.multiply(
        *(ops.variadic_split(x, constant(1, np.int64), ints(1, -1)).output(i) for i in (0, 1))
    ),
    "StridedSlice": lambda x: ops.strided_slice(x, ints(0, 1, 7), ints(0, 3, 1), ints(1, 1, -2), [1, 0, 0], [1, 0, 0]),
    "StridedSlice, one entry": lambda x: ops.strided_slice(
        x, ints(0, -1, 0), ints(0, 0, 0), ints(1, 1, 1), [1, 0, 1], [1, 0, 1], [], [0, 1, 0], []
    ),
    "StridedSlice, new axis": lambda x: ops.strided_slice(
        x, ints(0, 0, 1), ints(0, 0, -1), ints(1, 1, 1), [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]
    ),
    "Slice": lambda x: ops.slice(x, ints(1, -1), ints(3, -9), ints(1, -2), ints(1, 3)),
    "Slice of the first axes": lambda x: ops.slice(x, ints(0, 1), ints(2, 9), ints(1, 2)),
    "Gather": lambda x: ops.gather(x, constant([[0, 2], [1, -1]], np.int64), constant(1, np.int64)),
    "Gather of all": lambda x: ops.gather(x, ints(0, 1, 2, 3), constant(1, np.int64)),
    "GatherElements": lambda x: ops.gather_elements(x, constant(np.ones((2, 4, 8, 3)), np.int64), -1),
    "GatherND": lambda x: ops.gather_nd(x, constant([[[0, 1]], [[3, 2]]], np.int64), 1),
    "Reshape": lambda x: ops.reshape(x, ints(0, -1, 16), True),
    "Transpose": lambda x: ops.transpose(x, ints(0, 2, 3, 1)),
    "Transpose, turned": lambda x: ops.transpose(x, constant([], np.int64)),
    "Squeeze": lambda x: ops.squeeze(ops.reduce_mean(x, ints(2, 3), keep_dims=True), ints(2, 3)),
    "Unsqueeze": lambda x: ops.unsqueeze(x, ints(1)),
    "Broadcast": lambda x: ops.broadcast(ops.reduce_mean(x, ints(2, 3), keep_dims=True), ints(2, 4, 5, 3)),
    "Broadcast of some axes": lambda x: ops.broadcast(
        ops.reduce_mean(x, ints(2, 3)), ints(2, 4, 5, 3), ints(0, 1), "explicit"
    ),
    "Tile": lambda x: ops.tile(x, ints(1, 2, 1, 3)),
    "Tile of the last axes": lambda x: ops.tile(x, ints(2, 3)),
    "DepthToSpace, blocks first": lambda x: ops.depth_to_space(x, "blocks_first", 2),
    "DepthToSpace, depth first": lambda x: ops.depth_to_space(x, "depth_first", 2),
    "SpaceToDepth, blocks first": lambda x: ops.space_to_depth(x, "blocks_first", 2),
    "SpaceToDepth, depth first": lambda x: ops.space_to_depth(x, "depth_first", 2),
    "Clamp": lambda x: ops.clamp(x, -0.2, 0.6),
    "PRelu": lambda x: ops.prelu(x, constant(SLOPES)),
    "PRelu, one slope": lambda x: ops.prelu(x, constant([0.2])),
    "PRelu, shaped slopes": lambda x: ops.prelu(x, constant(SLOPES.reshape(4, 1, 1))),
    "HardSigmoid": lambda x: ops.hard_sigmoid(x, constant(0.3), constant(0.4)),
    "Selu": lambda x: ops.selu(x, constant(1.6), constant(1.1)),
    "Elu": lambda x: ops.elu(x, 0.7),
    "Swish": ops.swish,
    "Swish, steeper": lambda x: ops.swish(x, constant(1.7)),
    "Gelu": lambda x: ops.gelu(x, "erf"),
    "Gelu by tanh": lambda x: ops.gelu(x, "tanh"),
    "Abs": ops.abs, "Erf": ops.erf, "Exp": ops.exp, "HSigmoid": ops.hsigmoid, "HSwish": ops.hswish, "Mish": ops.mish,
    "Negative": ops.negative, "Relu": ops.relu, "Sigmoid": ops.sigmoid, "SoftPlus": ops.softplus, "Tanh": ops.tanh,
    "Log": lambda x: ops.log(ops.exp(x)),
    "Sqrt": lambda x: ops.sqrt(ops.exp(x)),
    "Softmax": lambda x: ops.softmax(x, 1),
    "Softmax, from the end": lambda x: ops.softmax(x, -1),
    "LogSoftmax": lambda x: ops.log_softmax(x, 1),
    "MVN": lambda x: ops.mvn(x, ints(1, -1), True, 1e-2, "inside_sqrt"),
    "MVN, eps outside": lambda x: ops.mvn(x, ints(2, 3), True, 1e-1, "outside_sqrt"),
    "MVN of means": lambda x: ops.mvn(x, ints(2, 3), False, 1e-2, "inside_sqrt"),
    "NormalizeL2": lambda x: ops.normalize_l2(x, ints(1), 1e-2, "add"),
    "NormalizeL2, at least": lambda x: ops.normalize_l2(x, ints(1), 0.5, "max"),
    "GroupNormalization": lambda x: ops.group_normalization(x, constant(SLOPES), constant(SLOPES), 2, 1e-2),
    "Convert": lambda x: ops.convert(ops.convert(x, "f64"), "f32"),
    "Select": lambda x: ops.select(constant(SLOPES.reshape(4, 1, 1) > 0.15, np.bool_), x, constant(0.5)),
    "ShapeOf": by_shape_of,
}  # fmt: skip


def behind_a_tap(build: Callable[[Any], Any], batch: int = -1) -> Files:
    """Input (N, 3, 8, 8) - convolution with a bias, the tap, four channels - ``build`` - output "found"."""
    rng = np.random.default_rng(1)
    picture = ops.parameter([batch, 3, 8, 8], np.float32, name="image")
    tap = conv(picture, rng.normal(0, 0.4, (4, 3, 3, 3)), rng.normal(0, 0.2, 4), "tap")
    found = build(tap)
    (found if isinstance(found, ov.Output) else found.output(0)).get_tensor().set_names({"found"})
    return serialize(ov.Model([found], [picture], "net"))


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_answers_as_in_openvino_and_has_a_derivative(name: str) -> None:
    x = np.random.default_rng(2).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    files = behind_a_tap(OPERATORS[name], batch=2)
    target = opened(files)
    found = target.differentiate([Aim("found")], x)
    assert found.problems == ()
    assert found.taps[:2] == (INPUT_TAP, "tap")
    wanted = run_in_openvino(files, x)["found"]
    got = found.run(x)["found"]
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
    assert_slope_is_that_of_the_loss(found, x, "found", wanted)


def assert_slope_is_that_of_the_loss(found: Gradients, x: Floats, aim: str, near: NDArray[Any]) -> None:
    """Along one direction, by differences of the loss."""
    rng, weights = np.random.default_rng(4), {aim: np.asarray(1 / near.size, np.float32)}
    targets = {aim: (near + rng.normal(0, 1, near.shape)).astype(np.float32)}
    ways = {tap: rng.normal(0, 1, (2, 3 if tap == INPUT_TAP else 4)) for tap in ("input", "tap")}
    rest = {
        tap: Affine(np.ones(n, np.float32), np.zeros(n, np.float32)) for tap, n in sizes_of(found, x).items()
    }

    def at(step: float) -> dict[str, Affine]:
        moved = {
            tap: Affine((1 + step * way[0]).astype(np.float32), (step * way[1]).astype(np.float32))
            for tap, way in ways.items()
        }
        return rest | moved

    _, slopes = found.step(x, rest, targets, weights)
    wanted = sum(float(way[0] @ slopes[tap].scale + way[1] @ slopes[tap].offset) for tap, way in ways.items())
    step = 5e-4
    high, low = (found.step(x, at(by), targets, weights)[0][aim] for by in (step, -step))
    scale = sum(float(np.abs(slopes[tap].scale).sum() + np.abs(slopes[tap].offset).sum()) for tap in ways)
    assert scale > 0
    assert (high - low) / (2 * step) == pytest.approx(wanted, abs=0.02 * scale)


def sizes_of(found: Gradients, x: Floats) -> dict[str, int]:
    """Channels of the taps: the first two are known, others have those of the operator's weights."""
    more = {"Convolution": 6}
    return {tap: {INPUT_TAP: x.shape[1], "tap": 4}.get(tap, more.get(tap, 4)) for tap in found.taps}


UNKNOWN: Mapping[str, Callable[[Any], Any]] = {
    "Sin": ops.sin,
    "Interpolate": lambda x: resized(x, "linear", (4, 4), antialias=True),
    "ConvolutionBackpropData": lambda x: backward(x, BACK, TWO, ints(18, 19), auto_pad="same_upper"),
    "NonZero": lambda x: ops.convert(ops.non_zero(x), "f32"),
    "ScatterUpdate": scattered,
    "Pad": lambda x: ops.pad(x, ints(0, 0, 1, 2), ints(0, 0, 2, 1), "symmetric"),
    "FakeQuantize": lambda x: ops.fake_quantize(x, *ranges(0, 0, -1, 1), 2),
    "MaxPool": lambda x: ops.convert(ops.max_pool(x, TWO, ONES, [0, 0], [0, 0], [3, 3]).output(1), "f32"),
    "Convert": lambda x: ops.convert(ops.convert(x, "i32"), "f32"),
    "Greater": lambda x: ops.select(ops.greater(x, constant(0.0)), x, constant(0.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_operator_without_a_derivative_is_named_and_the_aims_before_it_stay(name: str) -> None:
    target, x = opened(behind_a_tap(UNKNOWN[name])), np.ones((2, 3, 8, 8), np.float32)
    found = target.differentiate([Aim("tap"), Aim("found")], x)
    assert [aim.name for aim in found.aims] == ["tap"]
    assert any(name in problem for problem in found.problems)
    with pytest.raises(NoDerivative, match=name):
        target.differentiate([Aim("found")], x)


def test_a_batch_that_the_layers_do_not_take_is_a_model_error() -> None:
    files = behind_a_tap(lambda x: ops.add(x, constant(np.ones((3, 4, 8, 8)))), batch=3)
    with pytest.raises(ModelError):
        opened(files).differentiate([Aim("found")], np.ones((2, 3, 8, 8), np.float32))
    found = opened(files).differentiate([Aim("found")], np.ones((3, 3, 8, 8), np.float32))
    assert found.batch == 3


def test_an_infinite_slope_behind_a_cut_is_cut_too() -> None:
    x = np.random.default_rng(2).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    files = behind_a_tap(lambda x: ops.clamp(ops.log(ops.relu(x)), -3.0, 9.0), batch=2)
    found = opened(files).differentiate([Aim("found")], x)
    identity = {
        tap: Affine(np.ones(n, np.float32), np.zeros(n, np.float32)) for tap, n in sizes_of(found, x).items()
    }
    answers = found.run(x)["found"]
    assert (answers == -3).any()
    one = np.asarray(1, np.float32)
    _, slopes = found.step(x, identity, {"found": answers - 1}, {"found": one})
    assert all(
        np.isfinite(slope.scale).all() and np.isfinite(slope.offset).all() for slope in slopes.values()
    )
