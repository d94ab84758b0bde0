"""Writes ``y' = scale * y + offset`` at a tap into the constants of an ONNX layer, float32 or int8.

Int8: the per-channel weight scale and bias scale are multiplied, the int32 bias is recomputed; weight bytes and
activation scales stay, the rounding of the bias is the only approximation. One scale for a whole layer becomes one
per channel first, which is exact.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper

from calibration.patch import Affine
from calibration.stats.moments import Vector
from calibration.targets.base import DEAD_WEIGHT_SCALE, over_weights
from calibration.targets.onnx.graph import OnnxGraph, attribute, operator, subgraphs, tensors_read
from calibration.targets.onnx.taps import Constant, OnnxTap, skip_rounding

_INT32_MAX = 2**31 - 1

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
_MOVERS = ("Transpose", "Identity")


def patch_tap(graph: OnnxGraph, tap: OnnxTap, affine: Affine) -> int:
    """Write a correction into the layer's constants; gives how many channels had to be left alone."""
    if not affine.touched.any():
        return 0
    scale, offset = affine.scale.astype(np.float64), affine.offset.astype(np.float64)
    if not tap.weight.scale:
        scale_float_layer(graph, tap, scale, offset)
        return 0
    return _patch_int8_layer(graph, tap, scale, offset)


def scale_float_layer(graph: OnnxGraph, tap: OnnxTap, scale: Vector, offset: Vector) -> None:
    """Fold ``scale * y + offset`` into float32 weights and bias; channels at identity keep their bits."""
    weight = graph.array(tap.weight.name).astype(np.float64)
    factor = over_weights(weight.shape, tap.weight.channel_axis, scale, tap.groups, tap.op)
    graph.set_array(tap.weight.name, (weight * factor).astype(np.float32))
    old = read_float_bias(graph, tap)
    new = old * scale + offset / tap.bias_factor
    if tap.bias is None:
        if new.any():
            _add_bias(graph, tap, graph.add_constant(graph.free.of("bias", tap.name), new.astype(np.float32)))
        return
    shape = graph.array(tap.bias.name).shape
    graph.set_array(tap.bias.name, new.astype(np.float32).reshape(shape))


def read_float_bias(graph: OnnxGraph, tap: OnnxTap) -> Vector:
    """The bias of a layer as float64 (C,); zeros when it has none."""
    if tap.bias is None:
        return np.zeros(tap.channels)
    return _value_of(graph, tap.bias).astype(np.float64).reshape(-1)


def dequantize_layer(graph: OnnxGraph, tap: OnnxTap) -> OnnxTap:
    """Replace the integer weights and bias by the float32 values they stand for; gives the tap as it is now.

    Same arithmetic as DequantizeLinear; it lets the observer fold into them and spares the runtime the work.
    """
    _remove_rounding(graph, tap)
    weight = _dequantize(graph, tap.weight)
    bias = None if tap.bias is None else _dequantize(graph, tap.bias)
    return replace(tap, weight=weight, bias=bias)


def _remove_rounding(graph: OnnxGraph, tap: OnnxTap) -> None:
    """Let the Add behind a MatMul read the product itself: its rounding fits the uncorrected product only."""
    rounded = skip_rounding(graph, tap.layer_output) if tap.op == "MatMul" else tap.layer_output
    if rounded == tap.layer_output:
        return
    adder, back = graph.producers[tap.name], graph.producers[rounded]
    adder.input[list(adder.input).index(rounded)] = tap.layer_output
    for node in (back, graph.producers[back.input[0]]):
        graph.model.graph.node.remove(node)


