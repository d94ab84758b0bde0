"""Activations: the gradient times a slope, most of them."""

import numpy as np

from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.step import Step, Writer

_NO_LIMIT = 3e38
"""Exporters write the largest number of a type for none."""


@rule("Relu")
def _relu(step: Step) -> str:
    return step.writer.where(step.writer.add("Greater", step.y, step.writer.constant(0)), step.by_output)


@rule("ThresholdedRelu")
def _thresholded_relu(step: Step) -> str:
    limit = step.writer.constant(step.attribute("alpha", 1.0))
    return step.writer.where(step.writer.add("Greater", step.x, limit), step.by_output)


@rule("Clip", data=(0,))
def _clip(step: Step) -> str:
    """Strictly between the limits, which its output tells: what it reads need not be kept, but for a small input."""
    writer = step.writer
    if step.x == step.sized.program.input.name:  # black and white may lie right at the limits
        return writer.where(writer.add("Equal", step.x, step.y), step.by_output)
    low, high = (None if value is None else float(value) for value in (step.value(1), step.value(2)))
    found = list[str]()
    if low is not None and low > -_NO_LIMIT:
        found.append(writer.add("Greater", step.y, writer.constant(low)))
    if high is not None and high < _NO_LIMIT:
        found.append(writer.add("Less", step.y, writer.constant(high)))
    if not found:
        return step.by_output
    return writer.where(found[0] if len(found) == 1 else writer.add("And", *found), step.by_output)


def _below_zero(step: Step, slope: str) -> str:
    """The gradient times ``slope`` below 0, and the gradient itself above."""
    more = step.times(step.writer.add("Sub", slope, step.writer.constant(1)))
    return step.writer.add("Add", step.by_output, step.writer.where(_is_below(step), more))


def _is_below(step: Step) -> str:
    return step.writer.add("Less", step.x, step.writer.constant(0))


@rule("LeakyRelu")
def _leaky_relu(step: Step) -> str:
    return _below_zero(step, step.writer.constant(step.attribute("alpha", 0.01)))


@rule("PRelu", data=(0,))
def _prelu(step: Step) -> str:
    return _below_zero(step, step.node.input[1])


@rule("Elu")
def _elu(step: Step) -> str:
    alpha = step.writer.constant(step.attribute("alpha", 1.0))
    return _below_zero(step, step.writer.add("Add", step.y, alpha))


@rule("Celu")
def _celu(step: Step) -> str:
    """``alpha * (exp(x / alpha) - 1)`` below 0."""
    share = step.writer.scaled(step.y, 1 / step.attribute("alpha", 1.0))
    return _below_zero(step, step.writer.add("Add", share, step.writer.constant(1)))


@rule("Selu")
def _selu(step: Step) -> str:
    alpha = step.attribute("alpha", 1.67326319217681884765625)
    gamma = step.attribute("gamma", 1.05070102214813232421875)
    below = step.writer.add("Add", step.y, step.writer.constant(alpha * gamma))
    return step.times(step.writer.add("Where", _is_below(step), below, step.writer.constant(gamma)))


@rule("Sigmoid")
def _sigmoid(step: Step) -> str:
    return step.times(_sigmoid_slope(step.writer, step.y))


def _sigmoid_slope(writer: Writer, y: str) -> str:
    return writer.add("Sub", y, writer.add("Mul", y, y))


@rule("Tanh")
def _tanh(step: Step) -> str:
    return step.times(_tanh_slope(step.writer, step.y))


def _tanh_slope(writer: Writer, y: str) -> str:
    return writer.add("Sub", writer.constant(1), writer.add("Mul", y, y))


@rule("Softsign")
def _softsign(step: Step) -> str:
    """``x / (1 + |x|)``."""
    writer = step.writer
    root = writer.add("Sub", writer.constant(1), writer.add("Abs", step.y))
    return step.times(writer.add("Mul", root, root))


@rule("HardSigmoid")
def _hard_sigmoid(step: Step) -> str:
    return _between(step, step.y, 0.0, 1.0, step.writer.constant(step.attribute("alpha", 0.2)))


