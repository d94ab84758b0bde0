"""Where the channels of an IR's input lie: as it declares, or on the axis that its first layer takes them from."""

from functools import partial
from typing import Any

import openvino as ov

from calibration.targets.axes import Move, Permute, find_axis_before, insertions, moves_of_reshape, removals
from calibration.targets.base import InputLayout
from calibration.targets.model_input import ModelInput, choose_channel_axis, require_channels
from calibration.targets.openvino.graph import IrGraph, value

_KEEP_AXES = (
    "Abs", "Add", "AvgPool", "Clamp", "Convert", "Divide", "FakeQuantize", "Interpolate", "Log", "MaxPool", "Maximum",
    "Minimum", "Multiply", "Pad", "Power", "PRelu", "Relu", "Sigmoid", "Slice", "Sqrt", "StridedSlice", "Subtract",
    "Tanh",
)  # fmt: skip
_CHANNELS_SECOND = (
    "BatchNormInference", "Convolution", "ConvolutionBackpropData", "GroupConvolution", "GroupConvolutionBackpropData",
)  # fmt: skip
_CHANNELS_LAST = ("MatMul", "LSTMSequence", "GRUSequence", "RNNSequence")

Way = tuple[Move, ...]


def locate_channels(graph: IrGraph, layout: InputLayout | None) -> ModelInput:
    """The input of ``graph`` with its channel axis as it is told or declared, or as sizes and first layer say.

    Raises:
        ModelError: the layout does not fit, or the number of channels is open.
    """
    own, declared = graph.input.own_shape, graph.parameter.get_layout()
    if layout is None and ov.layout_helpers.has_channels(declared):
        axis = int(ov.layout_helpers.channels_idx(declared)) % len(own)
    else:
        axis = choose_channel_axis(graph.name, own, layout, partial(trace_channel_axis, graph))
    found = graph.input.with_channels_on(axis)
    fix = "Fix the number of channels with Model.reshape, or name the layout with Parameter.set_layout."
    require_channels(graph.name, found, fix)
    return found


def trace_channel_axis(graph: IrGraph) -> int | None:
    """The axis of the input on which the first layer finds its channels; None where the way is not known."""
    ways: dict[str, Way] = {graph.parameter.get_name(): ()}
    for node in graph.nodes:
        sources = node.input_values()
        source = next((one for one in sources if one.get_node().get_name() in ways), None)
        if source is None or source.get_partial_shape().rank.is_dynamic:
            continue
        way, shape = ways[source.get_node().get_name()], _sizes(source)
        axis = _channel_axis(node, len(shape))
        if axis is not None:
            found = find_axis_before(way, axis, len(shape))
            return found[0] or None if found else None
        moves = _moves(graph, node, shape)
        if moves is not None:
            ways[node.get_name()] = (*way, *moves)
    return None


def _sizes(output: Any) -> list[int | None]:
    return [None if size.is_dynamic else int(size.get_length()) for size in output.get_partial_shape()]


def _channel_axis(node: Any, rank: int) -> int | None:
    """Where a layer finds the channels of what it reads; None: it is no layer."""
    kind = node.get_type_name()
    if kind in _CHANNELS_SECOND:
        return 1
    return rank - 1 if kind in _CHANNELS_LAST else None


def _moves(graph: IrGraph, node: Any, shape: list[int | None]) -> Way | None:
    """How a node moves the axes of what it reads; None where it does more than that."""
    if node.get_output_size() != 1 or node.output(0).get_partial_shape().rank.is_dynamic:
        return None
    after, kind = _sizes(node.output(0)), node.get_type_name()
    if kind == "Reshape":
        return moves_of_reshape(shape, after)
    if kind in ("Transpose", "Unsqueeze", "Squeeze"):
        if node.get_input_size() < 2 or not graph.is_constant(node.input_value(1)):
            return None
        given = [int(axis) for axis in value(node.input_value(1)).reshape(-1)]
        if kind == "Transpose":
            return (Permute(tuple(given)),)
        return (insertions if kind == "Unsqueeze" else removals)(given, len(shape))
    return () if kind in _KEEP_AXES and len(after) == len(shape) else None