def count_dead_channels(graph: OnnxGraph, tap: OnnxTap) -> int:
    """Number of channels whose output is the same for all samples: weights of zero, or next to it in int8."""
    weight = _value_of(graph, tap.weight)
    least = DEAD_WEIGHT_SCALE * 127 if tap.weight.scale else 0.0
    if tap.op == "ConvTranspose":  # (C_in, C_out / groups, ...), inputs in group order
        parts = weight.reshape(tap.groups, weight.shape[0] // tap.groups, *weight.shape[1:])
        largest = np.abs(parts).max(axis=(1, *range(3, parts.ndim)))
    else:
        others = tuple(axis for axis in range(weight.ndim) if axis != tap.weight.channel_axis)
        largest = np.abs(weight).max(axis=others)
    return int((largest <= least).sum())


def insert_input_correction(graph: OnnxGraph, affine: Affine) -> None:
    """Correct the input itself by a Mul and an Add in front of everything that reads it.

    Explicit, because folding it into a first convolution with zero padding would change the border.
    """
    if not affine.touched.any():
        return
    name, shape = graph.input.name, _over_channels(graph)
    parts = (("scale", affine.scale), ("offset", affine.offset))
    _put_in_front(
        graph, *(graph.add_constant(graph.free.of(key, name), part.reshape(shape)) for key, part in parts)
    )


def correct_input(graph: OnnxGraph, scale: str, offset: str) -> None:
    """The same by two tensors (C,) that are given when the model runs."""
    name = graph.input.name
    shape = graph.add_constant(graph.free.of("shape", name), np.asarray(_over_channels(graph), np.int64))
    shaped = [graph.free.of("over_channels", part) for part in (scale, offset)]
    _put_in_front(graph, *shaped)
    for part, wide in zip((scale, offset), shaped, strict=True):
        graph.model.graph.node.insert(0, helper.make_node("Reshape", [part, shape], [wide], name=wide))


def _over_channels(graph: OnnxGraph) -> list[int]:
    """Shape in which (C,) broadcasts over the input, in the model's own layout."""
    return [-1 if axis == graph.input.channel_axis else 1 for axis in range(len(graph.input.shape))]


def _put_in_front(graph: OnnxGraph, scale: str, offset: str) -> None:
    """``scale * x + offset`` in front of everything that reads the input; both broadcast over it.

    In float32: readers that convert the input to a float get float32; the others get the type of the input, rounded.
    """
    name, nodes = graph.input.name, graph.model.graph.node
    scaled, corrected = (graph.free.of(kind, name) for kind in ("scaled", "corrected"))
    source, as_before, new = name, corrected, list[NodeProto]()
    if graph.input.dtype != np.float32:
        source, as_before = (graph.free.of(kind, name) for kind in ("float32", "as_before"))
        new.append(helper.make_node("Cast", [name], [source], name=source, to=TensorProto.FLOAT))
    for node in nodes:
        takes_float = name in node.input and _makes_a_float(graph, node)
        _rename_input(node, name, corrected if takes_float else as_before)
    new.append(helper.make_node("Mul", [source, scale], [scaled], name=scaled))
    new.append(helper.make_node("Add", [scaled, offset], [corrected], name=corrected))
    if as_before != corrected and any(as_before in tensors_read(node) for node in nodes):
        new += _in_the_type_of_the_input(graph, corrected, as_before)
    for node in reversed(new):
        nodes.insert(0, node)


def _in_the_type_of_the_input(graph: OnnxGraph, source: str, output: str) -> list[NodeProto]:
    if graph.input.dtype == np.float16:
        return [helper.make_node("Cast", [source], [output], name=output, to=TensorProto.FLOAT16)]
    least, most = (
        graph.add_constant(graph.free.of(kind, output), np.asarray(limit, np.float32))
        for kind, limit in (("least", 0), ("most", 255))
    )
    rounded, within = (graph.free.of(kind, output) for kind in ("rounded", "within"))
    return [
        helper.make_node("Round", [source], [rounded], name=rounded),
        helper.make_node("Clip", [rounded, least, most], [within], name=within),
        helper.make_node("Cast", [within], [output], name=output, to=TensorProto.UINT8),
    ]


def _makes_a_float(graph: OnnxGraph, node: NodeProto) -> bool:
    """Whether a node makes floating point numbers of what it reads, or only moves it for nodes that all do.

    What lies between takes the new type: nothing may be declared of it any more.
    """
    if operator(node) == "Cast":
        return attribute(node, "to", 0) in _FLOATS
    moved = node.output[0] if operator(node) in _MOVERS else ""
    if not moved or moved in graph.outputs:
        return False
    following = [other for other in graph.model.graph.node if moved in tensors_read(other)]
    if not following or not all(_makes_a_float(graph, other) for other in following):
        return False
    declared = graph.model.graph.value_info
    for value in [value for value in declared if value.name == moved]:
        declared.remove(value)
    return True


def _rename_input(node: NodeProto, old: str, new: str) -> None:
    for i, name in enumerate(node.input):
        if name == old:
            node.input[i] = new
    for body in subgraphs(node):
        for inner in body.node:
            _rename_input(inner, old, new)


def _patch_int8_layer(graph: OnnxGraph, tap: OnnxTap, scale: Vector, offset: Vector) -> int:
    """Multiply the scales and recompute the bias; dead and overflowing channels stay as they are."""
    _remove_rounding(graph, tap)
    bias = _prepare_bias(graph, tap)
    old = graph.array(tap.weight.scale)
    blocked = old.reshape(-1) < DEAD_WEIGHT_SCALE
    if bias.scale:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            wanted = _compute_int_bias(graph, bias, scale, offset)
        blocked = blocked | ~np.isfinite(wanted) | (np.abs(wanted) > _INT32_MAX)
    scale, offset = np.where(blocked, 1.0, scale), np.where(blocked, 0.0, offset)
    touched = (scale != 1) | (offset != 0)
    if bias.scale:
        whole = np.where(touched, wanted, 0.0).astype(np.int32)
        graph.set_array(bias.name, np.where(touched, whole, graph.array(bias.name)))
        graph.set_array(bias.scale, _scale(graph.array(bias.scale), scale))
    else:
        value = graph.array(bias.name)
        new = value.astype(np.float64).reshape(-1) * scale + offset / tap.bias_factor
        graph.set_array(bias.name, new.astype(np.float32).reshape(value.shape))
    graph.set_array(tap.weight.scale, _scale(old, scale))
    return int(blocked.sum())


def _prepare_bias(graph: OnnxGraph, tap: OnnxTap) -> Constant:
    """The layer's bias in float32, or in int32 with a scale per channel; its weights get a scale per channel too."""
    own = tap.channels if tap.op != "ConvTranspose" else tap.channels // tap.groups
    _spread_scale(graph, tap.weight, own)
    bias = tap.bias if tap.bias is not None else _add_zero_bias(graph, tap)
    if not bias.scale:
        return bias
    if graph.array(bias.name).dtype != np.int32:  # quantized as an addend: too coarse to take a correction
        return _dequantize(graph, bias)
    _spread_scale(graph, bias, tap.channels)
    return bias


def _spread_scale(graph: OnnxGraph, constant: Constant, channels: int) -> None:
    """Give every channel the scale that they all had together; not one value changes."""
    scale = graph.array(constant.scale)
    if scale.shape == (channels,):
        return
    node = _find_reader(graph, constant)
    graph.set_array(constant.scale, np.full(channels, scale.reshape(-1)[0], np.float32))
    if constant.zero_point:
        zero = graph.array(constant.zero_point).reshape(-1)[0]
        spread = np.full(channels, zero, zero.dtype)
        node.input[2] = graph.add_constant(graph.free.of("zero_point", constant.name), spread)
    kept = [item for item in node.attribute if item.name != "axis"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("axis", constant.channel_axis)])


