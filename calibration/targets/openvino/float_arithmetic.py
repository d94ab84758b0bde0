"""Arithmetic, activations, quantizers and sums of an IR as ONNX operators."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.targets.gradient.forward import FLOAT32
from calibration.targets.openvino.graph import element_type, value
from calibration.targets.openvino.translation import REALS, Operator, Translation, Untranslated

Range = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Least and largest value; they broadcast over a tensor."""

_FEWEST_LEVELS = 3
"""Of two levels rounding is all that there is."""
_SAME_RANGE = 1e-4
"""Two ranges that differ by less, as a share of their width, are one: 1/40 of a step of eight bits."""


def _same(onnx_op: str, op: Operator) -> None:
    op.give(onnx_op, *(op.x(i) for i in range(int(op.node.get_input_size()))))


def _binary(onnx_op: str, op: Operator) -> None:
    if op.attribute("auto_broadcast", "numpy") != "numpy" and op.size(0) != op.size(1):
        raise Untranslated(f"{op.kind} that broadcasts in another way")
    _same(onnx_op, op)


def _divide(op: Operator) -> None:
    """By a constant as a multiplication: ONNX Runtime puts that into the layer in front of it."""
    if op.is_real and op.is_constant(1) and (divisor := op.value(1).astype(np.float64)).all():
        op.give("Mul", op.x(0), op.constant(1 / divisor))
    else:
        _binary("Div", op)


def _multiply(op: Operator) -> None:
    """The last step of a dequantizer is the range of its quantizer as one step."""
    quantizer = _find_quantizer(op)
    if quantizer is None:
        _binary("Mul", op)
        return
    inner, zero = quantizer
    factor = op.value(1).astype(np.float64)
    low, high = (((end - zero) * factor) for end in _ends(inner)[1])
    _keep_to_range(op, inner.x(0), _ends(inner)[0], (low, high))


def _find_quantizer(op: Operator) -> tuple[Operator, NDArray[np.float64]] | None:
    """The FakeQuantize to integers in front of a Multiply that takes them back, and its zero point."""
    if not op.is_constant(1):
        return None
    node, zero = op.source(0).get_node(), np.zeros(())
    if node.get_type_name() == "Subtract" and op.graph.is_constant(node.input_value(1)):
        node, zero = node.input_value(0).get_node(), value(node.input_value(1)).astype(np.float64)
    converts = 0
    while node.get_type_name() == "Convert":
        node, converts = node.input_value(0).get_node(), converts + 1
    if node.get_type_name() != "FakeQuantize" or not converts:
        return None
    inner = Operator(node, op.graph, op.writer, op.names, ())
    is_known = all(inner.is_constant(i) for i in range(1, 5)) and not inner.is_constant(0)
    return (inner, zero) if is_known and inner.attribute("levels") >= _FEWEST_LEVELS else None


def _ends(quantizer: Operator) -> tuple[Range, Range]:
    """What a quantizer takes, and what it makes of that."""
    low, high, made_low, made_high = (quantizer.value(i).astype(np.float64) for i in range(1, 5))
    return (low, high), (made_low, made_high)


def _fake_quantize(op: Operator) -> None:
    if op.attribute("levels") < _FEWEST_LEVELS:
        raise Untranslated("FakeQuantize to two levels")
    _keep_to_range(op, op.x(0), *_ends(op))


def _keep_to_range(op: Operator, x: str, taken: Range, made: Range) -> None:
    """``x`` within one range, moved to the other one; nothing is rounded."""
    low, high, made_low, made_high = np.broadcast_arrays(*taken, *made)
    limits = np.minimum(low, high), np.maximum(low, high)
    moved = np.maximum(np.abs(made_low - low), np.abs(made_high - high))
    if (moved <= _SAME_RANGE * np.abs(high - low)).all():
        _clip(op, x, limits, op.outputs[:1])
        return
    kept = _clip(op, x, limits)
    factor = (made_high - made_low) / np.where(high == low, np.inf, high - low)
    op.give("Add", op.add("Mul", kept, op.constant(factor)), op.constant(made_low - low * factor))


