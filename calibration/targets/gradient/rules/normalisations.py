"""Normalisations, with fixed moments and with those of the frame."""

from collections.abc import Sequence
from math import prod

import numpy as np

from calibration.targets.base import NoDerivative
from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.step import Step, Writer

_LEAST_NORM = 1e-12
"""Of a vector of zeros, whose gradient is 0 here."""


@rule("BatchNormalization", data=(0,))
def _batch_norm(step: Step) -> str:
    if step.attribute("training_mode", 0):
        raise NoDerivative("BatchNormalization in training mode")
    gamma, _, _, var = (step.require_constant(i) for i in (1, 2, 3, 4))
    factor = gamma / np.sqrt(var + step.attribute("epsilon", 1e-5))
    return step.times(_by_channel(step, factor))


def _by_channel(step: Step, values: object) -> str:
    """A constant (C,) that broadcasts over axis 1 of the input."""
    return step.writer.constant(np.asarray(values).reshape(-1, *[1] * (len(step.size(step.x)) - 2)))


@rule("InstanceNormalization", data=(0,))
def _instance_norm(step: Step) -> str:
    size, eps = step.size(step.x), step.attribute("epsilon", 1e-5)
    scaled = step.times(_by_channel(step, step.require_constant(1)))
    return _through_norm(step.writer, step.x, scaled, size, range(2, len(size)), eps)


@rule("LayerNormalization", data=(0,))
def _layer_norm(step: Step) -> str:
    size, eps = step.size(step.x), step.attribute("epsilon", 1e-5)
    axis = int(step.attribute("axis", -1)) % len(size)
    scaled = step.times(step.writer.constant(step.require_constant(1)))
    return _through_norm(step.writer, step.x, scaled, size, range(axis, len(size)), eps)


@rule("GroupNormalization", data=(0,))
def _group_norm(step: Step) -> str:
    """One scale for a channel; opset 18 had one for a group."""
    size, writer, gamma = step.size(step.x), step.writer, step.require_constant(1)
    groups = int(step.attribute("num_groups", 1))
    if gamma.size == groups:
        gamma = np.repeat(gamma, size[1] // groups)
    parts = (size[0], groups, prod(size[1:]) // groups)
    scaled = writer.reshape(step.times(_by_channel(step, gamma)), parts)
    x = writer.reshape(step.x, parts)
    return writer.reshape(_through_norm(writer, x, scaled, parts, [2], step.attribute("epsilon", 1e-5)), size)


def _through_norm(
    writer: Writer, x: str, gradient: str, size: Sequence[int], over: Sequence[int], eps: float
) -> str:
    """Behind ``(x - mean) / sqrt(var + eps)`` over some axes of ``x``, which has ``size``."""
    axes = list(over)
    count = prod(size[axis] for axis in axes)

    def mean(name: str) -> str:
        return writer.scaled(writer.sum_over(name, axes, keep=True), 1 / count)

    off = writer.add("Sub", x, mean(x))
    var = writer.add("Add", mean(writer.add("Mul", off, off)), writer.constant(eps))
    unit = writer.add("Reciprocal", writer.add("Sqrt", var))
    normal = writer.add("Mul", off, unit)
    own = mean(gradient)
    shared = writer.add("Mul", normal, mean(writer.add("Mul", gradient, normal)))
    return writer.add("Mul", unit, writer.add("Sub", writer.add("Sub", gradient, own), shared))


@rule("LpNormalization")
def _lp_norm(step: Step) -> str:
    """``x / norm``: what changes the length alone changes nothing."""
    writer, axis = step.writer, [int(step.attribute("axis", -1))]
    along = writer.sum_over(step.times(step.y), axis, keep=True)
    if int(step.attribute("p", 2)) == 1:
        direction, lengths = writer.add("Sign", step.x), writer.add("Abs", step.x)
        norm = writer.sum_over(lengths, axis, keep=True)
    else:
        direction, squares = step.y, writer.add("Mul", step.x, step.x)
        norm = writer.add("Sqrt", writer.sum_over(squares, axis, keep=True))
    across = writer.add("Sub", step.by_output, writer.add("Mul", direction, along))
    return writer.add("Div", across, writer.add("Max", norm, writer.constant(_LEAST_NORM)))


@rule("LRN")
def _lrn(step: Step) -> str:
    """``x * base^-beta``, with ``base`` the bias and a sum of squares over near channels: a product with a matrix."""
    writer, size = step.writer, step.size(step.x)
    width, alpha, beta = (step.attribute(n, d) for n, d in (("size", 1), ("alpha", 1e-4), ("beta", 0.75)))
    off = np.arange(size[1]) - np.arange(size[1])[:, None]  # of column from row
    near = (off >= -((width - 1) // 2)) & (off <= width // 2)
    flat = [size[0], size[1], prod(size[2:])]
    x, gradient = writer.reshape(step.x, flat), writer.reshape(step.by_output, flat)
    sums = writer.add("MatMul", writer.constant(near * (alpha / width)), writer.add("Mul", x, x))
    base = writer.add("Add", sums, writer.constant(step.attribute("bias", 1.0)))
    power = writer.add("Pow", base, writer.constant(-beta))
    share = writer.add("Mul", gradient, writer.add("Div", writer.add("Mul", x, power), base))
    others = writer.add("MatMul", writer.constant(near.T * (2 * beta * alpha / width)), share)
    found = writer.add("Sub", writer.add("Mul", gradient, power), writer.add("Mul", x, others))
    return writer.reshape(found, size)
