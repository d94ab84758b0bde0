"""Where the taps (layer outputs) of an ONNX graph are and which constants correct them. Only reads the graph.

A tap is the output of a Conv, ConvTranspose, Gemm or MatMul + Add whose weights are constants (float32, or int8
behind a DequantizeLinear with one scale per output channel or for the layer), or of an inference
BatchNormalization.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from calibration.errors import ModelError
from calibration.targets.base import SkippedLayer
from calibration.targets.onnx.graph import OnnxGraph, attribute, label, operator, subgraphs, tensors_read
from calibration.targets.tap_choice import LayerSkipped, Step, choose_taps, holds_decoding

_NORM = "BatchNormalization"
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_UNKNOWN_WEIGHTED = ("LSTM", "GRU", "RNN", "Einsum", "DeformConv")
"""Hold weights too, but their output is never corrected. So do operators of other domains that read a constant of
several axes, such as the FusedConv of ONNX Runtime's optimizer."""

_SELECTING = ("NonZero", "NonMaxSuppression", "Compress", "Unique")
"""Give as many entries as the input has of something."""
_OF_THE_FIRST_ONLY = ("ScatterND", "ScatterElements", "Shape")
"""Their output has the shape of the first input, or holds nothing of the rows."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A parameter of a layer: a float32 constant, or an integer one with its scale."""

    name: str
    scale: str = ""
    """Empty for a float32 constant."""
    zero_point: str = ""
    """Empty for 0."""
    channel_axis: int = 0
    """Axis of the integer tensor that ``scale`` belongs to."""


@dataclass(frozen=True, slots=True)
class OnnxTap:
    """A tap and the constants behind it."""

    name: str
    """The tensor it is measured at."""
    node: str
    """Name of the layer, for people."""
    op: str
    channels: int
    rank: int
    layer_output: str
    """Output of the node that holds the weights; differs from ``name`` for MatMul + Add."""
    weight: Constant
    bias: Constant | None
    channel_axis: int = 1
    """1, or the last one for Gemm and MatMul."""
    groups: int = 1
    bias_factor: float = 1.0
    """``beta`` of a Gemm."""

    @property
    def kind(self) -> str:
        """For people."""
        return f"{self.op} int8" if self.weight.scale else f"{self.op} float32"


def find_taps(graph: OnnxGraph) -> tuple[tuple[OnnxTap, ...], tuple[SkippedLayer, ...]]:
    """All taps in graph order, and the layers that stay as they are; see :func:`choose_taps`.

    Raises:
        ModelError: no tap at all, or a BatchNormalization that normalises what comes from the input in training mode.
    """
    _refuse_training_mode(graph)
    fix = "Export it with its convolution weights as float32 constants, and quantize with QDQ and per_channel=True."
    return choose_taps(graph.name, list(_describe_nodes(graph)), fix)


def _describe_nodes(graph: OnnxGraph) -> Iterator[Step[OnnxTap]]:
    of_the_input = {graph.input.name}
    for node in graph.nodes:
        depends_on_input = not of_the_input.isdisjoint(node.input)
        if depends_on_input:
            of_the_input.update(node.output)
        inner = list(_inner_layers(node, frozenset(graph.constants)))
        yield Step(
            label=label(node),
            reads=list(tensors_read(node)),
            writes=node.output,
            rows_from=node.input[:1] if operator(node) in _OF_THE_FIRST_ONLY else node.input,
            has_weights=has_weights(graph, node) or any(has_weights for _, has_weights in inner),
            is_decoding=is_decoding(graph, node),
            is_batch_norm=operator(node) == _NORM,
            is_linear=operator(node) in ("Gemm", "MatMul"),
            is_selecting=depends_on_input and operator(node) in _SELECTING,
            inner_layers=[label(layer) for layer, _ in inner],
            tap=partial(_find_tap, graph, node),
        )


