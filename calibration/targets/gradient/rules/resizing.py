"""Resize: one matrix per axis, found by resizing unit vectors; the way back is their transposes."""

from dataclasses import replace

import numpy as np
from onnx import NodeProto

from calibration.targets.base import NoDerivative
from calibration.targets.gradient.program import Array
from calibration.targets.gradient.rules.moving import run_alone
from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.step import Step

_LARGEST_MATRIX = 1 << 24
"""Numbers in the matrix of an axis: 64 MiB."""

_UNITS = 256
"""Unit vectors at a time: 4 MiB for an axis of 4096 places."""


@rule("Resize", data=(0,))
def _resize(step: Step) -> str:
    if step.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise NoDerivative("Resize with a region")
    kept = _kept_axes(step)
    rank, writer, found = len(step.size(step.x)), step.writer, step.by_output
    for axis in range(rank):
        if axis in kept:
            continue
        matrix = writer.constant(_matrix_of(step, axis))  # (out, in)
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


def _matrix_of(step: Step, axis: int) -> Array:
    """(out, in) of one axis: unit vectors are resized along this one alone, some at a time."""
    length, wanted = step.size(step.x)[axis], step.size(step.y)[axis]
    if length * wanted > _LARGEST_MATRIX:
        raise NoDerivative(f"Resize from {length} to {wanted} places")
    scale = _scale_of(step, axis)
    alone = replace(step, node=_without(step.node, "axes", "keep_aspect_ratio_policy"))
    parts = list[Array]()
    for first in range(0, length, _UNITS):
        units = np.eye(min(_UNITS, length - first), length, first, np.float32)[None, None]
        if scale is None:
            sizes = np.array([1, 1, units.shape[2], wanted], np.int64)
            [y] = run_alone(alone, [units, None, None, sizes])
        else:
            [y] = run_alone(alone, [units, None, np.array([1, 1, 1, scale], np.float32), None])
        parts.append(y[0, 0])
    found = np.concatenate(parts).T
    if found.shape != (wanted, length):  # one that keeps the proportions rounds sizes in another way
        raise NoDerivative("Resize that keeps the proportions")
    return np.ascontiguousarray(found)


def _scale_of(step: Step, axis: int) -> float | None:
    """Of one axis; None where it is that of the sizes."""
    size = step.size(step.x)
    scales, axes = step.value(2), step.attribute("axes", None)
    along = [a % len(size) for a in (range(len(size)) if axes is None else axes)]
    if scales is not None and scales.size:
        return float(scales[along.index(axis)])
    policy = step.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return None
    ratios = [float(n / size[a]) for n, a in zip(step.require_constant(3).tolist(), along, strict=True)]
    return min(ratios) if policy == "not_larger" else max(ratios)


def _without(node: NodeProto, *attributes: str) -> NodeProto:
    """A copy that lacks some attributes."""
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(item for item in node.attribute if item.name not in attributes)
    return copy
