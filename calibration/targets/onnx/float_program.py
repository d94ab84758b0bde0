"""An ONNX model as a program of float arithmetic; see :class:`calibration.targets.gradient.program.FloatProgram`."""

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from calibration.targets.gradient.program import LEAST_OPSET, Array, FloatProgram, TapTensor, last_layers
from calibration.targets.onnx.graph import OnnxGraph, attribute, operator, tensors_read
from calibration.targets.onnx.quantizers import dequantize, keep_input_to_bytes, keep_to_range, read_back
from calibration.targets.onnx.taps import OnnxTap, has_weights, is_decoding

_OWN_DOMAINS = ("", "ai.onnx")
_FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def to_float_program(graph: OnnxGraph, taps: tuple[OnnxTap, ...]) -> FloatProgram:
    """The model of ``graph``, which is not changed."""
    constants = {name: _in_float32(numpy_helper.to_array(tensor)) for name, tensor in graph.constants.items()}
    nodes, of_the_input = list[NodeProto](), {graph.input.name}
    for node in graph.nodes:
        is_fixed = of_the_input.isdisjoint(tensors_read(node))
        if not is_fixed:
            of_the_input.update(node.output)
        match operator(node):
            case "Constant" if node.output[0] in constants:
                continue
            case "DequantizeLinear" if is_fixed and (value := dequantize(node, constants)) is not None:
                constants[node.output[0]] = value
            case "DequantizeLinear" if not is_fixed:
                nodes += read_back(graph, node, constants)
            case "QuantizeLinear" if not is_fixed:
                nodes.append(keep_to_range(graph, node, constants))
            case "Cast" if attribute(node, "to", 0) in _FLOATS:
                nodes.append(helper.make_node("Cast", node.input, node.output, to=TensorProto.FLOAT))
            case "ConstantOfShape":
                nodes.append(_filled_in_float32(node))
            case _:
                nodes.append(node if node.domain not in _OWN_DOMAINS else _in_own_domain(node))
    nodes = keep_input_to_bytes(graph, nodes, constants)
    read = {name for node in nodes for name in tensors_read(node)}
    return FloatProgram(
        nodes=tuple(nodes),
        constants={name: value for name, value in constants.items() if name in read},
        input=graph.input,
        taps=tuple(TapTensor(tap.name, tap.name, tap.channels, tap.channel_axis) for tap in taps),
        layers=_layers(graph),
        outputs=tuple(output.name for output in graph.model.graph.output),
        opset=max(graph.opset, LEAST_OPSET),
    )


def find_heads(graph: OnnxGraph) -> tuple[str, ...]:
    """Outputs of the layers behind which no other layer is."""
    return last_layers(graph.nodes, _layers(graph))


def _layers(graph: OnnxGraph) -> tuple[str, ...]:
    """Outputs of the nodes with weights; what only decodes boxes is none of them."""
    found = (node for node in graph.nodes if has_weights(graph, node) and not is_decoding(graph, node))
    return tuple(node.output[0] for node in found)


def _in_float32(value: Array) -> Array:
    is_float = np.issubdtype(value.dtype, np.floating) or value.dtype.name == "bfloat16"
    return value.astype(np.float32, copy=False) if is_float else value


def _in_own_domain(node: NodeProto) -> NodeProto:
    """ONNX's own operators have two names of their domain."""
    if not node.domain:
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.domain = ""
    return copy


def _filled_in_float32(node: NodeProto) -> NodeProto:
    value = attribute(node, "value", None)
    if value is None or value.data_type not in _FLOATS:
        return node
    filling = numpy_helper.from_array(_in_float32(numpy_helper.to_array(value)))
    return helper.make_node("ConstantOfShape", node.input, node.output, value=filling)