def has_weights(graph: OnnxGraph, node: NodeProto) -> bool:
    """Whether a node is a layer with constant weights."""
    if operator(node) in _WEIGHTED:
        return _is_constant(graph, node.input[1])
    return _is_unknown(graph, node)


def is_decoding(graph: OnnxGraph, node: NodeProto) -> bool:
    """See :func:`calibration.targets.tap_choice.is_decoding`."""
    if operator(node) not in ("Conv", "Gemm", "MatMul") or attribute(node, "transA", 0):
        return False
    source = _find_dequantizer(graph, node.input[1])
    tensor = graph.constants.get(node.input[1] if source is None else source.input[0])
    if tensor is None:
        return False
    if source is not None:
        zero_point = _third_input(source)
        is_known = not zero_point or zero_point in graph.constants
        # One output, or a 4 x 4 matrix: a scale for each output does not bend a line.
        if not is_known or graph.array(source.input[1]).size > 1:
            return False
    is_turned = operator(node) == "MatMul" or (operator(node) == "Gemm" and not attribute(node, "transB", 0))
    return holds_decoding(tensor.dims, lambda: _dequantized(graph, tensor, source), is_turned=is_turned)


def _dequantized(graph: OnnxGraph, tensor: TensorProto, source: NodeProto | None) -> NDArray[np.float64]:
    """The values of weights; ``source`` is their DequantizeLinear, with one scale."""
    value = np.asarray(numpy_helper.to_array(tensor), np.float64)
    if source is None:
        return value
    zero_point = _third_input(source)
    zero = graph.array(zero_point).astype(np.float64).flat[0] if zero_point else 0.0
    return (value - zero) * graph.array(source.input[1]).astype(np.float64).flat[0]


def _is_unknown(graph: OnnxGraph, node: NodeProto) -> bool:
    """Whether a node holds weights, and what they do to its channels is not known."""
    if operator(node) in _UNKNOWN_WEIGHTED:
        return any(_is_constant(graph, name) for name in node.input)
    is_foreign = ":" in operator(node)
    return is_foreign and any(
        len(graph.constants[name].dims) > 1 for name in node.input if name in graph.constants
    )


def _refuse_training_mode(graph: OnnxGraph) -> None:
    of_the_input, training = {graph.input.name}, list[str]()
    for node in graph.nodes:
        if of_the_input.isdisjoint(tensors_read(node)):
            continue  # of constants alone: weights that are standardised, say
        of_the_input.update(node.output)
        if operator(node) == _NORM and attribute(node, "training_mode", 0):
            training.append(label(node))
    if training:
        fix = "Call model.eval() before the export."
        raise ModelError(graph.name, "exported in training mode", "an inference model", fix, training)


def _inner_layers(node: NodeProto, known: frozenset[str]) -> Iterator[tuple[NodeProto, bool]]:
    """The layers in the bodies of control flow, and whether they have constant weights.

    ``known`` are the constants outside of them; what a body computes from constants alone is one too.
    """
    for body in subgraphs(node):
        constants = {*known, *(tensor.name for tensor in body.initializer)}
        for inner in body.node:
            read = [name for name in inner.input if name]
            if constants.issuperset(read) and (read or operator(inner) == "Constant"):
                constants.update(inner.output)
            elif ":" in operator(inner) or operator(inner) in (*_WEIGHTED, *_UNKNOWN_WEIGHTED, _NORM):
                yield inner, not constants.isdisjoint(read)
            yield from _inner_layers(inner, frozenset(constants))


def _is_constant(graph: OnnxGraph, name: str) -> bool:
    if name in graph.constants:
        return True
    source = graph.producer(name, "DequantizeLinear")
    return source is not None and source.input[0] in graph.constants