def _clip(op: Operator, x: str, limits: Range, outputs: Sequence[str] = ()) -> str:
    """One Clip where the limits are numbers, as it takes no others."""
    if all(limit.size == 1 for limit in limits):
        names = [op.constant(limit.reshape(())) for limit in limits]
        return op.writer.add("Clip", [x, *names], outputs)
    low, high = map(op.constant, limits)
    return op.writer.add("Min", [op.add("Max", x, low), high], outputs)


def _clamp(op: Operator) -> None:
    _clip(op, op.x(), (np.asarray(op.attribute("min")), np.asarray(op.attribute("max"))), op.outputs[:1])


def _convert(op: Operator) -> None:
    """Floats are float32 here, and what a quantizer made is not rounded: there is nothing to do but for integers."""
    if element_type(op.node.output(0)) in REALS:
        if op.is_real:
            op.give("Identity", op.x())
        else:
            op.give("Cast", op.x(), to=FLOAT32)
    elif not op.is_real or op.source(0).get_node().get_type_name() == "FakeQuantize":
        op.give("Identity", op.x())
    else:
        raise Untranslated(f"{op.kind} to whole numbers")


def _select(op: Operator) -> None:
    op.value(0)  # a choice by the input has no derivative
    op.give("Where", op.x(0), op.x(1), op.x(2))


def _squared_difference(op: Operator) -> None:
    off = op.add("Sub", op.x(0), op.x(1))
    op.give("Mul", off, off)


def _prelu(op: Operator) -> None:
    slope = op.value(1).astype(np.float32)
    rank = len(op.size())
    if slope.size == 1:
        op.give("LeakyRelu", op.x(), alpha=float(slope.reshape(())))
    elif slope.ndim == 1 and rank > 1:  # one slope per channel
        op.give("PRelu", op.x(), op.constant(slope.reshape(-1, *[1] * (rank - 2))))
    else:
        op.give("PRelu", op.x(), op.constant(slope))


def _number(op: Operator, index: int) -> float:
    return float(op.value(index).reshape(()))


def _hard_sigmoid(op: Operator) -> None:
    op.give("HardSigmoid", op.x(), alpha=_number(op, 1), beta=_number(op, 2))


def _selu(op: Operator) -> None:
    op.give("Selu", op.x(), alpha=_number(op, 1), gamma=_number(op, 2))


def _swish(op: Operator) -> None:
    inner = op.x() if not op.has(1) else op.add("Mul", op.x(), op.constant(_number(op, 1)))
    op.give("Mul", op.x(), op.add("Sigmoid", inner))


def _gelu(op: Operator) -> None:
    is_tanh = str(op.attribute("approximation_mode", "ERF")).upper() == "TANH"
    op.give("Gelu", op.x(), approximate="tanh" if is_tanh else "none")


def _axes(op: Operator, index: int) -> list[int]:
    rank = len(op.size())
    return sorted(axis % rank for axis in op.numbers(index))


def _reduce(onnx_op: str, op: Operator) -> None:
    axes, x = _axes(op, 1), op.x()
    if onnx_op == "ReduceL1":
        onnx_op, x = "ReduceSum", op.add("Abs", x)
    op.give(onnx_op, x, op.constant(axes), keepdims=int(op.attribute("keep_dims")))


def _sum_of_squares(op: Operator, x: str, axes: Sequence[int], onnx_op: str) -> str:
    return op.add(onnx_op, op.add("Mul", x, x), op.constant(axes), keepdims=1)


def _centre(op: Operator, x: str, axes: Sequence[int]) -> str:
    return op.add("Sub", x, op.add("ReduceMean", x, op.constant(axes), keepdims=1))


