"""Parameters that a file computes from constants are constants, in every form that exporters give them."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from calibration.patch import Affine, Patch
from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import ModelFiles
from calibration.targets.onnx.folding import fold_parameters
from calibration.targets.open import open_onnx, open_openvino
from calibration.targets.target import Target
from tests.support.onnx_nets import classifier, pictures
from tests.support.openvino_nets import ir_of

pytestmark = pytest.mark.integration
Values = NDArray[np.float32]


class Writer:
    """Adds nodes and constants in front of a model's own."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.graph, self.count = proto.graph, 0

    def constant(self, value: NDArray[np.generic]) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        self.count += 1
        names = [f"n{self.count}", *(f"n{self.count}_{i}" for i in range(1, outputs))]
        node = helper.make_node(op, list(inputs), names, **attributes)
        self.graph.node.insert(self.count_nodes, node)
        self.count_nodes += 1
        return names[0]

    count_nodes = 0


def fake_quantized(w: Writer, value: Values, axis: int | None) -> str:
    others = tuple(i for i in range(value.ndim) if i != axis)
    scale = w.constant(
        (np.abs(value).max(axis=others if axis is not None else None) / 127).astype(np.float32)
    )
    shape = () if axis is None else (value.shape[axis],)
    zero = w.constant(np.zeros(shape, np.int8))
    more = {} if axis is None else {"axis": axis}
    return w.add(
        "DequantizeLinear",
        w.add("QuantizeLinear", w.constant(value), scale, zero, **more),
        scale,
        zero,
        **more,
    )


def weight_norm(w: Writer, value: Values) -> str:
    length = np.sqrt((value**2).sum(axis=(1, 2, 3), keepdims=True))
    direction = w.constant(value * 3)
    unit = w.add("Div", direction, w.add("ReduceL2", direction, axes=[1, 2, 3], keepdims=1))
    return w.add("Mul", unit, w.constant(length))


def standardised(w: Writer, value: Values) -> str:
    """As timm's StdConv2d: a BatchNormalization in training mode over the weights; then brought back to ``value``."""
    flat = value.reshape(1, len(value), -1)
    mean, var = flat.mean(axis=(0, 2)), flat.var(axis=(0, 2))
    ones, zeros = (w.constant(np.full(len(value), n, np.float32)) for n in (1, 0))
    normed = w.add(
        "BatchNormalization",
        w.constant(flat),
        ones,
        zeros,
        zeros,
        ones,
        outputs=3,
        training_mode=1,
        epsilon=1e-9,
    )
    back = w.add("Mul", normed, w.constant(np.sqrt(var + 1e-9).astype(np.float32)[None, :, None]))
    moved = w.add("Add", back, w.constant(mean.astype(np.float32)[None, :, None]))
    return w.add("Reshape", moved, w.constant(np.asarray(value.shape)))


def dequantized_by_hand(w: Writer, value: Values) -> str:
    step = np.float32(np.abs(value).max() / 127)
    whole = w.add("Cast", w.constant(np.rint(value / step).astype(np.int8)), to=TensorProto.FLOAT)
    return w.add("Mul", whole, w.constant(step))


def halves(w: Writer, value: Values) -> str:
    return w.add("Concat", w.constant(value[:2]), w.constant(value[2:]), axis=0)


WEIGHTS: dict[str, Callable[[Writer, Values], str]] = {
    "float in front of a quantizer": lambda w, v: fake_quantized(w, v, 0),
    "float in front of a quantizer, one scale": lambda w, v: fake_quantized(w, v, None),
    "float16 in front of a quantizer": lambda w, v: fake_quantized(w, v.astype(np.float16).astype(np.float32), 0),
    "float16": lambda w, v: w.add("Cast", w.constant(v.astype(np.float16)), to=TensorProto.FLOAT),
    "transposed": lambda w, v: w.add("Transpose", w.constant(v.transpose(1, 0, 2, 3)), perm=[1, 0, 2, 3]),
    "flat": lambda w, v: w.add("Reshape", w.constant(v.ravel()), w.constant(np.asarray(v.shape))),
    "weight norm": weight_norm,
    "standardised": standardised,
    "by halves": halves,
    "integers times a step": dequantized_by_hand,
    "gathered": lambda w, v: w.add("Gather", w.constant(v[::-1]), w.constant(np.arange(len(v))[::-1].copy()), axis=0),
    "passed on twice": lambda w, v: w.add("Identity", w.add("Identity", w.constant(v))),
    "padded": lambda w, v: w.add("Pad", w.constant(v[..., 1:]), w.constant(np.array([0, 0, 0, 1, 0, 0, 0, 0]))),
    "a plain Constant": lambda w, v: w.add("Constant", value=numpy_helper.from_array(v)),
}  # fmt: skip
"""Of the first layer; what is added stands for the values, but for their rounding and the padding's zeros."""