def _find_tap(graph: OnnxGraph, node: NodeProto) -> OnnxTap | None:
    """The tap of a node, None when it is not a layer with weights."""
    match operator(node):
        case "Conv" | "ConvTranspose":
            return None if _feeds_batch_norm(graph, node) else _read_convolution(graph, node)
        case "BatchNormalization":
            return _read_batch_norm(graph, node)
        case "Gemm":
            return _read_gemm(graph, node)
        case "MatMul" if _is_constant(graph, node.input[1]):
            return _read_matmul(graph, node)
        case "MatMul" if _is_constant(graph, node.input[0]):
            raise LayerSkipped("its weights are on the left: its channels are no axis of the output")
        case op if _is_unknown(graph, node):
            raise LayerSkipped(f"{op} is no layer with one output per channel that is known")
        case _:
            return None


def _feeds_batch_norm(graph: OnnxGraph, node: NodeProto) -> bool:
    """Then the BatchNormalization behind it is the tap."""
    reader = graph.only_consumer(node.output[0])
    return reader is not None and operator(reader) == _NORM


def _read_convolution(graph: OnnxGraph, node: NodeProto) -> OnnxTap:
    groups = int(attribute(node, "group", 1))
    axis = 1 if operator(node) == "ConvTranspose" else 0
    weight = _read_weight(graph, node.input[1], axis)
    shape = graph.constants[weight.name].dims
    if axis and groups > 1 and weight.scale:
        raise LayerSkipped("grouped ConvTranspose in int8: its weight scales are shared between groups")
    channels = int(shape[axis]) * (groups if axis else 1)
    return _complete(graph, node, weight, _third_input(node), channels, rank=len(shape), groups=groups)


def _read_batch_norm(graph: OnnxGraph, node: NodeProto) -> OnnxTap:
    scale, bias = (_read_bias(graph, name, None) for name in node.input[1:3])
    if scale is None or bias is None or scale.scale or bias.scale:
        raise LayerSkipped("its scale or bias is not a float32 constant")
    shape = graph.shapes.get(node.output[0]) or graph.shapes.get(node.input[0])
    if shape is None:
        raise LayerSkipped("the shape of its output is unknown")
    channels = int(graph.constants[scale.name].dims[0])
    return _complete(graph, node, scale, bias.name, channels, rank=len(shape))


def _read_gemm(graph: OnnxGraph, node: NodeProto) -> OnnxTap:
    if attribute(node, "transA", 0) or not attribute(node, "alpha", 1.0):
        raise LayerSkipped("a Gemm with transA or alpha 0 is not a linear layer")
    axis = 0 if attribute(node, "transB", 0) else 1
    weight = _read_weight(graph, node.input[1], axis)
    channels = int(graph.constants[weight.name].dims[axis])
    bias, beta = _third_input(node), float(attribute(node, "beta", 1.0))
    if bias and not beta:
        raise LayerSkipped("a Gemm that ignores its bias (beta 0)")
    return _complete(graph, node, weight, bias, channels, rank=2, bias_factor=beta if bias else 1.0)


def _read_matmul(graph: OnnxGraph, node: NodeProto) -> OnnxTap:
    """MatMul with constant weights and the Add of its bias; the tap is behind the Add."""
    weight = _read_weight(graph, node.input[1], 1)
    shape = graph.constants[weight.name].dims
    rank = len(graph.shapes.get(node.output[0], []))
    if len(shape) != 2 or rank < 2:
        raise LayerSkipped("a MatMul that is not a linear layer of known rank")
    product = skip_rounding(graph, node.output[0])
    adder = graph.only_consumer(product)
    bias = "" if adder is None or operator(adder) != "Add" else next(n for n in adder.input if n != product)
    if adder is None or _read_bias(graph, bias, int(shape[1])) is None:
        raise LayerSkipped("a MatMul without a bias to correct")
    channels, axis = int(shape[1]), rank - 1
    return _complete(graph, node, weight, bias, channels, adder.output[0], rank=rank, channel_axis=axis)


def _third_input(node: NodeProto) -> str:
    """The third input; empty when there is none."""
    return str(node.input[2]) if len(node.input) > 2 else ""


