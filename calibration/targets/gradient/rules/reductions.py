"""Sums, means and extremes over axes."""

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import TensorProto

from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.step import Step

_LEAST_NORM = 1e-12
"""Of a vector of zeros, whose gradient is 0 here."""


def _axes(step: Step) -> list[int]:
    """An attribute up to opset 17, an input from 18 on."""
    rank = len(step.size(step.x))
    given = step.value(1) if len(step.node.input) > 1 else step.attribute("axes", None)
    axes = [] if given is None else [int(axis) % rank for axis in np.asarray(given).ravel()]
    return axes if axes or step.attribute("noop_with_empty_axes", 0) else list(range(rank))


def _widen(step: Step, name: str) -> str:
    """A reduced tensor with an axis of one entry where an axis was reduced."""
    size, axes = step.size(step.x), _axes(step)
    return step.writer.reshape(name, [1 if i in axes else n for i, n in enumerate(size)])


def _expand(step: Step, name: str) -> str:
    return step.writer.add("Expand", name, step.writer.ints(step.size(step.x)))


@rule("ReduceSum", data=(0,))
def _sum(step: Step) -> str:
    return _expand(step, _widen(step, step.by_output))


@rule("ReduceMean", data=(0,))
def _mean(step: Step) -> str:
    count = prod(step.size(step.x)[axis] for axis in _axes(step))
    return _expand(step, _widen(step, step.writer.scaled(step.by_output, 1 / max(count, 1))))


@rule("GlobalAveragePool")
def _global_average(step: Step) -> str:
    return _expand(step, step.writer.scaled(step.by_output, 1 / prod(step.size(step.x)[2:])))


@rule("ReduceMax", "ReduceMin", data=(0,))
def _extreme(step: Step) -> str:
    return _to_the_extreme(step, _widen(step, step.y), _widen(step, step.by_output), _axes(step))


@rule("GlobalMaxPool")
def _global_max(step: Step) -> str:
    return _to_the_extreme(step, step.y, step.by_output, range(2, len(step.size(step.x))))


def _to_the_extreme(step: Step, y: str, gradient: str, axes: Sequence[int]) -> str:
    """In equal parts to all values that are it."""
    writer = step.writer
    is_it = writer.add("Cast", writer.add("Equal", step.x, y), to=TensorProto.FLOAT)
    share = writer.add("Div", gradient, writer.sum_over(is_it, axes, keep=True))
    return writer.add("Mul", is_it, share)


@rule("ReduceL1", data=(0,))
def _l1(step: Step) -> str:
    return step.writer.add("Mul", step.writer.add("Sign", step.x), _widen(step, step.by_output))


@rule("ReduceL2", data=(0,))
def _l2(step: Step) -> str:
    norm = step.writer.add("Max", step.y, step.writer.constant(_LEAST_NORM))
    share = step.writer.add("Div", step.by_output, norm)
    return step.writer.add("Mul", step.x, _widen(step, share))


@rule("ReduceSumSquare", data=(0,))
def _sum_of_squares(step: Step) -> str:
    return step.writer.add("Mul", step.x, _widen(step, step.writer.scaled(step.by_output, 2)))


@rule("ReduceLogSumExp", data=(0,))
def _log_sum_exp(step: Step) -> str:
    writer = step.writer
    share = writer.add("Exp", writer.add("Sub", step.x, _widen(step, step.y)))
    return writer.add("Mul", share, _widen(step, step.by_output))
