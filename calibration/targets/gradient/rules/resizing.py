"""Resize: one matrix per axis, found by resizing unit vectors; the way back is their transposes."""

from math import prod

import numpy as np

from calibration.targets.base import NoDerivative
from calibration.targets.gradient.program import Array
from calibration.targets.gradient.rules.moving import run_alone
from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.step import Step


@rule("Resize", data=(0,))
def _resize(step: Step) -> str:
    if step.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise NoDerivative("Resize with a region")
    kept = _kept_axes(step)
    rank, writer, found = len(step.size(step.x)), step.writer, step.by_output
    for axis in range(rank):
        if axis in kept:
            continue
        matrix = writer.constant(_matrix_of(step, axis, kept))  # (out, in)
        last = [i for i in range(rank) if i != axis] + [axis]
        turned = writer.transpose(found, last)
        found = writer.transpose(writer.add("MatMul", turned, matrix), np.argsort(last).tolist())
    return found


def _kept_axes(step: Step) -> list[int]:
    """The axes along which nothing happens: a scale of 1, not a size that is the same after rounding."""
    size, out = step.size(step.x), step.size(step.y)
    scales, axes = step.value(2), step.attribute("axes", None)
    along = [a % len(size) for a in (range(len(size)) if axes is None else axes)]
    others = [axis for axis in range(len(size)) if axis not in along]
    if scales is not None and scales.size:
        return others + [axis for axis, scale in zip(along, scales.tolist(), strict=True) if scale == 1]
    if step.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        return others
    return others + [axis for axis in along if size[axis] == out[axis]]


def _matrix_of(step: Step, axis: int, kept: list[int]) -> Array:
    """(out, in) of one axis: what is constant along the other resized axes is resized along this one alone.

    Many unit vectors at once, one at each place of the axes that are kept.
    """
    size, out = step.size(step.x), step.size(step.y)
    changed = [i for i in range(len(size)) if i not in (*kept, axis)]
    order = [*kept, *changed, axis]
    places, length = prod(size[i] for i in kept), size[axis]
    columns = list[Array]()
    for first in range(0, length, places):
        units = np.zeros((places, prod(size[i] for i in changed), length), np.float32)
        units[np.arange(places), :, (np.arange(places) + first) % length] = 1
        turned = units.reshape([size[i] for i in order])
        [y] = run_alone(step, [np.ascontiguousarray(turned.transpose(np.argsort(order)))])
        columns += list(y.transpose(order).reshape(places, -1, out[axis])[:, 0])
    return np.stack(columns[:length], axis=1)