def of_a_shape(w: Writer, value: Values) -> str:
    one = numpy_helper.from_array(np.ones(1, np.float32))
    ones = w.add("ConstantOfShape", w.constant(np.array([len(value)])), value=one)
    return w.add("Mul", ones, w.constant(value))


BIASES: dict[str, Callable[[Writer, Values], str]] = {
    "a Constant of floats": lambda w, v: w.add("Constant", value_floats=v.tolist()),
    "a sum": lambda w, v: w.add("Add", w.constant(v - 1), w.constant(np.ones_like(v))),
    "of a shape": of_a_shape,
    "float16": lambda w, v: w.add("Cast", w.constant(v.astype(np.float16)), to=TensorProto.FLOAT),
}  # fmt: skip


def computed(which: int, make: Callable[[Writer, Values], str]) -> bytes:
    """The classifier whose first layer has an input made by ``make``: weights (1) or bias (2)."""
    proto = onnx.load_model_from_string(classifier())
    node = next(node for node in proto.graph.node if node.op_type == "Conv")
    old = next(tensor for tensor in proto.graph.initializer if tensor.name == node.input[which])
    value = np.array(numpy_helper.to_array(old))
    proto.graph.initializer.remove(old)
    node.input[which] = make(Writer(proto), value)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def require_exact(target: Target, patched: Callable[[Patch], Target]) -> None:
    """A correction of the first tap moves its measured moments as it says."""
    tap, x = target.taps[0], pictures(6)
    rng = np.random.default_rng(0)
    affine = Affine(
        rng.uniform(0.5, 2, tap.channels).astype(np.float32),
        rng.normal(0, 0.3, tap.channels).astype(np.float32),
    )
    before = target.observe(x).moments[tap.name]
    patch = Patch({tap.name: affine}, target.sha256, "b", "c", 1, 0.0)
    after = patched(patch).observe(x).moments[tap.name]
    np.testing.assert_allclose(after.mean, affine.scale * before.mean + affine.offset, atol=2e-3)
    np.testing.assert_allclose(after.var, affine.scale**2 * before.var, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", WEIGHTS)
def test_computed_weights_are_corrected(name: str) -> None:
    model, plain = computed(1, WEIGHTS[name]), open_onnx(classifier())
    target = open_onnx(model)
    assert [tap.name for tap in target.taps] == [tap.name for tap in plain.taps]
    assert target.taps[0].kind == ("Conv int8" if "quantizer" in name else "Conv float32")
    require_exact(target, lambda patch: open_onnx(target.patched(patch).data))


@pytest.mark.parametrize("name", BIASES)
def test_computed_biases_are_corrected(name: str) -> None:
    target = open_onnx(computed(2, BIASES[name]))
    assert [tap.name for tap in target.taps] == [tap.name for tap in open_onnx(classifier()).taps]
    require_exact(target, lambda patch: open_onnx(target.patched(patch).data))


@pytest.mark.parametrize("name", sorted(set(WEIGHTS) - {"standardised"}))
def test_the_same_as_an_openvino_model(name: str) -> None:
    files = ModelFiles(*ir_of(computed(1, WEIGHTS[name])))
    assert files.weights is not None
    target = open_openvino(files.data, files.weights)
    assert len(target.taps) == len(open_onnx(classifier()).taps)

    def patched(patch: Patch) -> Target:
        done = target.patched(patch)
        assert done.weights is not None
        return open_openvino(done.data, done.weights)

    require_exact(target, patched)


def test_answers_stay_what_they_were_where_nothing_is_corrected() -> None:
    x = pictures(4)
    for make in (WEIGHTS["weight norm"], WEIGHTS["float in front of a quantizer"]):
        model = computed(1, make)
        target, one = open_onnx(model), np.ones(3, np.float32)
        nothing = Patch({INPUT_TAP: Affine(one * 0.999, one * 0)}, target.sha256, "b", "c", 1, 0.0)
        [expected], [found] = (
            target.runner()(x * np.float32(0.999)).values(),
            target.runner(nothing)(x).values(),
        )
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["weight norm", "float in front of a quantizer"])
def test_constants_that_an_old_exporter_lists_as_inputs_are_none_afterwards(name: str) -> None:
    proto = onnx.load_model_from_string(computed(1, WEIGHTS[name]))
    for tensor in proto.graph.initializer:
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    assert fold_parameters(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["input"]


def test_normalising_what_comes_from_the_picture_in_training_mode_is_refused() -> None:
    proto = onnx.load_model_from_string(classifier())
    w = Writer(proto)
    ones, zeros = (w.constant(np.full(3, n, np.float32)) for n in (1, 0))
    normed = w.add("BatchNormalization", "input", ones, zeros, zeros, ones, outputs=3, training_mode=1)
    for other in proto.graph.node[1:]:
        for i, name in enumerate(other.input):
            if name == "input":
                other.input[i] = normed
    with pytest.raises(Exception, match="training mode"):
        open_onnx(bytes(proto.SerializeToString()))