def _mvn(op: Operator) -> None:
    if not op.has(1):
        raise Untranslated("MVN of the first operator set")
    axes = _axes(op, 1)
    centred = _centre(op, op.x(), axes)
    if not op.attribute("normalize_variance"):
        op.give("Identity", centred)
        return
    var, eps = _sum_of_squares(op, centred, axes, "ReduceMean"), op.constant(float(op.attribute("eps")))
    is_inside = str(op.attribute("eps_mode")).upper() == "INSIDE_SQRT"
    root = op.add("Sqrt", op.add("Add", var, eps)) if is_inside else op.add("Add", op.add("Sqrt", var), eps)
    op.give("Div", centred, root)


def _group_normalisation(op: Operator) -> None:
    size, groups = op.size(), int(op.attribute("num_groups"))
    grouped = op.add("Reshape", op.x(), op.constant([size[0], groups, -1]))
    centred = _centre(op, grouped, [2])
    eps = op.constant(float(op.attribute("epsilon")))
    root = op.add("Sqrt", op.add("Add", _sum_of_squares(op, centred, [2], "ReduceMean"), eps))
    normal = op.add("Reshape", op.add("Div", centred, root), op.constant(size))
    scale, bias = (op.constant(op.value(i).reshape(-1, *[1] * (len(size) - 2))) for i in (1, 2))
    op.give("Add", op.add("Mul", normal, scale), bias)


def _normalise_l2(op: Operator) -> None:
    total = _sum_of_squares(op, op.x(), _axes(op, 1), "ReduceSum")
    eps = op.constant(float(op.attribute("eps")))
    safe = op.add("Add" if str(op.attribute("eps_mode")).lower() == "add" else "Max", total, eps)
    op.give("Div", op.x(), op.add("Sqrt", safe))


_ALIKE: Mapping[str, str] = {
    "Abs": "Abs", "Erf": "Erf", "Exp": "Exp", "HSwish": "HardSwish", "Log": "Log", "Mish": "Mish",
    "Negative": "Neg", "Relu": "Relu", "Sigmoid": "Sigmoid", "SoftPlus": "Softplus", "Sqrt": "Sqrt", "Tanh": "Tanh",
}  # fmt: skip
_PAIRS: Mapping[str, str] = {
    "Add": "Add",
    "Subtract": "Sub",
    "Power": "Pow",
    "Maximum": "Max",
    "Minimum": "Min",
}
_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")


def _with_attributes(onnx_op: str, names: Mapping[str, Any], op: Operator) -> None:
    """``names``: an ONNX attribute by the IR's own, or its value by itself."""
    given = {name: op.attribute(own) if isinstance(own, str) else own for name, own in names.items()}
    op.give(onnx_op, op.x(), **given)


ARITHMETIC: Mapping[str, Translation] = {
    **{name: partial(_same, onnx_op) for name, onnx_op in _ALIKE.items()},
    **{name: partial(_binary, onnx_op) for name, onnx_op in _PAIRS.items()},
    **{name: partial(_reduce, name) for name in _REDUCTIONS},
    "Clamp": _clamp,
    "Convert": _convert,
    "ConvertLike": _convert,
    "Divide": _divide,
    "Elu": partial(_with_attributes, "Elu", {"alpha": "alpha"}),
    "FakeQuantize": _fake_quantize,
    "Gelu": _gelu,
    "GroupNormalization": _group_normalisation,
    "HSigmoid": partial(_with_attributes, "HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "HardSigmoid": _hard_sigmoid,
    "LogSoftmax": partial(_with_attributes, "LogSoftmax", {"axis": "axis"}),
    "MVN": _mvn,
    "Multiply": _multiply,
    "NormalizeL2": _normalise_l2,
    "PRelu": _prelu,
    "Select": _select,
    "Selu": _selu,
    "Softmax": partial(_with_attributes, "Softmax", {"axis": "axis"}),
    "SquaredDifference": _squared_difference,
    "Swish": _swish,
}
"""By OpenVINO's name of the operator."""
