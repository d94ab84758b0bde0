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
from onnx import NodeProto

from calibration.errors import ModelError
from calibration.targets.base import SkippedLayer
from calibration.targets.onnx.graph import OnnxGraph, attribute, subgraphs
from calibration.targets.tap_choice import LayerSkipped, Step, choose_taps

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_UNKNOWN_WEIGHTED = ("LSTM", "GRU", "RNN", "Einsum", "DeformConv", "FusedConv", "FusedGemm", "FusedMatMul")
"""Hold weights too (the last three come from ONNX Runtime's optimizer), but their output is never corrected."""

_SELECTING = ("NonZero", "NonMaxSuppression", "Compress", "Unique")
"""Give as many entries as the picture has of something."""
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
        ModelError: no tap at all, or a BatchNormalization in training mode.
    """
    _refuse_training_mode(graph)
    fix = "Export it with its convolution weights as float32 constants, and quantize with QDQ and per_channel=True."
    return choose_taps(graph.name, list(_describe_nodes(graph)), fix)


def _describe_nodes(graph: OnnxGraph) -> Iterator[Step[OnnxTap]]:
    of_the_picture = {graph.input.name}
    for node in graph.nodes:
        depends_on_picture = not of_the_picture.isdisjoint(node.input)
        if depends_on_picture:
            of_the_picture.update(node.output)
        yield Step(
            label=label(node),
            reads=node.input,
            writes=node.output,
            rows_from=node.input[:1] if node.op_type in _OF_THE_FIRST_ONLY else node.input,
            has_weights=node.op_type in _WEIGHTED and _is_constant(graph, node.input[1]),
            is_batch_norm=node.op_type == "BatchNormalization",
            is_linear=node.op_type in ("Gemm", "MatMul"),
            is_selecting=depends_on_picture and node.op_type in _SELECTING,
            inner_layers=[label(inner) for inner in _inner_layers(node)],
            tap=partial(_find_tap, graph, node),
        )


def label(node: NodeProto) -> str:
    """A layer's name for people."""
    return str(node.name or node.output[0])


def _refuse_training_mode(graph: OnnxGraph) -> None:
    norms = [node for node in graph.nodes if node.op_type == "BatchNormalization"]
    training = [label(node) for node in norms if attribute(node, "training_mode", 0)]
    if training:
        fix = "Call model.eval() before the export."
        raise ModelError(graph.name, "exported in training mode", "an inference model", fix, training)


def _inner_layers(node: NodeProto) -> Iterator[NodeProto]:
    for body in subgraphs(node):
        for inner in body.node:
            if inner.op_type in (*_WEIGHTED, *_UNKNOWN_WEIGHTED, "BatchNormalization"):
                yield inner
            yield from _inner_layers(inner)


def _is_constant(graph: OnnxGraph, name: str) -> bool:
    if name in graph.constants:
        return True
    source = graph.producer(name, "DequantizeLinear")
    return source is not None and source.input[0] in graph.constants


def _find_tap(graph: OnnxGraph, node: NodeProto) -> OnnxTap | None:
    """The tap of a node, None when it is not a layer with weights."""
    match node.op_type:
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
        case op if op in _UNKNOWN_WEIGHTED and any(_is_constant(graph, name) for name in node.input):
            raise LayerSkipped(f"{op} is no layer with one output per channel")
        case _:
            return None


def _feeds_batch_norm(graph: OnnxGraph, node: NodeProto) -> bool:
    """Then the BatchNormalization behind it is the tap."""
    reader = graph.only_consumer(node.output[0])
    return reader is not None and reader.op_type == "BatchNormalization"


def _read_convolution(graph: OnnxGraph, node: NodeProto) -> OnnxTap:
    groups = int(attribute(node, "group", 1))
    axis = 1 if node.op_type == "ConvTranspose" else 0
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
    bias = "" if adder is None or adder.op_type != "Add" else next(n for n in adder.input if n != product)
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
    own = channels // more.get("groups", 1) if node.op_type == "ConvTranspose" else channels
    # one scale for all of them is spread when it is patched
    if weight.scale and graph.array(weight.scale).size not in (1, own):
        raise LayerSkipped("its weight scales are not one per output channel")
    return OnnxTap(
        name=name,
        node=label(node),
        op=node.op_type,
        channels=channels,
        layer_output=node.output[0],
        weight=weight,
        bias=_read_bias(graph, bias, channels),
        **more,
    )


def skip_rounding(graph: OnnxGraph, name: str) -> str:
    """``name`` itself, or what a QuantizeLinear and a DequantizeLinear that alone read it make of it."""
    rounded = graph.only_consumer(name)
    if rounded is None or rounded.op_type != "QuantizeLinear":
        return name
    back = graph.only_consumer(rounded.output[0])
    return name if back is None or back.op_type != "DequantizeLinear" else str(back.output[0])


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
