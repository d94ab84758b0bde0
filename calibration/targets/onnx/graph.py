"""A parsed ONNX model: its constants, producers, consumers, ranks and input."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from calibration.errors import ModelError
from calibration.targets.base import FORMATS
from calibration.targets.gradient.free_names import FreeNames, find_free_names, names_in
from calibration.targets.model_input import INPUTS, ModelInput, guess_channel_axis, move_channels_second

_OLDEST_OPSET = 13
_INPUT_TYPES: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.UINT8: np.dtype(np.uint8),
}
_OWN_DOMAINS = ("", "ai.onnx")
_SAME_AS_OWN = ("QuantizeLinear", "DequantizeLinear")
"""Of ONNX Runtime's domain, for types that older opsets lack; they mean what ONNX's own do."""
_BLOCKED_DOMAINS = ("com.microsoft.nchwc", "com.ms.internal")
"""Of ONNX Runtime's optimizer: data and weights lie in another order, in blocks that suit one kind of processor."""
_QUANTIZED_OPS = ("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeLinear")


@dataclass(slots=True)
class OnnxGraph:
    """One model, parsed; ``constants`` refer into ``model``, so writing to them changes it."""

    name: str
    model: ModelProto
    constants: dict[str, TensorProto]
    """Initializers and outputs of Constant nodes, by tensor name."""
    producers: dict[str, NodeProto]
    consumers: dict[str, list[NodeProto]]
    outputs: frozenset[str]
    shapes: dict[str, list[int | None]]
    """Of the tensors that shape inference knows; None for a dynamic dimension."""
    opset: int
    input: ModelInput
    free: FreeNames
    """For what is added: no name of the model as it was parsed."""

    @property
    def nodes(self) -> list[NodeProto]:
        """Top-level nodes in topological order."""
        return list(self.model.graph.node)

    def copy(self) -> "OnnxGraph":
        """Another one of the model as it is now."""
        return parse(self.name, self.model.SerializeToString(), self.input.channel_axis)

    def array(self, name: str) -> NDArray[Any]:
        """A copy of a constant's value."""
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def set_array(self, name: str, value: NDArray[Any]) -> None:
        """Replace a constant's value, in place."""
        tensor = self.constants[name]
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))

    def add_constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an initializer and give its name back."""
        self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self.constants[name] = self.model.graph.initializer[-1]
        return name

    def uses(self, name: str) -> int:
        """Number of node inputs, also in bodies of control flow, and of graph outputs that read a tensor."""
        consumers = {id(node): node for node in self.consumers.get(name, [])}.values()
        return sum(list(tensors_read(node)).count(name) for node in consumers) + (name in self.outputs)

    def producer(self, name: str, op: str) -> NodeProto | None:
        """The node that makes ``name``, if it is an ``op``."""
        node = self.producers.get(name)
        return node if node is not None and operator(node) == op else None

    def only_consumer(self, name: str) -> NodeProto | None:
        """The one node that reads ``name``, if exactly one does and it is no graph output."""
        return self.consumers[name][0] if self.uses(name) == 1 and name not in self.outputs else None


def operator(node: NodeProto) -> str:
    """ONNX's own name of what a node does; an operator of another domain keeps its domain: ``pkg:Conv`` is no Conv."""
    if node.domain in _OWN_DOMAINS or (node.domain == "com.microsoft" and node.op_type in _SAME_AS_OWN):
        return str(node.op_type)
    return f"{node.domain}:{node.op_type}"


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    found = (helper.get_attribute_value(item) for item in node.attribute if item.name == name)
    return next(found, default)


def label(node: NodeProto) -> str:
    """A layer's name for people."""
    return str(node.name or node.output[0])


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Bodies of If, Loop and Scan."""
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            yield item.g
        yield from item.graphs


def parse(name: str, data: bytes, channel_axis: int | None = None) -> OnnxGraph:
    """Parse and check a model file's bytes; without ``channel_axis`` of the input, its sizes alone suggest one.

    Raises:
        ModelError: not ONNX, too old, or an input that is not one tensor of samples.
    """
    model = _decode(name, data)
    graph = model.graph
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    _refuse_unusual(name, graph, opset)
    _resolve_identities(graph)
    constants = constants_of(graph)
    model_input = _find_input(name, graph, constants, channel_axis)
    shapes = _shapes(name, model)
    consumers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for tensor in tensors_read(node):
            consumers.setdefault(tensor, []).append(node)
    producers = {output: node for node in graph.node for output in node.output}
    outputs = frozenset(output.name for output in graph.output)
    free = free_names_of(graph)
    return OnnxGraph(name, model, constants, producers, consumers, outputs, shapes, opset, model_input, free)


def free_names_of(graph: GraphProto) -> FreeNames:
    """Names that nothing in a graph has; they begin with ``calibration``."""
    declared = (value.name for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info))
    return find_free_names(chain(declared, names_in(graph.node)), "calibration")


def free_batch_axis(graph: OnnxGraph) -> OnnxGraph:
    """The same model with a dynamic batch axis.

    Reshapes whose constant shape starts with the batch copy it instead. The caller must check that the copy still
    answers like the original: other operators may hold the batch size too.
    """
    fixed = graph.input.shape[0]
    free = graph.copy()
    proto = free.model.graph
    for value in [*proto.input, *proto.output]:
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == fixed:
            dims[0].dim_param = "N"
    del proto.value_info[:]
    for i, node in enumerate(proto.node):
        if operator(node) == "Reshape" and _keeps_batch(free, node, fixed):
            shape = free.array(node.input[1]).copy()
            shape[0] = 0
            node.input[1] = free.add_constant(free.free.of("shape", str(i)), shape)
    return free.copy()


def _keeps_batch(graph: OnnxGraph, node: NodeProto, fixed: int | None) -> bool:
    """Whether a Reshape's constant target starts with the batch of its data."""
    if node.input[1] not in graph.constants or attribute(node, "allowzero", 0):
        return False
    shape = graph.array(node.input[1])
    return bool(shape.size and shape[0] == fixed and graph.shapes.get(node.input[0], [])[:1] == [fixed])


