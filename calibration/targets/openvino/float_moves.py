"""Operators of an IR that only move values, as ONNX operators."""

from collections.abc import Iterator, Mapping

import numpy as np

from calibration.targets.openvino.translation import Operator, Translation, Untranslated

_FIRST, _LAST = -(2**62), 2**62
"""Before and behind every place of an axis."""


def _identity(op: Operator) -> None:
    op.give("Identity", op.x())


def _reshape(op: Operator) -> None:
    """Whatever the shape was computed from: the size of the result is known."""
    op.give("Reshape", op.x(), op.constant(op.result_size))


def _transpose(op: Operator) -> None:
    order = op.numbers(1) or list(range(len(op.size())))[::-1]
    op.give("Transpose", op.x(), perm=order)


def _concat(op: Operator) -> None:
    parts = [op.x(i) for i in range(int(op.node.get_input_size()))]
    op.give("Concat", *parts, axis=int(op.attribute("axis")))


def _split(op: Operator) -> None:
    rank = len(op.size())
    axis = op.numbers(1)[0] % rank
    lengths = [int(output.get_shape()[axis]) for output in op.node.outputs()]
    op.writer.add("Split", [op.x(), op.constant(lengths)], op.outputs, axis=axis)


def _slice(op: Operator) -> None:
    starts, stops, steps = (op.numbers(i) for i in (1, 2, 3))
    axes = op.numbers(4) if op.has(4) else list(range(len(starts)))
    op.give("Slice", op.x(), *map(op.constant, (starts, stops, axes, steps)))


def _strided_slice(op: Operator) -> None:
    """As numpy slices; axes of one entry that come or go are a matter of shape."""
    found = list(_slices(op))
    parts = zip(*((axis, start, stop, step) for axis, start, stop, step in found), strict=True)
    axes, starts, stops, steps = map(list, parts) if found else ([], [], [], [])
    taken = op.add("Slice", op.x(), *map(op.constant, (starts, stops, axes, steps))) if found else op.x()
    op.give("Reshape", taken, op.constant(op.result_size))


def _slices(op: Operator) -> Iterator[tuple[int, int, int, int]]:
    """Axis, start, stop and step of every axis that is named."""
    begin, end = op.numbers(1), op.numbers(2)
    strides = op.numbers(3) if op.has(3) else [1] * len(begin)
    masks = {
        name: [*op.attribute(name, []), *[0] * len(begin)]
        for name in ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask")
    }
    named = sum(not masks["ellipsis_mask"][i] and not masks["new_axis_mask"][i] for i in range(len(begin)))
    axis = 0
    for i, (start, stop, step) in enumerate(zip(begin, end, strides, strict=True)):
        if masks["ellipsis_mask"][i]:
            axis += len(op.size()) - named
        elif masks["new_axis_mask"][i]:
            continue
        elif masks["shrink_axis_mask"][i]:
            yield axis, start, start + 1 if start != -1 else _LAST, 1
            axis += 1
        else:
            first = (_FIRST if step > 0 else _LAST) if masks["begin_mask"][i] else start
            last = (_LAST if step > 0 else _FIRST) if masks["end_mask"][i] else stop
            yield axis, first, last, step
            axis += 1


def _gather(op: Operator) -> None:
    if op.attribute("batch_dims"):
        raise Untranslated(f"{op.kind} with axes in common")
    axis, places = op.numbers(2)[0] % len(op.size()), op.value(1)
    if places.ndim == 1 and np.array_equal(places, np.arange(op.size()[axis])):  # all, in order
        op.give("Identity", op.x())
    else:
        op.give("Gather", op.x(), op.constant(places), axis=axis)


def _gather_elements(op: Operator) -> None:
    op.give("GatherElements", op.x(), op.constant(op.value(1)), axis=int(op.attribute("axis")))


def _gather_nd(op: Operator) -> None:
    op.give("GatherND", op.x(), op.constant(op.value(1)), batch_dims=int(op.attribute("batch_dims")))


def _broadcast(op: Operator) -> None:
    x, wanted = op.x(), op.constant(op.result_size)
    if str(op.attribute("mode")).lower() == "explicit":
        at = op.numbers(2)
        x = op.add("Reshape", x, op.constant([n if i in at else 1 for i, n in enumerate(op.result_size)]))
    op.give("Expand", x, wanted)


def _tile(op: Operator) -> None:
    size, repeats = list(op.size()), op.numbers(1)
    ahead = len(repeats) - len(size)
    x = op.x() if ahead <= 0 else op.add("Reshape", op.x(), op.constant([1] * ahead + size))
    op.give("Tile", x, op.constant([1] * -ahead + repeats))


_PADS = {"constant": "constant", "edge": "edge", "reflect": "reflect"}


def _pad(op: Operator) -> None:
    mode = _PADS.get(str(op.attribute("pad_mode")).lower())
    if mode is None:
        raise Untranslated(f"{op.kind} in the mode {op.attribute('pad_mode')}")
    given = [op.x(), op.constant(op.numbers(1) + op.numbers(2))]
    if mode == "constant" and op.has(3) and op.value(3).any():
        given.append(op.constant(op.value(3).reshape(())))
    op.give("Pad", *given, mode=mode)


def _depth_to_space(op: Operator) -> None:
    """(N, C b^D, ...) to (N, C, ... b): the block's axes come first in the depth, or last."""
    batch, depth, *places = op.size()
    block, rank = int(op.attribute("block_size")), len(places)
    blocks, channels = [block] * rank, depth // block**rank
    if op.attribute("mode") == "blocks_first":
        inner, first_block, channel = [*blocks, channels], 1, rank + 1
    else:
        inner, first_block, channel = [channels, *blocks], 2, 1
    split = op.add("Reshape", op.x(), op.constant([batch, *inner, *places]))
    pairs = [axis for i in range(rank) for axis in (rank + 2 + i, first_block + i)]
    _reshape_to_result(op, op.add("Transpose", split, perm=[0, channel, *pairs]))


def _space_to_depth(op: Operator) -> None:
    """The way back."""
    batch, channels, *places = op.size()
    block, rank = int(op.attribute("block_size")), len(places)
    pairs = [n for place in places for n in (place // block, block)]
    split = op.add("Reshape", op.x(), op.constant([batch, channels, *pairs]))
    outer, blocks = [2 + 2 * i for i in range(rank)], [3 + 2 * i for i in range(rank)]
    is_first = op.attribute("mode") == "blocks_first"
    order = [0, *blocks, 1, *outer] if is_first else [0, 1, *blocks, *outer]
    _reshape_to_result(op, op.add("Transpose", split, perm=order))


def _reshape_to_result(op: Operator, name: str) -> None:
    op.give("Reshape", name, op.constant(op.result_size))


MOVES: Mapping[str, Translation] = {
    "Broadcast": _broadcast,
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Identity": _identity,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _reshape,
    "StridedSlice": _strided_slice,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
    "VariadicSplit": _split,
}
"""By OpenVINO's name of the operator."""

SEVERAL_OUTPUTS = ("Split", "VariadicSplit")
"""What is translated with all of its outputs; of others only the first may be read."""
