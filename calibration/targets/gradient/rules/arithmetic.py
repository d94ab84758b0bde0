"""Arithmetic of single values of one or several tensors, which may be broadcast."""

import numpy as np
from onnx import TensorProto

from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.step import Step

_LEAST_ROOT = 1e-12
"""The slope of a root at 0 is without bound, and what comes before it (a square) usually has slope 0 there."""


@rule("Add", "Sum")
def _add(step: Step) -> str:
    return step.fit(step.by_output)


@rule("Mean")
def _mean(step: Step) -> str:
    return step.fit(step.writer.scaled(step.by_output, 1 / len(step.node.input)))


@rule("Sub")
def _sub(step: Step) -> str:
    return step.fit(step.by_output if step.index == 0 else step.writer.add("Neg", step.by_output))


@rule("Mul")
def _mul(step: Step) -> str:
    return step.fit(step.times(step.node.input[1 - step.index]))


@rule("Div")
def _div(step: Step) -> str:
    writer = step.writer
    share = writer.add("Div", step.by_output, step.node.input[1])
    return step.fit(share if step.index == 0 else writer.add("Neg", writer.add("Mul", share, step.y)))


@rule("Pow", data=(0,))
def _pow(step: Step) -> str:
    exponent, writer = step.require_constant(1).astype(np.float64), step.writer
    below = np.where(exponent == 0, 0, exponent - 1)  # the slope of x^0 is 0, at x = 0 as well
    x = step.x
    if np.any(exponent != np.rint(exponent)):  # has no value below 0, so nothing is cut off there
        x = writer.add("Max", x, writer.constant(_LEAST_ROOT**2)) if exponent.size == 1 else x
    lower = writer.add("Pow", x, writer.constant(below))
    return step.fit(step.times(writer.add("Mul", lower, writer.constant(exponent))))


@rule("Sqrt")
def _sqrt(step: Step) -> str:
    root = step.writer.add("Max", step.y, step.writer.constant(_LEAST_ROOT))
    return step.writer.add("Div", step.writer.scaled(step.by_output, 0.5), root)


@rule("Exp")
def _exp(step: Step) -> str:
    return step.times(step.y)


@rule("Log")
def _log(step: Step) -> str:
    return step.writer.add("Div", step.by_output, step.x)


@rule("Reciprocal")
def _reciprocal(step: Step) -> str:
    return step.writer.add("Neg", step.times(step.writer.add("Mul", step.y, step.y)))


@rule("Abs")
def _abs(step: Step) -> str:
    return step.times(step.writer.add("Sign", step.x))


@rule("Neg")
def _neg(step: Step) -> str:
    return step.writer.add("Neg", step.by_output)


@rule("Max", "Min")
def _extreme(step: Step) -> str:
    """To the one that is it; in equal parts to equal ones, of which constants take none."""
    writer = step.writer
    free = [name for name in step.node.input if not step.is_constant(name)]
    share = step.by_output
    if len(free) > 1:
        count = writer.add("Sum", *(_is_it(step, name) for name in free))
        share = writer.add(
            "Div", share, writer.add("Max", count, writer.constant(1))
        )  # 0 where a constant is it
    return step.fit(writer.where(writer.add("Equal", step.x, step.y), share))


def _is_it(step: Step, name: str) -> str:
    """1 where an input is the output, else 0."""
    return step.writer.add("Cast", step.writer.add("Equal", name, step.y), to=TensorProto.FLOAT)


@rule("Where")
def _where(step: Step) -> str | None:
    """A condition is a step: its derivative is 0."""
    if step.index == 0:
        return None
    zero = step.writer.constant(0)
    pair = (step.by_output, zero) if step.index == 1 else (zero, step.by_output)
    return step.fit(step.writer.add("Where", step.node.input[0], *pair))


@rule("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Xor", "Not")
def _condition(_: Step) -> None:
    return None
