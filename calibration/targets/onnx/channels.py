"""Where the channels of an ONNX model's input lie: on the axis that its first layer takes them from."""

from functools import partial

from onnx import NodeProto

from calibration.targets.axes import Move, Permute, find_axis_before, insertions, moves_of_reshape, removals
from calibration.targets.base import InputLayout
from calibration.targets.model_input import ModelInput, choose_channel_axis, require_channels
from calibration.targets.onnx.graph import OnnxGraph, attribute, operator

_KEEP_AXES = (
    "Abs", "Add", "AveragePool", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Identity", "LeakyRelu", "Log",
    "Max", "MaxPool", "Min", "Mul", "Neg", "Pad", "Pow", "QuantizeLinear", "Relu", "Resize", "Sigmoid", "Slice", "Sqrt",
    "Sub", "Tanh",
)  # fmt: skip
_CHANNELS_SECOND = ("Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "PRelu")
_CHANNELS_LAST = ("MatMul", "LSTM", "GRU", "RNN")


def locate_channels(graph: OnnxGraph, layout: InputLayout | None) -> ModelInput:
    """The input of ``graph`` with its channel axis as it is told, or as its sizes and its first layer say.

    Raises:
        ModelError: the layout does not fit, or the number of channels is open.
    """
    own = graph.input.own_shape
    axis = choose_channel_axis(graph.name, own, layout, partial(trace_channel_axis, graph))
    found = graph.input.with_channels_on(axis)
    require_channels(graph.name, found, "Export it with a fixed channel count.")
    return found


def trace_channel_axis(graph: OnnxGraph) -> int | None:
    """The axis of the input on which the first layer finds its channels; None where the way is not known."""
    ways: dict[str, tuple[Move, ...]] = {graph.input.name: ()}
    for node in graph.nodes:
        source = next((name for name in node.input if name in ways), None)
        shape = None if source is None else graph.shapes.get(source)
        if source is None or not shape:
            continue
        axis = _channel_axis(node, len(shape))
        if axis is not None:
            found = find_axis_before(ways[source], axis, len(shape))
            return found[0] or None if found else None
        moves = _moves(graph, node, shape)
        if moves is not None:
            ways[node.output[0]] = (*ways[source], *moves)
    return None


def _channel_axis(node: NodeProto, rank: int) -> int | None:
    """Where a layer finds the channels of what it reads; None: it is no layer."""
    kind = operator(node)
    if kind in _CHANNELS_SECOND or (kind == "Gemm" and not attribute(node, "transA", 0)):
        return 1
    return rank - 1 if kind in _CHANNELS_LAST else None


def _moves(graph: OnnxGraph, node: NodeProto, shape: list[int | None]) -> tuple[Move, ...] | None:
    """How a node moves the axes of what it reads; None where it does more than that."""
    after = graph.shapes.get(node.output[0], [])
    match operator(node):
        case "Transpose":
            return (Permute(tuple(attribute(node, "perm", range(len(shape))[::-1]))),)
        case "Reshape" | "Flatten":
            return moves_of_reshape(shape, after)
        case "Unsqueeze" | "Squeeze" as kind if len(node.input) > 1 and node.input[1] in graph.constants:
            axes = [int(axis) for axis in graph.array(node.input[1]).reshape(-1)]
            return (insertions if kind == "Unsqueeze" else removals)(axes, len(shape))
        case kind if kind in _KEEP_AXES and len(after) in (0, len(shape)):
            return ()
    return None