def _compute_int_bias(graph: OnnxGraph, bias: Constant, scale: Vector, offset: Vector) -> Vector:
    """(C,) the int32 values that stand for the corrected bias, before rounding checks."""
    old_step = graph.array(bias.scale)
    value = graph.array(bias.name).astype(np.float64) * old_step.astype(np.float64)
    new_step = _scale(old_step, scale).astype(np.float64)
    return np.asarray(np.round((value * scale + offset) / new_step), np.float64)


def _scale(old: NDArray[Any], scale: Vector) -> NDArray[np.float32]:
    """Float32 ``old * scale`` in the shape of ``old``; exact where the scale is 1."""
    return (old.astype(np.float64) * scale.reshape(old.shape)).astype(np.float32)


def _add_zero_bias(graph: OnnxGraph, tap: OnnxTap) -> Constant:
    """Give an int8 layer a bias of zeros, int32 in the step of its accumulator where that is known.

    Runtimes fuse a layer into their int8 kernel only with an int32 bias of scale input_scale * weight_scale.
    """
    source = graph.producer(graph.producers[tap.layer_output].input[0], "DequantizeLinear")
    step = source.input[1] if source is not None else ""
    if step not in graph.constants or graph.array(step).size != 1:
        name = graph.add_constant(graph.free.of("bias", tap.name), np.zeros(tap.channels, np.float32))
        _add_bias(graph, tap, name)
        return Constant(name)
    name = graph.add_constant(graph.free.of("bias_int32", tap.name), np.zeros(tap.channels, np.int32))
    scale = graph.array(tap.weight.scale).reshape(-1) * graph.array(step).reshape(-1)
    scale_name = graph.add_constant(graph.free.of("bias_scale", tap.name), scale.astype(np.float32))
    output = graph.free.of("bias", tap.name)
    node = helper.make_node("DequantizeLinear", [name, scale_name], [output], name=output, axis=0)
    graph.model.graph.node.insert(0, node)
    _add_bias(graph, tap, output)
    return Constant(name, scale_name)


def _add_bias(graph: OnnxGraph, tap: OnnxTap, bias_name: str) -> None:
    """Make ``bias_name`` the bias of a layer that has none."""
    node = graph.producers[tap.layer_output]
    if len(node.input) > 2:
        node.input[2] = bias_name
    else:
        node.input.append(bias_name)
    for item in node.attribute:
        if item.name == "beta" and item.type == AttributeProto.FLOAT:
            item.f = 1.0


def _dequantize(graph: OnnxGraph, constant: Constant) -> Constant:
    """A float32 constant in the place of a DequantizeLinear's output."""
    if not constant.scale:
        return constant
    node = _find_reader(graph, constant)
    value = _value_of(graph, constant)
    graph.model.graph.node.remove(node)
    graph.add_constant(node.output[0], value)
    return Constant(node.output[0], channel_axis=constant.channel_axis)


def _find_reader(graph: OnnxGraph, constant: Constant) -> NodeProto:
    """The DequantizeLinear of an integer constant."""
    return next(n for n in graph.consumers[constant.name] if operator(n) == "DequantizeLinear")


def _value_of(graph: OnnxGraph, constant: Constant) -> NDArray[np.float32]:
    """The float32 value of a constant; of an integer one by the arithmetic of DequantizeLinear."""
    raw = graph.array(constant.name)
    if not constant.scale:
        return raw

    def over_channels(name: str, kind: type[Any]) -> NDArray[Any]:
        values = graph.array(name).astype(kind)
        return values.reshape([-1 if axis == constant.channel_axis else 1 for axis in range(raw.ndim)])

    zero = over_channels(constant.zero_point, np.int64) if constant.zero_point else 0
    centred = (raw.astype(np.int64) - zero).astype(np.float32)
    return np.asarray(centred * over_channels(constant.scale, np.float32), np.float32)
