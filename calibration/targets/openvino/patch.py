"""Writes ``y' = scale * y + offset`` at a tap into the constants of an OpenVINO layer.

The scale goes into the last Multiply or Divide behind the layer, else into the scales that its weights are
dequantized with, else into the weights; the offset into the last Add or Subtract. Integer and compressed float16
weights keep their bytes; nothing is rounded but to float32. Works at single inputs, so shared constants are safe.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import opset13 as ops

from calibration.patch import Affine
from calibration.stats.moments import Vector
from calibration.targets.base import DEAD_WEIGHT_SCALE
from calibration.targets.model_input import ModelInput
from calibration.targets.openvino.graph import IrGraph, element_type, only_reader, readers, shape_of, value
from calibration.targets.openvino.taps import BATCH_NORM, IrTap


def patch_tap(graph: IrGraph, tap: IrTap, affine: Affine) -> int:
    """Write a correction into the layer's constants; gives how many channels had to be left alone."""
    dead = _find_dead_channels(graph, tap) & affine.touched
    scale = np.where(dead, 1.0, affine.scale.astype(np.float64))
    offset = np.where(dead, 0.0, affine.offset.astype(np.float64))
    if (scale != 1).any() or offset.any():
        _correct(graph, tap, scale, offset)
    return int(dead.sum())


def insert_input_correction(graph: IrGraph, affine: Affine) -> None:
    """Correct the input itself, by constants; see :func:`correct_input`."""
    if affine.touched.any():
        correct_input(graph, ops.constant(affine.scale), ops.constant(affine.offset))


def correct_input(graph: IrGraph, scale: Any, offset: Any) -> None:
    """Put ``scale * x + offset`` (float32 nodes (C,)) in front of everything that reads the input.

    Explicit and in floating point, because folding it into a first convolution with zero padding would change the
    border. Of a uint8 input the readers that convert it to a float get the corrected float; others get it rounded to
    uint8 again.
    """
    source, model_input = graph.parameter.output(0), graph.input
    targets = readers(source)
    over_channels = ops.constant(
        [-1 if i == model_input.channel_axis else 1 for i in range(len(model_input.shape))]
    )
    x = source if model_input.dtype == np.float32 else ops.convert(source, "f32").output(0)
    scaled = ops.multiply(x, ops.reshape(scale, over_channels, False))
    shift = ops.reshape(offset, over_channels, False)
    corrected = ops.add(scaled, shift, name=f"{model_input.name}/corrected").output(0)
    for target in targets:
        reader = target.get_node()
        is_convert = reader.get_type_name() == "Convert" and reader.get_element_type().is_real()
        if model_input.dtype == np.uint8 and is_convert:
            reader.output(0).replace(ops.convert(corrected, element_type(reader)).output(0))
        else:
            target.replace_source_output(_as_before(corrected, model_input))


def make_constant(old: Any, new: NDArray[np.float64]) -> Any:
    """A constant of the type of the output ``old`` with other values."""
    return ops.constant(new.astype(old.get_element_type().to_dtype())).output(0)


def _correct(graph: IrGraph, tap: IrTap, scale: Vector, offset: Vector) -> None:
    """Give the scale to the last multiplication of the tap and carry it through the additions behind it."""
    scales = [i for i, link in enumerate(tap.links) if link.is_scale]
    behind = tap.links[scales[-1] + 1 :] if scales else tap.links
    factor = tap.per_channel(scale)
    if scales:
        link = tap.links[scales[-1]]
        is_divide = link.node.get_type_name() == "Divide"
        _rewrite(link.place, lambda old: old / factor if is_divide else old * factor)
    elif tap.op == BATCH_NORM:  # inputs: data, gamma, beta, mean, variance
        shift = offset if not behind else np.zeros_like(offset)
        _rewrite(tap.layer.input(1), lambda old: old * scale)
        _rewrite(tap.layer.input(2), lambda old: old * scale + shift)
    else:
        _scale_weights(graph, tap, scale)
    for link in behind[:-1]:
        _rewrite(link.place, lambda old: old * factor)
    if behind:
        sign = -1 if behind[-1].node.get_type_name() == "Subtract" else 1
        _rewrite(behind[-1].place, lambda old: old * factor + sign * tap.per_channel(offset))
    elif tap.op != BATCH_NORM and offset.any():
        _add_bias(tap, offset)


