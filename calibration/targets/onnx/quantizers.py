"""QuantizeLinear and DequantizeLinear as float arithmetic: the range of the integers, without the rounding.

Between the two a tensor of integers stands for real numbers, and the float program carries those. That is right where
all that happens in between is moving integers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from calibration.targets.gradient.program import Array
from calibration.targets.onnx.graph import OnnxGraph, attribute, operator

_MOVING = (
    "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
)  # fmt: skip
_LIMITS: dict[int, tuple[int, int]] = {
    TensorProto.UINT8: (0, 2**8 - 1), TensorProto.INT8: (-(2**7), 2**7 - 1),
    TensorProto.UINT16: (0, 2**16 - 1), TensorProto.INT16: (-(2**15), 2**15 - 1),
}  # fmt: skip
"""Of integers by their type."""


def dequantize(node: NodeProto, constants: Mapping[str, Array]) -> NDArray[np.float32] | None:
    """The values of a DequantizeLinear of constants; None where only ONNX Runtime knows them (blocks of weights)."""
    if not constants.keys() >= {name for name in node.input if name} or attribute(node, "block_size", 0):
        return None
    value, scale = constants[node.input[0]], constants[node.input[1]].astype(np.float64)
    zero = constants[_third_input(node)].astype(np.float64) if _third_input(node) else np.zeros(())
    shape = [1] * value.ndim
    if scale.size > 1:
        shape[int(attribute(node, "axis", 1)) % value.ndim] = -1
    return np.asarray((value.astype(np.float64) - zero.reshape(shape)) * scale.reshape(shape), np.float32)


def keep_to_range(graph: OnnxGraph, node: NodeProto, constants: dict[str, Array]) -> NodeProto:
    """The range of a quantizer's integers as a Clip; the node itself where that is not known."""
    integers, parameters = _limits(graph, node), _parameters(graph, node)
    if integers is None or parameters is None or not _is_read_back(graph, node.output[0]):
        return node
    scale, zero = parameters
    names = [graph.free.of(limit, node.output[0]) for limit in ("least", "most")]
    limits = ((n - zero) * scale for n in integers)
    constants |= {name: np.asarray(limit, np.float32) for name, limit in zip(names, limits, strict=True)}
    return helper.make_node("Clip", [node.input[0], *names], [node.output[0]])


def read_back(graph: OnnxGraph, node: NodeProto, constants: dict[str, Array]) -> list[NodeProto]:
    """A DequantizeLinear of activations; the node itself where it is not known what its integers stand for."""
    parameters, sources = _parameters(graph, node), _sources(graph, node.input[0])
    if parameters is None or sources is None or len(sources) != 1:
        return [node]
    [(scale, zero)], (own_scale, own_zero) = sources, parameters
    if (scale, zero) == (own_scale, own_zero):
        return [helper.make_node("Identity", [node.input[0]], [node.output[0]])]
    # the integers are v / scale + zero
    factor, offset = own_scale / scale, (zero - own_zero) * own_scale
    names = [graph.free.of(part, node.output[0]) for part in ("factor", "offset", "scaled")]
    constants |= {names[0]: np.asarray(factor, np.float32), names[1]: np.asarray(offset, np.float32)}
    return [
        helper.make_node("Mul", [node.input[0], names[0]], [names[2]]),
        helper.make_node("Add", [names[2], names[1]], [node.output[0]]),
    ]


def keep_input_to_bytes(
    graph: OnnxGraph, nodes: Sequence[NodeProto], constants: dict[str, Array]
) -> list[NodeProto]:
    """The range of an input of bytes as a Clip in front of ``nodes``; the nodes as they are where it has none.

    Right at the input, wherever the bytes are made numbers: black and white lie at the limits, and are no less part
    of the way there.
    """
    source = graph.input.name
    if graph.input.dtype != np.uint8 or not _is_read_back(graph, source):
        return list(nodes)
    names = [graph.free.of(limit, source) for limit in ("least", "most")]
    constants |= {
        name: np.asarray(limit, np.float32)
        for name, limit in zip(names, _LIMITS[TensorProto.UINT8], strict=True)
    }
    within = graph.free.of("within", source)
    found = [helper.make_node("Clip", [source, *names], [within])]
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [within if name == source else name for name in node.input]
        found.append(copy)
    return found


def _third_input(node: NodeProto) -> str:
    return str(node.input[2]) if len(node.input) > 2 else ""


def _limits(graph: OnnxGraph, node: NodeProto) -> tuple[int, int] | None:
    """Least and largest of a quantizer's integers; None where their type is not known."""
    zero_point = _third_input(node)
    if zero_point:
        return _LIMITS.get(graph.constants[zero_point].data_type) if zero_point in graph.constants else None
    return _LIMITS.get(int(attribute(node, "output_dtype", 0)) or TensorProto.UINT8)


def _parameters(graph: OnnxGraph, node: NodeProto) -> tuple[float, float] | None:
    """Scale and zero point of a quantizer; None where they are no constants, or several."""
    names = [name for name in node.input[1:] if name]
    if not graph.constants.keys() >= set(names) or any(graph.array(name).size != 1 for name in names):
        return None
    values = [float(graph.array(name).astype(np.float64).item()) for name in names]
    return values[0], values[1] if len(values) > 1 else 0.0


def _is_read_back(graph: OnnxGraph, name: str) -> bool:
    """Whether integers are only moved before they are made numbers again."""
    for node in graph.consumers.get(name, []):
        if operator(node) in _MOVING and all(_is_read_back(graph, output) for output in node.output):
            continue
        if operator(node) != "DequantizeLinear":
            return False
    return True


def _sources(graph: OnnxGraph, name: str) -> frozenset[tuple[float, float]] | None:
    """Scale and zero point of the integers that make ``name``: (1, 0) for those of the input; None: not known."""
    if name == graph.input.name:
        return frozenset({(1.0, 0.0)})
    node = graph.producers.get(name)
    if node is None:
        return None
    if operator(node) == "QuantizeLinear":
        parameters = _parameters(graph, node)
        return None if parameters is None else frozenset({parameters})
    if operator(node) not in _MOVING:
        return None
    parts = [_sources(graph, n) for n in (node.input if operator(node) == "Concat" else node.input[:1])]
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if len(known) == len(parts) else None
