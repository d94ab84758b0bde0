"""The derivative of each operator: from the gradient by its outputs, nodes for the gradient by an input.

A rule is called for one input of one node. Sources: the operators' definitions in ONNX's own documentation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from calibration.targets.base import NoDerivative
from calibration.targets.gradient.program import Array
from calibration.targets.gradient.session import SizedProgram, open_session, to_model


class Writer:
    """Makes nodes and constants with names of their own."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self._made = 0

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node; gives the name of its output."""
        self._made += 1
        output = f"gradient__{self._made}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant; gives its name."""
        self._made += 1
        name = f"gradient__{self._made}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A constant of whole numbers: axes, sizes."""
        return self.constant(values, np.int64)

    def sum_over(self, name: str, axes: Sequence[int], *, keep: bool = False) -> str:
        """The sum over some axes."""
        return self.add("ReduceSum", name, self.ints(axes), keepdims=int(keep))

    def reshape(self, name: str, size: Sequence[int]) -> str:
        """The same values in another shape."""
        return self.add("Reshape", name, self.ints(size))

    def where(self, condition: str, name: str) -> str:
        """``name`` where the condition holds, else 0."""
        return self.add("Where", condition, name, self.constant(0))


@dataclass(frozen=True, slots=True)
class Step:
    """One node on the way back."""

    node: NodeProto
    writer: Writer
    sized: SizedProgram
    by_output: str
    """Name of the gradient by its first output."""
    index: int
    """Which input is asked for."""
    which_output: int = 0

    @property
    def x(self) -> str:
        """The input that is asked for."""
        return str(self.node.input[self.index])

    @property
    def y(self) -> str:
        """The first output."""
        return str(self.node.output[0])

    def attribute(self, name: str, default: Any) -> Any:
        """Of the node."""
        found = (helper.get_attribute_value(item) for item in self.node.attribute if item.name == name)
        return next(found, default)

    def size(self, name: str) -> tuple[int, ...]:
        """Of a tensor."""
        return self.sized.size(name)

    def value(self, index: int) -> Array | None:
        """Of a constant input; None where there is none, or none that is constant."""
        if len(self.node.input) <= index or not self.node.input[index]:
            return None
        found = self.sized.program.constants.get(self.node.input[index])
        return None if found is None else np.asarray(found)

    def require_constant(self, index: int) -> Array:
        """The value of an input that must be constant."""
        found = self.value(index)
        if found is None:
            raise NoDerivative(f"{self.node.op_type} whose input {index} is no constant")
        return found

    def fit(self, gradient: str) -> str:
        """The gradient by a tensor that was broadcast: summed over what it was repeated along."""
        size, wanted = self.size(self.y), self.size(self.x)
        return fit(self.writer, gradient, size, wanted)


def fit(writer: Writer, gradient: str, size: Sequence[int], wanted: Sequence[int]) -> str:
    """Sum a gradient of ``size`` to the ``wanted`` size of what was broadcast."""
    if tuple(size) == tuple(wanted):
        return gradient
    ahead = len(size) - len(wanted)
    axes = [*range(ahead), *(i + ahead for i, n in enumerate(wanted) if n == 1 and size[i + ahead] != 1)]
    summed = writer.sum_over(gradient, axes, keep=True) if axes else gradient
    return writer.reshape(summed, wanted) if ahead else summed


Rule = Callable[[Step], str]
RULES: dict[str, Rule] = {}
DATA_ONLY: dict[str, tuple[int, ...]] = {}
"""Operators whose other inputs (sizes, limits, indices) must be constants."""


def _rule(*ops: str, data: tuple[int, ...] | None = None) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        for op in ops:
            RULES[op] = rule
            if data is not None:
                DATA_ONLY[op] = data
        return rule

    return register


# Weighted layers.


