"""What only moves values, or repeats them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from onnx import NodeProto, TensorProto, helper

from calibration.targets.base import NoDerivative
from calibration.targets.gradient.program import Array
from calibration.targets.gradient.rules.registry import rule
from calibration.targets.gradient.session import FloatSession, to_model
from calibration.targets.gradient.step import Step


@rule("Identity")
def _identity(step: Step) -> str:
    return step.by_output


@rule("Dropout", data=(0,))
def _dropout(step: Step) -> str:
    if np.any(step.value(2)):
        raise NoDerivative("Dropout in training mode")
    return step.by_output


@rule("Cast")
def _cast(step: Step) -> str:
    if step.attribute("to", 0) not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE):
        raise NoDerivative("Cast to whole numbers")
    return step.by_output


@rule("Reshape", "Flatten", "Squeeze", "Unsqueeze", data=(0,))
def _reshape(step: Step) -> str:
    return step.writer.reshape(step.by_output, step.size(step.x))


@rule("Transpose")
def _transpose(step: Step) -> str:
    rank = len(step.size(step.x))
    return step.writer.transpose(
        step.by_output, np.argsort(step.attribute("perm", range(rank)[::-1])).tolist()
    )


@rule("Concat")
def _concat(step: Step) -> str:
    axis = int(step.attribute("axis", 0)) % len(step.size(step.y))
    lengths = [step.size(name)[axis] for name in step.node.input]
    start, ints = sum(lengths[: step.index]), step.writer.ints
    return step.writer.add(
        "Slice", step.by_output, ints([start]), ints([start + lengths[step.index]]), ints([axis])
    )


@rule("Split", data=(0,), outputs=True)
def _split(step: Step) -> str:
    axis, writer = int(step.attribute("axis", 0)) % len(step.size(step.x)), step.writer
    parts = [
        given or writer.add("ConstantOfShape", writer.ints(step.size(name)))
        for name, given in zip(step.node.output, step.by_outputs, strict=True)
    ]
    return writer.add("Concat", *parts, axis=axis)


@rule("Slice", data=(0,))
def _slice(step: Step) -> str:
    """Without steps a border of zeros."""
    size = step.size(step.x)
    starts, ends = step.require_constant(1), step.require_constant(2)
    axes, steps = step.value(3), step.value(4)
    axes = np.arange(len(starts)) if axes is None else axes
    if steps is not None and np.any(steps != 1):
        return _put_back_moved(step)
    low, high = [0] * len(size), [0] * len(size)
    for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
        first, last, _ = slice(start, end).indices(size[axis])
        low[axis], high[axis] = first, size[axis] - max(last, first)
    return step.writer.add("Pad", step.by_output, step.writer.ints(low + high))


@rule("Pad", data=(0,))
def _pad(step: Step) -> str:
    size = step.size(step.x)
    if step.text("mode", "constant") != "constant":
        node = NodeProto()
        node.CopyFrom(step.node)
        node.input[2:3] = [""] * len(
            node.input[2:3]
        )  # a value that is not read, of another type than numbers
        return _put_back_moved(replace(step, node=node))
    pads, axes = step.require_constant(1).reshape(2, -1), step.value(3)
    both = np.zeros((2, len(size)), np.int64)
    both[:, slice(None) if axes is None else axes] = -pads
    return step.writer.add("Pad", step.by_output, step.writer.ints(both.ravel().tolist()))


@rule("DepthToSpace")
def _depth_to_space(step: Step) -> str:
    block, writer = int(step.attribute("blocksize", 1)), step.writer
    if step.text("mode", "DCR") == "DCR":
        return writer.add("SpaceToDepth", step.by_output, blocksize=block)
    n, c, h, w = step.size(step.x)
    parts = writer.reshape(step.by_output, [n, c // block**2, h, block, w, block])
    return writer.reshape(writer.transpose(parts, [0, 1, 3, 5, 2, 4]), [n, c, h, w])


@rule("SpaceToDepth")
def _space_to_depth(step: Step) -> str:
    return step.writer.add("DepthToSpace", step.by_output, blocksize=int(step.attribute("blocksize", 1)))


@rule("Expand", data=(0,))
def _expand(step: Step) -> str:
    return step.fit(step.by_output)


@rule("Tile", data=(0,))
def _tile(step: Step) -> str:
    size, repeats = step.size(step.x), step.require_constant(1).tolist()
    parts = step.writer.reshape(step.by_output, [n for pair in zip(repeats, size, strict=True) for n in pair])
    return step.writer.sum_over(parts, range(0, 2 * len(size), 2))


@rule("Gather", "GatherElements", "GatherND", data=(0,))
def _gather(step: Step) -> str:
    return _put_back_moved(step)


def _put_back_moved(step: Step) -> str:
    """Where every value comes from is found by moving numbers: the operator runs once on 0, 1, 2 and so on."""
    size = step.size(step.x)
    numbers = np.arange(prod(size), dtype=np.float64).reshape(size)
    [moved] = run_alone(step, [numbers])
    return put_back(step, step.writer.constant(np.rint(moved).ravel(), np.int64))


def put_back(step: Step, places: str) -> str:
    """Add every entry of the gradient to the place that it came from; ``places`` count through the whole input."""
    writer, size = step.writer, step.size(step.x)
    zeros = writer.add("ConstantOfShape", writer.ints([prod(size)]))
    flat = writer.reshape(step.by_output, [prod(step.size(step.y))])
    return writer.reshape(writer.add("ScatterElements", zeros, places, flat, axis=0, reduction="add"), size)


def run_alone(step: Step, arrays: Sequence[Array | None]) -> list[Array]:
    """Run the step's operator by itself on arrays in place of its first inputs; None stands for one left out."""
    node = NodeProto()
    node.CopyFrom(step.node)
    given = {step.writer.name(): array for array in arrays if array is not None}
    left = iter(given)
    names = ["" if array is None else next(left) for array in arrays]
    node.input[: len(names)] = names
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    constants: Mapping[str, Array] = {
        name: value for name, value in step.sized.program.constants.items() if name in node.input
    }
    model = to_model([node], constants, inputs, [node.output[0]], step.sized.program.opset)
    return FloatSession(model, 1).run([node.output[0]], given)
