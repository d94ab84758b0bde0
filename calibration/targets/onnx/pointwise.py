"""Pointwise int8 convolutions of an ONNX observer as one integer matrix product over channels-last data.

ONNX Runtime's ``MatMulIntegerToFloat`` gives ``(x - zero) @ w * scale + bias`` in float32 from the integers
themselves: the exact sums of the deployed kernel, before its rounding to 8 bits, in a quarter of the time of the
float32 convolution (Zen 4, Lite0). Scale and bias may be computed in the graph, so a correction is the same product
once more. Layers of another form keep the observer's general way.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from calibration.stats.moments import Vector
from calibration.targets.onnx.graph import OnnxGraph, attribute, operator
from calibration.targets.onnx.patch import read_float_bias
from calibration.targets.onnx.taps import OnnxTap

DOMAIN = "com.microsoft"
"""Of the operator: ONNX Runtime's own, on every CPU."""

_ELEMENT_BY_ELEMENT = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh")


@dataclass(frozen=True, slots=True)
class Pointwise:
    """A convolution of 1x1 windows on uint8 data with int8 weights."""

    tap: OnnxTap
    node: NodeProto
    quantized: str
    """The uint8 tensor (N, I, ...) that the layer reads."""
    step: str
    """Name of its scale, a float32 number."""
    zero_point: str
    """Name of its zero point; empty for 0."""
    rows: NDArray[np.int8]
    """Weights (I, O)."""
    scale: Vector
    """Of the weights, per output channel (O,)."""
    bias: Vector
    """(O,), in the layer's own units."""


def find_pointwise(graph: OnnxGraph, tap: OnnxTap) -> Pointwise | None:
    """The layer behind ``tap`` as one matrix product; None when it is none."""
    node = graph.producers[tap.layer_output]
    if tap.op != "Conv" or not tap.weight.scale or tap.groups != 1 or not _is_plain(node):
        return None
    weight = graph.array(tap.weight.name)
    source = graph.producer(node.input[0], "DequantizeLinear")
    if weight.dtype != np.int8 or any(n != 1 for n in weight.shape[2:]) or source is None:
        return None
    offset = tap.weight.zero_point
    if (offset and graph.array(offset).any()) or not _is_uint8_number(graph, source):
        return None
    scale = np.broadcast_to(graph.array(tap.weight.scale).astype(np.float64).reshape(-1), (tap.channels,))
    rows = np.ascontiguousarray(weight.reshape(weight.shape[0], -1).T)
    quantized, step, zero_point = source.input
    return Pointwise(tap, node, quantized, step, zero_point, rows, scale, read_float_bias(graph, tap))


class PointwiseWriter:
    """Makes the nodes of one such layer in an observer."""

    def __init__(self, graph: OnnxGraph, layer: Pointwise) -> None:
        self._graph, self._layer, self._name = graph, layer, layer.tap.name
        self._free = graph.free
        self._wide = self._free.of("channels_last", self._name)
        self._rank = layer.tap.rank
        self._rows = graph.add_constant(self._free.of("rows", self._name), layer.rows)

    def move_channels_last(self) -> list[NodeProto]:
        """The input as the product reads it."""
        perm = [0, *range(2, self._rank), 1]
        return [helper.make_node("Transpose", [self._layer.quantized], [self._wide], perm=perm)]

    def product(self, output: str, unit: Vector, mean: Vector) -> list[NodeProto]:
        """(N, ..., O) what the layer gives, less ``mean``, in units of ``unit``."""
        scale = self._graph.add_constant(
            self._free.of("scale_of", output), np.asarray(self._layer.scale / unit, np.float32)
        )
        shifted = np.asarray((self._layer.bias - mean) / unit, np.float32)
        bias = self._graph.add_constant(self._free.of("bias_of", output), shifted)
        return [self._product(output, scale, bias)]

    def repeat_product(self, raw: str, output: str, scale: str, offset: str) -> list[NodeProto]:
        """``scale`` * ``raw`` + ``offset``, where ``raw`` is a product and the others are tensors (O,)."""
        names = {part: self._free.of(f"{part}_of", output) for part in ("scale", "moved", "bias")}
        return [
            helper.make_node("Mul", [self._free.of("scale_of", raw), scale], [names["scale"]]),
            helper.make_node("Mul", [self._free.of("bias_of", raw), scale], [names["moved"]]),
            helper.make_node("Add", [names["moved"], offset], [names["bias"]]),
            self._product(output, names["scale"], names["bias"]),
        ]

    def _product(self, output: str, scale: str, bias: str) -> NodeProto:
        layer = self._layer
        inputs = [self._wide, self._rows, layer.step, scale, layer.zero_point, "", bias]
        return helper.make_node("MatMulIntegerToFloat", inputs, [output], domain=DOMAIN)

    def hand_on(self, source: str) -> list[NodeProto]:
        """Bring ``source`` (N, ..., O) back to where the layer's output was.

        A single chain of element-by-element nodes up to a QuantizeLinear is done with channels last: a byte is moved
        instead of a float.
        """
        graph = self._graph
        graph.model.graph.node.remove(self._layer.node)
        name = self._name
        nodes: list[NodeProto] = []
        while (reader := graph.only_consumer(name)) is not None and _keeps_places(graph, reader):
            moved = NodeProto()
            moved.CopyFrom(reader)
            moved.input[0], moved.output[0] = source, self._free.of("channels_last", reader.output[0])
            graph.model.graph.node.remove(reader)
            nodes.append(moved)
            source, name = moved.output[0], reader.output[0]
            if operator(reader) == "QuantizeLinear":
                break
        perm = [0, self._rank - 1, *range(1, self._rank - 1)]
        nodes.append(helper.make_node("Transpose", [source], [name], perm=perm))
        return nodes


def require_domain(graph: OnnxGraph) -> None:
    """Make the operators of ONNX Runtime known to the model."""
    if not any(entry.domain == DOMAIN for entry in graph.model.opset_import):
        graph.model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _is_plain(node: NodeProto) -> bool:
    """Whether a Conv of 1x1 windows neither pads nor strides."""
    return set(attribute(node, "strides", [])) <= {1} and not any(attribute(node, "pads", []))


def _is_uint8_number(graph: OnnxGraph, dequantize: NodeProto) -> bool:
    """Whether a DequantizeLinear reads uint8 of one scale and one zero point, both constants."""
    numbers = dequantize.input[1:]
    if len(numbers) != 2 or not all(_is_number(graph, name) for name in numbers):
        return False
    return graph.array(numbers[1]).dtype == np.uint8


def _is_number(graph: OnnxGraph, name: str) -> bool:
    """Whether a tensor is one constant value, which stands before all nodes."""
    return name in graph.constants and name not in graph.producers and graph.array(name).size == 1


def _keeps_places(graph: OnnxGraph, node: NodeProto) -> bool:
    """Whether a node does the same to every value, wherever it is."""
    if operator(node) != "QuantizeLinear" and operator(node) not in _ELEMENT_BY_ELEMENT:
        return False
    return all(not name or _is_number(graph, name) for name in node.input[1:])