@dataclass(frozen=True, slots=True)
class _Window:
    """Where a kernel lies over the picture, axis by axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def pads(self) -> list[int]:
        return [*self.before, *self.after]

    @property
    def reach(self) -> tuple[int, ...]:
        """Length from the first to the last weight, axis by axis."""
        return tuple(d * (k - 1) for d, k in zip(self.dilations, self.kernel, strict=True))


def _window(step: Step, kernel: Sequence[int], large: Sequence[int], small: Sequence[int]) -> _Window:
    """The kernel over ``large`` (the side with more positions), giving ``small``."""
    rank = len(kernel)
    strides = tuple(step.attribute("strides", [1] * rank))
    dilations = tuple(step.attribute("dilations", [1] * rank))
    pads = list(step.attribute("pads", [0] * (2 * rank)))
    auto = step.attribute("auto_pad", b"NOTSET")
    auto = auto.decode() if isinstance(auto, bytes) else auto
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((o - 1) * s + d * (k - 1) + 1 - i, 0)
            for i, o, k, s, d in zip(large, small, kernel, strides, dilations, strict=True)
        ]
        low, high = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = low + high if auto == "SAME_UPPER" else high + low
    elif auto == "VALID":
        pads = [0] * (2 * rank)
    return _Window(tuple(kernel), strides, dilations, tuple(pads[:rank]), tuple(pads[rank:]))


def _spread(
    writer: Writer,
    gradient: str,
    weight: str,
    window: _Window,
    groups: int,
    from_to: tuple[Sequence[int], Sequence[int]],
) -> str:
    """The adjoint of a strided convolution: ConvTranspose back to the size of the picture."""
    small, large = from_to
    made = [
        (o - 1) * s + r + 1 - b - a
        for o, s, r, b, a in zip(
            small, window.strides, window.reach, window.before, window.after, strict=True
        )
    ]
    rest = [wanted - n for wanted, n in zip(large, made, strict=True)]
    after = [a - min(n, 0) for a, n in zip(window.after, rest, strict=True)]  # ceil_mode reads past the end
    return writer.add(
        "ConvTranspose", gradient, weight,
        strides=window.strides, dilations=window.dilations, pads=[*window.before, *after],
        kernel_shape=window.kernel, group=groups, output_padding=[max(n, 0) for n in rest],
    )  # fmt: skip


@_rule("Conv", data=(0,))
def _conv(step: Step) -> str:
    weight = step.require_constant(1)
    large, small = step.size(step.x)[2:], step.size(step.y)[2:]
    window, groups = _window(step, weight.shape[2:], large, small), int(step.attribute("group", 1))
    pads = [r - p for r, p in zip(window.reach * 2, window.pads, strict=True)]
    if set(window.strides) == {1} and min(pads) >= 0:
        return step.writer.add(
            "Conv", step.by_output, step.writer.constant(_turned(weight, groups)),
            pads=pads, dilations=window.dilations, group=groups, kernel_shape=window.kernel,
        )  # fmt: skip
    return _spread(step.writer, step.by_output, step.node.input[1], window, groups, (small, large))


def _turned(weight: Array, groups: int) -> Array:
    """Weights (M, C/g, ...) as those of the convolution back: (C, M/g, ...), the kernel the other way round."""
    out, inner, *kernel = weight.shape
    parts = weight.reshape(groups, out // groups, inner, *kernel).swapaxes(1, 2)
    return np.flip(parts.reshape(groups * inner, out // groups, *kernel), tuple(range(2, weight.ndim))).copy()


@_rule("ConvTranspose", data=(0,))
def _conv_transpose(step: Step) -> str:
    weight = step.require_constant(1)
    small, large = step.size(step.x)[2:], step.size(step.y)[2:]
    kernel = weight.shape[2:]
    window = _window(step, kernel, large, small)
    extra = tuple(step.attribute("output_padding", [0] * len(kernel)))
    if step.attribute("output_shape", None) is not None or step.attribute("auto_pad", b"NOTSET") != b"NOTSET":
        auto = step.attribute("auto_pad", b"NOTSET").decode()
        totals = [
            s * (n - 1) + e + r + 1 - o
            for s, n, e, r, o in zip(window.strides, small, extra, window.reach, large, strict=True)
        ]
        # ONNX: SAME_UPPER puts the larger half behind; everything else puts it in front.
        halves = [(t // 2, t - t // 2) if auto == "SAME_UPPER" else (t - t // 2, t // 2) for t in totals]
        window = _Window(window.kernel, window.strides, window.dilations, *zip(*halves, strict=True))
    after = [
        (n - 1) * s + r + 1 - o - b
        for n, s, r, o, b in zip(small, window.strides, window.reach, large, window.before, strict=True)
    ]
    cut = [min(a, 0) for a in after]
    gradient = step.by_output
    if any(cut):  # positions behind the last weight: of zeros, or of the bias alone
        ends = step.writer.ints([o + c for o, c in zip(large, cut, strict=True)])
        axes = step.writer.ints(range(2, 2 + len(large)))
        gradient = step.writer.add("Slice", gradient, step.writer.ints([0] * len(large)), ends, axes)
    return step.writer.add(
        "Conv", gradient, step.node.input[1],
        pads=[*window.before, *(max(a, 0) for a in after)], strides=window.strides, dilations=window.dilations,
        group=int(step.attribute("group", 1)), kernel_shape=kernel,
    )  # fmt: skip


@_rule("Gemm")
def _gemm(step: Step) -> str:
    writer, gradient = step.writer, step.by_output
    if step.index == 2:
        return step.fit(_scaled(writer, gradient, step.attribute("beta", 1.0)))
    other = step.node.input[1 - step.index]
    turned = bool(step.attribute("transB" if step.index == 0 else "transA", 0))
    if step.index == 0:
        found = writer.add(
            "MatMul", gradient, other if turned else writer.add("Transpose", other, perm=[1, 0])
        )
    else:
        found = writer.add(
            "MatMul", other if turned else writer.add("Transpose", other, perm=[1, 0]), gradient
        )
    if step.attribute("transA" if step.index == 0 else "transB", 0):
        found = writer.add("Transpose", found, perm=[1, 0])
    return _scaled(writer, found, step.attribute("alpha", 1.0))


def _scaled(writer: Writer, name: str, factor: float) -> str:
    return name if factor == 1.0 else writer.add("Mul", name, writer.constant(factor))


@_rule("MatMul")
def _matmul(step: Step) -> str:
    writer = step.writer
    sizes = [step.size(name) for name in step.node.input]
    if min(map(len, sizes)) < 2:
        raise NoDerivative("MatMul with a vector")
    other = step.node.input[1 - step.index]
    rank = len(sizes[1 - step.index])
    turned = writer.add("Transpose", other, perm=[*range(rank - 2), rank - 1, rank - 2])
    pair = (step.by_output, turned) if step.index == 0 else (turned, step.by_output)
    found = writer.add("MatMul", *pair)
    own, full = sizes[step.index], step.size(step.y)
    return fit(writer, found, (*full[:-2], *own[-2:]), own)


@_rule("BatchNormalization", data=(0,))
def _batch_norm(step: Step) -> str:
    if step.attribute("training_mode", 0):
        raise NoDerivative("BatchNormalization in training mode")
    gamma, _, _, var = (step.require_constant(i) for i in (1, 2, 3, 4))
    factor = gamma / np.sqrt(var + step.attribute("epsilon", 1e-5))
    rank = len(step.size(step.x))
    return step.writer.add("Mul", step.by_output, step.writer.constant(factor.reshape(-1, *[1] * (rank - 2))))


@_rule("InstanceNormalization", data=(0,))
def _instance_norm(step: Step) -> str:
    size, gamma = step.size(step.x), step.require_constant(1)
    over = list(range(2, len(size)))
    scaled = step.writer.add("Mul", step.by_output, step.writer.constant(gamma.reshape(-1, *[1] * len(over))))
    return _through_norm(step, scaled, over, step.attribute("epsilon", 1e-5))


@_rule("LayerNormalization", data=(0,))
def _layer_norm(step: Step) -> str:
    size, gamma = step.size(step.x), step.require_constant(1)
    axis = int(step.attribute("axis", -1)) % len(size)
    scaled = step.writer.add("Mul", step.by_output, step.writer.constant(gamma))
    return _through_norm(step, scaled, list(range(axis, len(size))), step.attribute("epsilon", 1e-5))


def _through_norm(step: Step, gradient: str, axes: list[int], eps: float) -> str:
    """Behind ``(x - mean) / sqrt(var + eps)`` over some axes."""
    writer, count = step.writer, prod(step.size(step.x)[axis] for axis in axes)

    def mean(name: str) -> str:
        return _scaled(writer, writer.sum_over(name, axes, keep=True), 1 / count)

    off = writer.add("Sub", step.x, mean(step.x))
    var = writer.add("Add", mean(writer.add("Mul", off, off)), writer.constant(eps))
    unit = writer.add("Reciprocal", writer.add("Sqrt", var))
    normal = writer.add("Mul", off, unit)
    own = mean(gradient)
    shared = writer.add("Mul", normal, mean(writer.add("Mul", gradient, normal)))
    return writer.add("Mul", unit, writer.add("Sub", writer.add("Sub", gradient, own), shared))


# Arithmetic of two tensors.


@_rule("Add", "Sum")
def _add(step: Step) -> str:
    return step.fit(step.by_output)


@_rule("Sub")
def _sub(step: Step) -> str:
    return step.fit(step.by_output if step.index == 0 else step.writer.add("Neg", step.by_output))


@_rule("Mul")
def _mul(step: Step) -> str:
    other = step.node.input[1 - step.index]
    return step.fit(step.writer.add("Mul", step.by_output, other))


@_rule("Div")
def _div(step: Step) -> str:
    writer, divisor = step.writer, step.node.input[1]
    share = writer.add("Div", step.by_output, divisor)
    if step.index == 0:
        return step.fit(share)
    return step.fit(writer.add("Neg", writer.add("Mul", share, step.y)))


@_rule("Pow", data=(0,))
def _pow(step: Step) -> str:
    exponent, writer = step.require_constant(1).astype(np.float64), step.writer
    lower = writer.add("Pow", step.x, writer.constant(exponent - 1))
    slope = writer.add("Mul", lower, writer.constant(exponent))
    return step.fit(writer.add("Mul", step.by_output, slope))


@_rule("Max", "Min")
def _extreme(step: Step) -> str:
    """To the one that is it; to each of equal ones."""
    is_it = step.writer.add("Equal", step.x, step.y)
    return step.fit(step.writer.where(is_it, step.by_output))


@_rule("Where", data=(1, 2))
def _where(step: Step) -> str:
    if not step.index:
        raise NoDerivative("Where by its condition")
    writer, zero = step.writer, step.writer.constant(0)
    pair = (step.by_output, zero) if step.index == 1 else (zero, step.by_output)
    return step.fit(writer.add("Where", step.node.input[0], *pair))


# Activations: the gradient times a slope.


def _times(step: Step, slope: str) -> str:
    return step.writer.add("Mul", step.by_output, slope)


@_rule("Relu")
def _relu(step: Step) -> str:
    return step.writer.where(step.writer.add("Greater", step.y, step.writer.constant(0)), step.by_output)


@_rule("Clip", data=(0,))
def _clip(step: Step) -> str:
    return step.writer.where(step.writer.add("Equal", step.x, step.y), step.by_output)


def _leaky(step: Step, slope: str) -> str:
    writer = step.writer
    is_below = writer.add("Less", step.x, writer.constant(0))
    return writer.add("Where", is_below, writer.add("Mul", step.by_output, slope), step.by_output)


@_rule("LeakyRelu")
def _leaky_relu(step: Step) -> str:
    return _leaky(step, step.writer.constant(step.attribute("alpha", 0.01)))


@_rule("PRelu", data=(0,))
def _prelu(step: Step) -> str:
    return _leaky(step, step.node.input[1])


@_rule("Elu")
def _elu(step: Step) -> str:
    alpha = step.writer.constant(step.attribute("alpha", 1.0))
    return _leaky(step, step.writer.add("Add", step.y, alpha))


@_rule("Selu")
def _selu(step: Step) -> str:
    writer = step.writer
    alpha, gamma = (
        step.attribute("alpha", 1.67326319217681884765625),
        step.attribute("gamma", 1.05070102214813232421875),
    )
    below = writer.add("Add", step.y, writer.constant(alpha * gamma))
    is_below = writer.add("Less", step.x, writer.constant(0))
    return _times(step, writer.add("Where", is_below, below, writer.constant(gamma)))


@_rule("Sigmoid")
def _sigmoid(step: Step) -> str:
    return _times(step, _sigmoid_slope(step.writer, step.y))


def _sigmoid_slope(writer: Writer, y: str) -> str:
    return writer.add("Sub", y, writer.add("Mul", y, y))


@_rule("Tanh")
def _tanh(step: Step) -> str:
    return _times(
        step, step.writer.add("Sub", step.writer.constant(1), step.writer.add("Mul", step.y, step.y))
    )


@_rule("HardSigmoid")
def _hard_sigmoid(step: Step) -> str:
    return _between(step, step.y, 0.0, 1.0, step.writer.constant(step.attribute("alpha", 0.2)))


def _between(step: Step, name: str, low: float, high: float, slope: str) -> str:
    """The gradient times ``slope`` where ``low < name < high``, else 0."""
    writer = step.writer
    above, below = (
        writer.add("Greater", name, writer.constant(low)),
        writer.add("Less", name, writer.constant(high)),
    )
    return writer.where(writer.add("And", above, below), writer.add("Mul", step.by_output, slope))


@_rule("HardSwish")
def _hard_swish(step: Step) -> str:
    """``x * min(max(x / 6 + 1/2, 0), 1)``: the slope is x / 3 + 1/2 between -3 and 3, 0 below, 1 above."""
    writer = step.writer
    slope = writer.add("Add", _scaled(writer, step.x, 1 / 3), writer.constant(0.5))
    is_above = writer.add("Greater", step.x, writer.constant(3))
    return writer.add("Where", is_above, step.by_output, _between(step, step.x, -3.0, 3.0, slope))


@_rule("Swish")
def _swish(step: Step) -> str:
    writer, alpha = step.writer, step.attribute("alpha", 1.0)
    gate = writer.add("Sigmoid", _scaled(writer, step.x, alpha))
    inner = _scaled(writer, writer.add("Mul", step.x, _sigmoid_slope(writer, gate)), alpha)
    return _times(step, writer.add("Add", gate, inner))


@_rule("Softplus")
def _softplus(step: Step) -> str:
    return _times(step, step.writer.add("Sigmoid", step.x))


@_rule("Mish")
def _mish(step: Step) -> str:
    writer = step.writer
    bounded = writer.add("Tanh", writer.add("Softplus", step.x))
    rest = writer.add("Sub", writer.constant(1), writer.add("Mul", bounded, bounded))
    inner = writer.add("Mul", step.x, writer.add("Mul", writer.add("Sigmoid", step.x), rest))
    return _times(step, writer.add("Add", bounded, inner))


@_rule("Erf")
def _erf(step: Step) -> str:
    writer = step.writer
    bell = writer.add("Exp", writer.add("Neg", writer.add("Mul", step.x, step.x)))
    return _times(step, _scaled(writer, bell, 2 / np.sqrt(np.pi)))


@_rule("Gelu")
def _gelu(step: Step) -> str:
    writer, kind = step.writer, step.attribute("approximate", b"none")
    if kind == b"tanh":
        cubed = writer.add("Mul", step.x, writer.add("Mul", step.x, step.x))
        root = float(np.sqrt(2 / np.pi))
        inner = _scaled(writer, writer.add("Add", step.x, _scaled(writer, cubed, 0.044715)), root)
        bounded = writer.add("Tanh", inner)
        rise = writer.add("Sub", writer.constant(1), writer.add("Mul", bounded, bounded))
        square = _scaled(writer, writer.add("Mul", step.x, step.x), 3 * 0.044715)
        steep = _scaled(writer, writer.add("Add", square, writer.constant(1)), root)
        half = _scaled(writer, writer.add("Add", bounded, writer.constant(1)), 0.5)
        more = _scaled(writer, writer.add("Mul", step.x, writer.add("Mul", rise, steep)), 0.5)
        return _times(step, writer.add("Add", half, more))
    share = _scaled(
        writer,
        writer.add(
            "Add", writer.add("Erf", _scaled(writer, step.x, float(np.sqrt(0.5)))), writer.constant(1)
        ),
        0.5,
    )
    bell = writer.add("Exp", _scaled(writer, writer.add("Mul", step.x, step.x), -0.5))
    return _times(
        step,
        writer.add(
            "Add", share, _scaled(writer, writer.add("Mul", step.x, bell), float(1 / np.sqrt(2 * np.pi)))
        ),
    )


@_rule("Exp")
def _exp(step: Step) -> str:
    return _times(step, step.y)


@_rule("Log")
def _log(step: Step) -> str:
    return step.writer.add("Div", step.by_output, step.x)


@_rule("Sqrt")
def _sqrt(step: Step) -> str:
    return step.writer.add("Div", _scaled(step.writer, step.by_output, 0.5), step.y)


@_rule("Reciprocal")
def _reciprocal(step: Step) -> str:
    square = step.writer.add("Mul", step.y, step.y)
    return step.writer.add("Neg", _times(step, square))


@_rule("Abs")
def _abs(step: Step) -> str:
    return _times(step, step.writer.add("Sign", step.x))


@_rule("Neg")
def _neg(step: Step) -> str:
    return step.writer.add("Neg", step.by_output)


@_rule("Softmax")
def _softmax(step: Step) -> str:
    axis, writer = int(step.attribute("axis", -1)), step.writer
    shared = writer.sum_over(writer.add("Mul", step.by_output, step.y), [axis], keep=True)
    return writer.add("Mul", step.y, writer.add("Sub", step.by_output, shared))


@_rule("LogSoftmax")
def _log_softmax(step: Step) -> str:
    axis, writer = int(step.attribute("axis", -1)), step.writer
    shared = writer.sum_over(step.by_output, [axis], keep=True)
    return writer.add("Sub", step.by_output, writer.add("Mul", writer.add("Exp", step.y), shared))


# Sums and pools.


def _axes(step: Step, rank: int) -> list[int]:
    given = step.value(1) if len(step.node.input) > 1 else step.attribute("axes", None)
    axes = [] if given is None else [int(axis) % rank for axis in np.asarray(given).ravel()]
    return axes if axes or step.attribute("noop_with_empty_axes", 0) else list(range(rank))


def _widen(step: Step, name: str, axes: Sequence[int]) -> str:
    """A reduced tensor with an axis of one entry where an axis was summed over."""
    size = step.size(step.x)
    return step.writer.reshape(name, [1 if i in axes else n for i, n in enumerate(size)])


def _expand(step: Step, name: str) -> str:
    return step.writer.add("Expand", name, step.writer.ints(step.size(step.x)))


@_rule("ReduceSum", data=(0,))
def _reduce_sum(step: Step) -> str:
    return _expand(step, _widen(step, step.by_output, _axes(step, len(step.size(step.x)))))


@_rule("ReduceMean", data=(0,))
def _reduce_mean(step: Step) -> str:
    size = step.size(step.x)
    axes = _axes(step, len(size))
    share = _scaled(step.writer, step.by_output, 1 / prod(size[axis] for axis in axes))
    return _expand(step, _widen(step, share, axes))


@_rule("GlobalAveragePool")
def _global_average(step: Step) -> str:
    return _expand(step, _scaled(step.writer, step.by_output, 1 / prod(step.size(step.x)[2:])))


@_rule("ReduceMax", "ReduceMin", data=(0,))
def _reduce_max(step: Step) -> str:
    axes = _axes(step, len(step.size(step.x)))
    is_it = step.writer.add("Equal", step.x, _widen(step, step.y, axes))
    return step.writer.where(is_it, _expand(step, _widen(step, step.by_output, axes)))


@_rule("GlobalMaxPool")
def _global_max(step: Step) -> str:
    is_it = step.writer.add("Equal", step.x, step.y)
    return step.writer.where(is_it, _expand(step, step.by_output))


@_rule("ReduceL2", data=(0,))
def _reduce_l2(step: Step) -> str:
    axes = _axes(step, len(step.size(step.x)))
    share = step.writer.add("Div", step.by_output, step.y)
    return step.writer.add("Mul", step.x, _widen(step, share, axes))


@_rule("MaxPool")
def _max_pool(step: Step) -> str:
    """Where the largest values lay, MaxPool itself says: places in the whole tensor."""
    if step.attribute("storage_order", 0):
        raise NoDerivative("MaxPool in column order")
    writer, node = step.writer, NodeProto()
    node.CopyFrom(step.node)
    values, places = writer.add("Identity", step.x), writer.add("Identity", step.x)
    del writer.nodes[-2:]
    node.output[:] = [values, places]
    node.name = ""
    writer.nodes.append(node)
    return _put_back(step, writer.reshape(places, [-1]))


def _put_back(step: Step, places: str) -> str:
    """Add every entry of the gradient to the place that it came from; ``places`` count through the whole input."""
    writer, size = step.writer, step.size(step.x)
    zeros = writer.add("ConstantOfShape", writer.ints([prod(size)]))
    flat = writer.reshape(step.by_output, [-1])
    return writer.reshape(writer.add("ScatterElements", zeros, places, flat, axis=0, reduction="add"), size)


@_rule("AveragePool")
def _average_pool(step: Step) -> str:
    kernel = tuple(step.attribute("kernel_shape", []))
    size, out = step.size(step.x), step.size(step.y)
    window = _window(step, kernel, size[2:], out[2:])
    writer = step.writer
    counts = _window_counts(window, size[2:], out[2:], all_of_it=bool(step.attribute("count_include_pad", 0)))
    share = writer.add("Div", step.by_output, writer.constant(counts))
    planes = writer.reshape(share, [size[0] * size[1], 1, *out[2:]])
    ones = writer.constant(np.ones((1, 1, *kernel)))
    return writer.reshape(_spread(writer, planes, ones, window, 1, (out[2:], size[2:])), size)


def _window_counts(window: _Window, large: Sequence[int], small: Sequence[int], *, all_of_it: bool) -> Array:
    """How many values each mean is of: those inside of the picture, or of its border too."""
    counts = np.ones(())
    for axis, (n, out) in enumerate(zip(large, small, strict=True)):
        first = np.arange(out) * window.strides[axis] - window.before[axis]
        places = first[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        low, high = (-window.before[axis], n + window.after[axis]) if all_of_it else (0, n)
        counts = np.multiply.outer(counts, ((places >= low) & (places < high)).sum(axis=1))
    return np.maximum(counts, 1)


# What only moves values, or mixes them in fixed shares.


@_rule("Identity", "Dropout")
def _identity(step: Step) -> str:
    return step.by_output


@_rule("Cast")
def _cast(step: Step) -> str:
    if step.attribute("to", 0) not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        raise NoDerivative("Cast to whole numbers")
    return step.by_output


@_rule("Reshape", "Flatten", "Squeeze", "Unsqueeze", data=(0,))
def _reshape(step: Step) -> str:
    return step.writer.reshape(step.by_output, step.size(step.x))


@_rule("Transpose")
def _transpose(step: Step) -> str:
    rank = len(step.size(step.x))
    order = list(step.attribute("perm", range(rank)[::-1]))
    return step.writer.add("Transpose", step.by_output, perm=np.argsort(order).tolist())


@_rule("Concat")
def _concat(step: Step) -> str:
    axis = int(step.attribute("axis", 0)) % len(step.size(step.y))
    lengths = [step.size(name)[axis] for name in step.node.input]
    start = sum(lengths[: step.index])
    ints = step.writer.ints
    return step.writer.add(
        "Slice", step.by_output, ints([start]), ints([start + lengths[step.index]]), ints([axis])
    )


@_rule("Split", data=(0,))
def _split(step: Step) -> str:
    size = step.size(step.x)
    axis = int(step.attribute("axis", 0)) % len(size)
    lengths = [step.size(name)[axis] for name in step.node.output]
    start = sum(lengths[: step.which_output])
    pads = [0] * (2 * len(size))
    pads[axis], pads[axis + len(size)] = start, size[axis] - start - lengths[step.which_output]
    return step.writer.add("Pad", step.by_output, step.writer.ints(pads))


@_rule(
    "Slice",
    "Gather",
    "GatherElements",
    "GatherND",
    "DepthToSpace",
    "SpaceToDepth",
    "Tile",
    "Expand",
    "Pad",
    data=(0,),
)
def _move(step: Step) -> str:
    """Where every value comes from is found by moving numbers: the operator runs once on 1, 2 and so on."""
    if step.node.op_type == "Expand":
        return step.fit(step.by_output)
    size = step.size(step.x)
    numbers = np.arange(1, prod(size) + 1, dtype=np.float64).reshape(size)
    [moved] = _run_alone(step, [numbers])
    places = (
        np.rint(moved).astype(np.int64).ravel() - 1
    )  # what is no value of the input, say a border, is below 0
    writer, count = step.writer, prod(size)
    zeros = writer.add("ConstantOfShape", writer.ints([count + 1]))
    flat = writer.reshape(step.by_output, [-1])
    where = writer.ints(np.where(places < 0, count, places).tolist())
    summed = writer.add("ScatterElements", zeros, where, flat, axis=0, reduction="add")
    ints = writer.ints
    return writer.reshape(writer.add("Slice", summed, ints([0]), ints([count]), ints([0])), size)


@_rule("Resize", data=(0,))
def _resize(step: Step) -> str:
    """Resizing is one matrix per axis, found by resizing unit vectors; the way back is their transposes."""
    if step.attribute("coordinate_transformation_mode", b"half_pixel") == b"tf_crop_and_resize":
        raise NoDerivative("Resize with a region")
    size, out = step.size(step.x), step.size(step.y)
    found, rank, writer = step.by_output, len(size), step.writer
    for axis in range(rank):
        if size[axis] == out[axis]:
            continue
        matrix = writer.constant(_resize_matrix(step, axis))  # (out, in)
        last = [i for i in range(rank) if i != axis] + [axis]
        turned = writer.add("Transpose", found, perm=last)
        found = writer.add("Transpose", writer.add("MatMul", turned, matrix), perm=np.argsort(last).tolist())
    return found


def _resize_matrix(step: Step, axis: int) -> Array:
    """(out, in) of one axis: what is constant along the others is resized along this one alone.

    Many unit vectors at once, one in each plane of the picture.
    """
    size, out = step.size(step.x), step.size(step.y)
    planes = prod(size[:2]) if axis > 1 else 1
    columns = list[Array]()
    for first in range(0, size[axis], planes):
        places = (np.arange(planes) + first) % size[axis]
        x = np.moveaxis(np.zeros(size, np.float32), axis, -1).reshape(planes, -1, size[axis])
        x[np.arange(planes), :, places] = 1
        rest = [n for i, n in enumerate(size) if i != axis]
        [y] = _run_alone(step, [np.ascontiguousarray(np.moveaxis(x.reshape(*rest, size[axis]), -1, axis))])
        columns += list(np.moveaxis(y, axis, -1).reshape(planes, -1, out[axis])[:, 0])
    return np.stack(columns[: size[axis]], axis=1)


def _run_alone(step: Step, arrays: Sequence[Array]) -> list[Array]:
    """Run the step's operator by itself on arrays in place of its first inputs."""
    node = NodeProto()
    node.CopyFrom(step.node)
    names = [f"alone__{i}" for i in range(len(arrays))]
    node.input[: len(names)] = names
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE}
    inputs = [
        helper.make_tensor_value_info(name, kinds[array.dtype], array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    constants: Mapping[str, Array] = {
        name: value for name, value in step.sized.program.constants.items() if name in node.input
    }
    data = to_model([node], constants, inputs, [node.output[0]], step.sized.program.opset)
    return [np.asarray(y) for y in open_session(data, 1).run(None, dict(zip(names, arrays, strict=True)))]
