"""An ONNX model as a program of float arithmetic; see :class:`calibration.targets.gradient.program.FloatProgram`."""

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from calibration.targets.gradient.program import LEAST_OPSET, Array, FloatProgram, TapTensor, last_layers
from calibration.targets.onnx.graph import OnnxGraph, attribute, operator
from calibration.targets.onnx.taps import OnnxTap, has_weights, is_decoding

_FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def to_float_program(graph: OnnxGraph, taps: tuple[OnnxTap, ...]) -> FloatProgram:
    """The model of ``graph``, which is not changed."""
    constants = {name: _in_float32(numpy_helper.to_array(tensor)) for name, tensor in graph.constants.items()}
    nodes = list[NodeProto]()
    for node in graph.nodes:
        match operator(node):
            case "Constant":
                continue
            case "DequantizeLinear" if node.input[0] in constants:
                constants[node.output[0]] = _dequantize(node, constants)
            case "DequantizeLinear":
                nodes.append(helper.make_node("Identity", [node.input[0]], [node.output[0]]))
            case "QuantizeLinear" if node.input[0] in constants:
                constants[node.output[0]] = constants[node.input[0]]
            case "QuantizeLinear":
                nodes.append(_keep_to_range(graph, node, constants))
            case "Cast" if attribute(node, "to", 0) in _FLOATS:
                nodes.append(helper.make_node("Cast", node.input, node.output, to=TensorProto.FLOAT))
            case _:
                nodes.append(node)
    return FloatProgram(
        nodes=tuple(nodes),
        constants=constants,
        picture=graph.input,
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
    return value.astype(np.float32) if np.issubdtype(value.dtype, np.floating) else value


def _dequantize(node: NodeProto, constants: dict[str, Array]) -> NDArray[np.float32]:
    value = constants[node.input[0]]
    scale, zero = _along_axis(node, constants, value.ndim)
    return np.asarray((value.astype(np.float64) - zero) * scale, np.float32)


def _along_axis(node: NodeProto, constants: dict[str, Array], rank: int) -> tuple[Array, Array]:
    """Scale and zero point of a quantizer in a shape that broadcasts over a tensor of ``rank``."""
    scale = constants[node.input[1]].astype(np.float64)
    has_zero = len(node.input) > 2 and node.input[2]
    zero = constants[node.input[2]].astype(np.float64) if has_zero else np.zeros(())
    if scale.size == 1:
        return scale.reshape(()), zero.reshape(-1)[:1].reshape(()) if zero.size else np.zeros(())
    shape = [1] * rank
    shape[int(attribute(node, "axis", 1)) % rank] = -1
    return scale.reshape(shape), zero.reshape(shape) if zero.size > 1 else zero


def _keep_to_range(graph: OnnxGraph, node: NodeProto, constants: dict[str, Array]) -> NodeProto:
    """The range of a quantizer's integers as a Clip; the node itself where that is not known."""
    zero_point = node.input[2] if len(node.input) > 2 else ""
    kind = graph.array(zero_point).dtype if zero_point in graph.constants else np.dtype(np.uint8)
    is_known = node.input[1] in graph.constants and (not zero_point or zero_point in graph.constants)
    if (
        not is_known
        or kind not in (np.uint8, np.int8, np.uint16, np.int16)
        or graph.array(node.input[1]).size > 1
    ):
        return node
    scale, zero = _along_axis(node, constants, 0)
    names = [f"{node.output[0]}__{limit}" for limit in ("least", "most")]
    limits = ((n - zero) * scale for n in (np.iinfo(kind).min, np.iinfo(kind).max))
    constants |= {name: np.asarray(limit, np.float32) for name, limit in zip(names, limits, strict=True)}
    return helper.make_node("Clip", [node.input[0], *names], [node.output[0]])
