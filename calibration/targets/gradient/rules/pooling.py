"""Pools with a window."""

from collections.abc import Sequence

import numpy as np

from calibration.targets.base import NoDerivative
from calibration.targets.gradient.program import Array
from calibration.targets.gradient.rules.moving import put_back
from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.rules.windows import Window, spread, window_of
from calibration.targets.gradient.step import Step


@rule("MaxPool")
def _max_pool(step: Step) -> str:
    """Where the largest values lay, MaxPool itself says: places in the whole tensor."""
    if step.attribute("storage_order", 0):
        raise NoDerivative("MaxPool in column order")
    given = step.node.output[1] if len(step.node.output) > 1 else ""
    places = given or step.writer.second_outputs.setdefault(step.y, step.writer.name())
    return put_back(step, step.writer.reshape(places, [-1]))


@rule("AveragePool")
def _average_pool(step: Step) -> str:
    kernel = tuple(step.attribute("kernel_shape", []))
    size, out = step.size(step.x), step.size(step.y)
    window, writer = window_of(step, kernel, size[2:], out[2:]), step.writer
    counts = _window_counts(window, size[2:], out[2:], all_of_it=bool(step.attribute("count_include_pad", 0)))
    share = writer.add("Div", step.by_output, writer.constant(counts))
    planes = writer.reshape(share, [size[0] * size[1], 1, *out[2:]])
    ones = writer.constant(np.ones((1, 1, *kernel)))
    return writer.reshape(spread(writer, planes, ones, window, 1, (out[2:], size[2:])), size)


def _window_counts(window: Window, large: Sequence[int], small: Sequence[int], *, all_of_it: bool) -> Array:
    """How many values each mean is of: those inside of the input, or of its border too."""
    counts = np.ones(())
    for axis, (n, out) in enumerate(zip(large, small, strict=True)):
        first = np.arange(out) * window.strides[axis] - window.before[axis]
        places = first[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        low, high = (-window.before[axis], n + window.after[axis]) if all_of_it else (0, n)
        counts = np.multiply.outer(counts, ((places >= low) & (places < high)).sum(axis=1))
    return np.maximum(counts, 1)