def _rewrite(place: Any, change: Callable[[Vector], Vector]) -> None:
    """Replace the constant at an input of a node; ``change`` gets its values as float64."""
    old = place.get_source_output()
    place.replace_source_output(make_constant(old, change(value(old).astype(np.float64))))


def _add_bias(tap: IrTap, offset: Vector) -> None:
    """Add behind a layer that has no bias; the new node takes the tap's name, as OpenVINO's readers do."""
    output = tap.output
    targets = output.get_target_inputs()
    added = ops.add(output, make_constant(output, tap.per_channel(offset))).output(0)
    name = output.get_node().get_friendly_name()
    output.get_node().set_friendly_name(f"{name}/WithoutBiases")
    added.get_node().set_friendly_name(name)
    for target in targets:
        target.replace_source_output(added)


def _scale_weights(graph: IrGraph, tap: IrTap, scale: Vector) -> None:
    place, axes = tap.layer.input(1), tap.weight_axes
    source = place.get_source_output()
    if source.get_node().get_type_name() == "Constant" and element_type(source) == "f32":
        _rewrite(place, lambda old: old * _over_weights(old.shape, axes, scale))
        return
    step = _dequantization(graph, source, axes)
    if step is None:  # compressed, shared, transposed...: one multiplication more, which compiling folds away
        factor = make_constant(source, _over_weights(shape_of(source), axes, scale))
        place.replace_source_output(ops.multiply(source, factor).output(0))
        return
    node, operands, axes = step
    over_weights = _over_weights(shape_of(node.output(0)), axes, scale)
    for operand in operands:
        _rewrite(node.input(operand), lambda old: old * over_weights)


def _dequantization(
    graph: IrGraph, source: Any, axes: tuple[int, ...]
) -> tuple[Any, tuple[int, ...], tuple[int, ...]] | None:
    """The node that gives integer weights their size, its inputs that do it, and the channel axes there.

    ``axes`` are the channel axes at ``source``. None when there is none that only this layer reads.
    """
    node = source.get_node()
    if only_reader(source) is None:
        return None
    match node.get_type_name():
        case "Multiply":
            one, other = (math.prod(shape_of(source)) for source in node.input_values())
            return node, (0 if one < other else 1,), axes
        case "FakeQuantize":
            return node, (3, 4), axes
        # a grouped convolution's weights, kept as (O, I / groups, ...) outside
        case "Reshape" if axes == (0, 1):
            inner = node.input_value(0)
            channels = math.prod(shape_of(source)[:2])
            if inner.get_partial_shape().is_static and shape_of(inner)[0] == channels:
                return _dequantization(graph, inner, (0,))
    return None


def _find_dead_channels(graph: IrGraph, tap: IrTap) -> NDArray[np.bool_]:
    """(C,) where quantized weights stand for zeros."""
    step = _dequantization(graph, tap.layer.input_value(1), tap.weight_axes) if tap.weight_axes else None
    if step is None:
        return np.zeros(tap.channels, np.bool_)
    node, operands, axes = step
    parts = [value(node.input_value(operand)).astype(np.float64) for operand in operands]
    size = parts[0] if len(parts) == 1 else (parts[1] - parts[0]) / (node.get_attributes()["levels"] - 1)
    whole = np.broadcast_to(np.abs(size), shape_of(node.output(0)))
    others = tuple(axis for axis in range(whole.ndim) if axis not in axes)
    return np.asarray(whole.max(axis=others).reshape(-1) < DEAD_WEIGHT_SCALE, np.bool_)


def _over_weights(shape: tuple[int, ...], axes: tuple[int, ...], scale: Vector) -> Vector:
    """``scale`` (C,) in a shape that broadcasts over weights of ``shape`` whose channels lie on ``axes``."""
    return scale.reshape([n if axis in axes else 1 for axis, n in enumerate(shape)])


def _as_before(corrected: Any, model_input: ModelInput) -> Any:
    """The corrected input in the type of the input."""
    if model_input.dtype == np.float32:
        return corrected
    if model_input.dtype == np.float16:
        return ops.convert(corrected, "f16").output(0)
    whole = ops.clamp(ops.round(corrected, "half_to_even"), 0.0, 255.0)
    return ops.convert(whole, "u8").output(0)