def _decode(name: str, data: bytes) -> ModelProto:
    """The model. Bytes of unknown formats come here too, so the error names all formats."""
    fix = "Give the model file itself, or export it again."
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as err:
        raise ModelError(name, "not an ONNX file, or cut short", FORMATS, fix) from err
    if not model.graph.node or not model.graph.input:
        raise ModelError(name, "no model inside", FORMATS, fix)
    if not model.graph.output:
        fix = "Export it again with its answers as outputs."
        raise ModelError(name, "the graph has no output", "a model that gives its answers", fix)
    return model


def inline_functions(name: str, data: bytes) -> bytes:
    """The model with the bodies of the file's functions in the place of their calls, so that their layers are seen.

    Raises:
        ModelError: not ONNX, or functions that cannot be resolved.
    """
    model = _decode(name, data)
    try:
        return bytes(onnx.inliner.inline_local_functions(model).SerializeToString())
    except (ValueError, RuntimeError) as err:
        found = f"functions in the file that cannot be resolved ({err})"
        raise ModelError(name, found, "a model of plain operators", "Export it without functions.") from err


def _refuse_unusual(name: str, graph: GraphProto, opset: int) -> None:
    if opset < _OLDEST_OPSET:
        fix = "Export again, or use onnx.version_converter."
        raise ModelError(name, f"opset {opset}", f"opset {_OLDEST_OPSET} or newer", fix)
    blocked = [label(node) for node in graph.node if node.domain.startswith(_BLOCKED_DOMAINS)]
    if blocked:
        found = "optimised by ONNX Runtime for one kind of processor, with channels in blocks"
        fix = "Give the model that it was made from; ONNX Runtime optimises it at every start."
        raise ModelError(name, found, "a model as it was exported", fix, blocked)
    integer = [f"{node.op_type} {node.name}".strip() for node in graph.node if node.op_type in _QUANTIZED_OPS]
    if integer:
        fix = (
            "Quantize with onnxruntime.quantization.quantize_static(quant_format=QuantFormat.QDQ, per_channel=True); "
            "dynamic quantization has no constants that a recalibration could correct."
        )
        wanted = "QuantizeLinear/DequantizeLinear pairs"
        raise ModelError(name, "integer operators instead of QDQ", wanted, fix, integer)


def _resolve_identities(graph: GraphProto) -> None:
    """Replace every Identity of a constant by a copy of the constant, under the Identity's name.

    PyTorch's older exporter writes parameters of equal values once, and reads the others through an Identity: biases
    that are still zero, scales that are still one.
    """
    known, given = constants_of(graph), {output.name for output in graph.output}
    for node in list(graph.node):
        if operator(node) == "Identity" and node.input[0] in known and node.output[0] not in given:
            copy = graph.initializer.add()
            copy.CopyFrom(known[node.input[0]])
            copy.name = node.output[0]
            known[copy.name] = copy
            graph.node.remove(node)


def constants_of(graph: GraphProto) -> dict[str, TensorProto]:
    """Initializers and the outputs of Constant nodes, by tensor name."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if operator(node) == "Constant" and (value := attribute(node, "value", None)) is not None:
            constants[node.output[0]] = value
    return constants


def _find_input(
    name: str, graph: GraphProto, constants: dict[str, TensorProto], channel_axis: int | None
) -> ModelInput:
    """The one real input."""
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        found = f"{len(inputs)} inputs: {', '.join(value.name for value in inputs)}"
        raise ModelError(name, found, INPUTS, "Export the part of the model that takes it alone.")
    label, tensor = inputs[0].name, inputs[0].type.tensor_type
    if tensor.elem_type not in _INPUT_TYPES:
        found = f"input {label!r} is {TensorProto.DataType.Name(tensor.elem_type)}"
        raise ModelError(name, found, INPUTS, "Export it with a float32 input.")
    dims = [size if size and size > 0 else None for size in _read_dims(inputs[0])]
    if len(dims) < 2:
        fix = "Export it with a batch axis and a fixed channel count."
        raise ModelError(name, f"input {label!r} has shape {tuple(dims)}", INPUTS, fix)
    axis = guess_channel_axis(dims) if channel_axis is None else channel_axis
    return ModelInput(label, move_channels_second(dims, axis), axis, _INPUT_TYPES[tensor.elem_type])


def _read_dims(value: ValueInfoProto) -> list[int | None]:
    return [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]


def _shapes(name: str, model: ModelProto) -> dict[str, list[int | None]]:
    """Shape of every tensor that shape inference finds."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as err:
        raise ModelError(name, f"shapes do not fit ({err})", "a valid model", "Export it again.") from err
    values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    return {v.name: _read_dims(v) for v in values if v.type.tensor_type.HasField("shape")}


def tensors_read(node: NodeProto) -> Iterator[str]:
    """Names a node reads, those that the bodies of control flow capture among them."""
    yield from node.input
    for body in subgraphs(node):
        yield from (output.name for output in body.output)
        for inner in body.node:
            yield from tensors_read(inner)