def _complete(
    graph: OnnxGraph, node: NodeProto, weight: Constant, bias: str, channels: int, name: str = "", **more: Any
) -> OnnxTap:
    name = name or node.output[0]
    if name in graph.outputs:
        raise LayerSkipped("its output is an output of the model")
    own = channels // more.get("groups", 1) if operator(node) == "ConvTranspose" else channels
    # one scale for all of them is spread when it is patched
    if weight.scale and graph.array(weight.scale).size not in (1, own):
        raise LayerSkipped("its weight scales are not one per output channel")
    return OnnxTap(
        name=name,
        node=label(node),
        op=operator(node),
        channels=channels,
        layer_output=node.output[0],
        weight=weight,
        bias=_read_bias(graph, bias, channels),
        **more,
    )


def skip_rounding(graph: OnnxGraph, name: str) -> str:
    """``name`` itself, or what a QuantizeLinear and a DequantizeLinear that alone read it make of it."""
    rounded = graph.only_consumer(name)
    if rounded is None or operator(rounded) != "QuantizeLinear":
        return name
    back = graph.only_consumer(rounded.output[0])
    return name if back is None or operator(back) != "DequantizeLinear" else str(back.output[0])


def _read_weight(graph: OnnxGraph, name: str, axis: int) -> Constant:
    """The constant behind a weight input."""
    if graph.uses(name) > 1:
        raise LayerSkipped("its weights are shared with another layer")
    if name in graph.constants:
        return _read_float_constant(graph, name, axis)
    source = _find_dequantizer(graph, name)
    if source is None:
        raise LayerSkipped("its weights are not constants")
    return _read_dequantized(graph, source, axis)


def _find_dequantizer(graph: OnnxGraph, name: str) -> NodeProto | None:
    """The DequantizeLinear of constants that makes ``name``."""
    source = graph.producer(name, "DequantizeLinear")
    return source if source is not None and graph.constants.keys() >= set(source.input[:2]) else None


def _read_float_constant(graph: OnnxGraph, name: str, axis: int = 0) -> Constant:
    if graph.array(name).dtype != np.float32:
        raise LayerSkipped(f"its weights are {graph.array(name).dtype}, not float32")
    return Constant(name, channel_axis=axis)


def _read_dequantized(graph: OnnxGraph, source: NodeProto, axis: int) -> Constant:
    """The integer constant behind a DequantizeLinear."""
    if any(graph.uses(part) > 1 for part in source.input[:2]):
        raise LayerSkipped("its weights or their scale are shared with another layer")
    zero_point = _third_input(source)
    if zero_point and zero_point not in graph.constants:
        raise LayerSkipped("its weights are not constants")
    scale = graph.array(source.input[1])
    if scale.dtype != np.float32 or scale.ndim > 1:
        raise LayerSkipped("weight scales that are not float32 and one per channel (blocked or float16)")
    rank = len(graph.constants[source.input[0]].dims)
    declared = int(attribute(source, "axis", 1)) % max(rank, 1)
    if scale.size > 1 and declared != axis:
        raise LayerSkipped("weight scales along another axis than the output channels")
    return Constant(source.input[0], source.input[1], zero_point, axis)


def _read_bias(graph: OnnxGraph, name: str, channels: int | None) -> Constant | None:
    """The constant behind a bias input; None when there is none."""
    if not name:
        return None
    if graph.uses(name) > 1:
        raise LayerSkipped("its bias is shared with another layer")
    if name in graph.constants:
        bias = _read_float_constant(graph, name)
        if channels is not None and graph.array(name).size != channels:
            raise LayerSkipped("its bias is not one value per channel")
        return bias
    source = _find_dequantizer(graph, name)
    if source is None:
        raise LayerSkipped("its bias is not a constant")
    bias = _read_dequantized(graph, source, 0)
    size, scales = (graph.array(part).size for part in source.input[:2])
    if channels is not None and (size != channels or scales not in (1, channels)):
        raise LayerSkipped("its bias is not one value per channel")
    return bias