def _between(step: Step, name: str, low: float, high: float, slope: str) -> str:
    """The gradient times ``slope`` where ``low < name < high``, else 0."""
    writer = step.writer
    above = writer.add("Greater", name, writer.constant(low))
    below = writer.add("Less", name, writer.constant(high))
    return writer.where(writer.add("And", above, below), step.times(slope))


@rule("HardSwish")
def _hard_swish(step: Step) -> str:
    """``x * min(max(x / 6 + 1/2, 0), 1)``: the slope is x / 3 + 1/2 between -3 and 3, 0 below, 1 above."""
    writer = step.writer
    slope = writer.add("Add", writer.scaled(step.x, 1 / 3), writer.constant(0.5))
    is_above = writer.add("Greater", step.x, writer.constant(3))
    return writer.add("Add", writer.where(is_above, step.by_output), _between(step, step.x, -3.0, 3.0, slope))


@rule("Swish")
def _swish(step: Step) -> str:
    writer, alpha = step.writer, step.attribute("alpha", 1.0)
    gate = writer.add("Sigmoid", writer.scaled(step.x, alpha))
    inner = writer.scaled(writer.add("Mul", step.x, _sigmoid_slope(writer, gate)), alpha)
    return step.times(writer.add("Add", gate, inner))


@rule("Softplus")
def _softplus(step: Step) -> str:
    return step.times(step.writer.add("Sigmoid", step.x))


@rule("Mish")
def _mish(step: Step) -> str:
    """``x * tanh(softplus(x))``."""
    writer = step.writer
    bounded = writer.add("Tanh", writer.add("Softplus", step.x))
    rise = writer.add("Mul", writer.add("Sigmoid", step.x), _tanh_slope(writer, bounded))
    return step.times(writer.add("Add", bounded, writer.add("Mul", step.x, rise)))


@rule("Erf")
def _erf(step: Step) -> str:
    writer = step.writer
    bell = writer.add("Exp", writer.add("Neg", writer.add("Mul", step.x, step.x)))
    return step.times(writer.scaled(bell, 2 / np.sqrt(np.pi)))


@rule("Gelu")
def _gelu(step: Step) -> str:
    if step.text("approximate", "none") == "tanh":
        return step.times(_gelu_by_tanh(step.writer, step.x))
    writer, x = step.writer, step.x
    error = writer.add("Erf", writer.scaled(x, float(np.sqrt(0.5))))
    share = writer.scaled(writer.add("Add", error, writer.constant(1)), 0.5)
    bell = writer.add("Exp", writer.scaled(writer.add("Mul", x, x), -0.5))
    rise = writer.scaled(writer.add("Mul", x, bell), float(1 / np.sqrt(2 * np.pi)))
    return step.times(writer.add("Add", share, rise))


def _gelu_by_tanh(writer: Writer, x: str) -> str:
    """The slope of ``x / 2 * (1 + tanh(root * (x + 0.044715 x^3)))``, root = sqrt(2 / pi)."""
    root, one = float(np.sqrt(2 / np.pi)), writer.constant(1)
    square = writer.add("Mul", x, x)
    bend = writer.add("Add", writer.scaled(square, 0.044715), one)
    bounded = writer.add("Tanh", writer.scaled(writer.add("Mul", x, bend), root))
    steep = writer.scaled(writer.add("Add", writer.scaled(square, 3 * 0.044715), one), root)
    rise = writer.add("Mul", x, writer.add("Mul", _tanh_slope(writer, bounded), steep))
    return writer.scaled(writer.add("Add", writer.add("Add", bounded, one), rise), 0.5)


@rule("Softmax")
def _softmax(step: Step) -> str:
    axis, writer = int(step.attribute("axis", -1)), step.writer
    shared = writer.sum_over(step.times(step.y), [axis], keep=True)
    return writer.add("Mul", step.y, writer.add("Sub", step.by_output, shared))


@rule("LogSoftmax")
def _log_softmax(step: Step) -> str:
    axis, writer = int(step.attribute("axis", -1)), step.writer
    shared = writer.sum_over(step.by_output, [axis], keep=True)
    return writer.add("Sub", step.by_output, writer.add("Mul", writer.add("Exp", step.y), shared))
