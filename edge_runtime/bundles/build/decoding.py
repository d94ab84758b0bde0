"""Which layers of a detector decode its boxes: they stay float in an int8 model.

Behind the last layers with weights, pixels up to the picture's size and scores of 0 to 1 share tensors: one scale of
256 steps for both turns every score into 0. Seen with YOLOv5 to YOLOv8 in ONNX Runtime and OpenVINO; the decoding takes
no time worth saving. Source: microsoft/onnxruntime#14233.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

_RESHAPING = {
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Identity", "Flatten", "Gather", "StridedSlice",
}  # fmt: skip
_WEIGHTED = {
    "Conv", "ConvTranspose", "Gemm", "MatMul",  # ONNX
    "Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData",  # OpenVINO
}  # fmt: skip
_EXPECTATION = {"Softmax", "SoftMax"}


@dataclass(frozen=True, slots=True)
class Layer:
    """A node of a graph of either format."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    """Names of layers or tensors that it reads, its data first."""
    has_weights: bool
    """Whether one of its inputs is constant."""


def find_decoding(layers: Mapping[str, Layer], outputs: Iterable[str]) -> list[str]:
    """Names of the layers between the last layers with weights and the outputs; none where there are no such layers.

    ``layers`` has them by the name under which others read them. A layer with weights that reads probabilities is part
    of the decoding: it computes the expectation of a distribution (DFL, as in YOLOv8).
    """
    pending, found, has_end = list(outputs), dict[str, None](), False
    while pending:
        layer = layers.get(pending.pop())
        if layer is None or layer.name in found:
            continue
        if layer.kind in _WEIGHTED and layer.has_weights and not _reads_probabilities(layers, layer):
            has_end = True
            continue
        found[layer.name] = None
        pending += layer.inputs
    return list(found) if has_end else []


def _reads_probabilities(layers: Mapping[str, Layer], layer: Layer) -> bool:
    source = layers.get(layer.inputs[0])
    while source is not None and source.kind in _RESHAPING:
        source = layers.get(source.inputs[0])
    return source is not None and source.kind in _EXPECTATION


def find_onnx_decoding(model: Any) -> list[str]:
    """Names of the nodes of an ``onnx.ModelProto`` that decode; every node needs a name that no other has."""
    return find_decoding(dict(_onnx_layers(model.graph)), [value.name for value in model.graph.output])


def _onnx_layers(graph: Any) -> Iterator[tuple[str, Layer]]:
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        inputs = tuple(name for name in node.input if name)
        if all(name in constant for name in inputs) and not _has_graph(node):
            constant.update(node.output)
        layer = Layer(node.name, node.op_type, inputs, any(name in constant for name in inputs))
        yield from ((name, layer) for name in node.output)


def _has_graph(node: Any) -> bool:
    return any(one.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for one in node.attribute)


def name_nodes(model: Any) -> None:
    """Give nodes that have no name, or another's, one that no other has; quantizers go by names."""
    used = set[str]()
    for number, node in enumerate(model.graph.node):
        name = node.name
        while not name or name in used:
            name = f"{node.name or node.op_type}_{number}"
            number += 1  # noqa: PLW2901 - until it is free
        node.name = name
        used.add(name)


def find_ir_decoding(nodes: Sequence[Any]) -> list[str]:
    """Friendly names of the nodes of an OpenVINO model, in topological order, that decode."""
    constant, layers = set[str](), dict[str, Layer]()
    outputs = list[str]()
    for node in nodes:
        key, kind = node.get_name(), node.get_type_name()
        inputs = tuple(value.get_node().get_name() for value in node.input_values())
        if kind == "Constant" or (inputs and constant.issuperset(inputs)):
            constant.add(key)
        if kind == "Result":
            outputs += inputs
        layers[key] = Layer(node.get_friendly_name(), kind, inputs, any(name in constant for name in inputs))
    return find_decoding({key: one for key, one in layers.items() if key not in constant}, outputs)
