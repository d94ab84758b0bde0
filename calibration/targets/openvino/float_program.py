"""An OpenVINO IR as a program of float arithmetic; see :class:`calibration.targets.gradient.program.FloatProgram`.

The IR is made one for the batch at hand first: every size is known then, and whatever is computed from sizes is a
constant.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import openvino as ov
from openvino.passes import ConstantFolding, Manager

from calibration.targets.base import Batch
from calibration.targets.gradient.forward import FORWARD_OPSET, ForwardWriter
from calibration.targets.gradient.free_names import find_free_names
from calibration.targets.gradient.program import FloatProgram, TapTensor, last_layers
from calibration.targets.gradient.session import to_own_layout
from calibration.targets.openvino.float_arithmetic import ARITHMETIC
from calibration.targets.openvino.float_moves import MOVES, SEVERAL_OUTPUTS
from calibration.targets.openvino.float_windows import WINDOWS
from calibration.targets.openvino.graph import IrGraph, value
from calibration.targets.openvino.taps import BATCH_NORM, IrTap, behind_links, has_weights, is_decoding, label
from calibration.targets.openvino.translation import Links, Operator, TensorNames, Untranslated, place_of

DOMAIN = "openvino"
"""Of operators that are not translated."""

_TRANSLATIONS = {**ARITHMETIC, **MOVES, **WINDOWS}


def to_float_program(graph: IrGraph, taps: Sequence[IrTap], outputs: Sequence[str], x: Batch) -> FloatProgram:
    """The model of ``graph`` for batches like ``x`` (N, C, ...); ``graph`` must not be used afterwards.

    Args:
        graph: A copy of the model.
        taps: In that copy.
        outputs: Names of the model's outputs, in order.
        x: float32.

    Raises:
        RuntimeError: OpenVINO finds that its layers do not take batches of that size.
    """
    names = name_tensors(graph, taps, outputs)
    layers = _layers(graph, names)
    fixed = _settle_sizes(graph, x)
    writer = ForwardWriter(names.free)
    folded = {tap.layer.get_name(): tap for tap in taps if tap.op != BATCH_NORM}
    inside = {link.node.get_name() for tap in folded.values() for link in tap.links}
    for node in fixed.nodes:
        if not _is_given(fixed, node) and node.get_name() not in inside:
            _translate(_operator(fixed, node, writer, names, folded.get(node.get_name())))
    for result, name in zip(fixed.model.get_results(), outputs, strict=True):
        source = result.input_value(0)
        if not fixed.is_constant(source) and names.of(source) != name:
            writer.add("Identity", [names.of(source)], [name])
    program = FloatProgram(
        nodes=tuple(writer.nodes),
        constants=writer.constants,
        input=graph.input,
        taps=tuple(TapTensor(tap.name, tap.name, tap.channels, tap.channel_axis) for tap in taps),
        layers=layers,
        outputs=tuple(outputs),
        opset=FORWARD_OPSET,
    )
    return program.leading_to([*layers, *outputs, *(tap.name for tap in taps)])


def find_heads(graph: IrGraph, taps: Sequence[IrTap], outputs: Sequence[str]) -> tuple[str, ...]:
    """Outputs of the layers behind which no other layer is; as :func:`to_float_program` names them."""
    names = name_tensors(graph, taps, outputs)
    writer = ForwardWriter(names.free)
    for node in graph.nodes:
        if node.get_output_size() and node.get_type_name() != "Result":
            sources = [names.of(source) for source in node.input_values()]
            writer.add_foreign(DOMAIN, node.get_type_name(), sources, _names_of_outputs(names, node))
    return last_layers(writer.nodes, _layers(graph, names))


def name_tensors(graph: IrGraph, taps: Sequence[IrTap], outputs: Sequence[str]) -> TensorNames:
    """The same names for a model and its copies: friendly ones repeat in an IR, unique ones differ in a copy."""
    found = {place_of(tap.output): tap.name for tap in taps}
    found[place_of(graph.parameter.output(0))] = graph.input.name
    for result, name in zip(graph.model.get_results(), outputs, strict=True):
        found.setdefault(place_of(result.input_value(0)), name)
    taken = {*found.values(), *outputs}
    for node in graph.nodes:
        for output in node.outputs():
            if place_of(output) in found:
                continue
            name = label(node) if output.get_index() == 0 else f"{label(node)}:{output.get_index()}"
            while name in taken:
                name += "'"
            found[place_of(output)] = name
            taken.add(name)
    # The tensors inside of a tap are calculated with its layer, whose name is the tap's.
    found |= {place_of(tap.layer.output(0)): tap.name for tap in taps if tap.op != BATCH_NORM}
    return TensorNames(found, find_free_names(taken, "forward"))


def _layers(graph: IrGraph, names: TensorNames) -> tuple[str, ...]:
    """Outputs of the nodes with weights, behind their biases; what only decodes boxes is none of them."""
    found = (node for node in graph.nodes if has_weights(graph, node) and not is_decoding(node))
    return tuple(names.of(behind_links(graph, node)) for node in found)


def _names_of_outputs(names: TensorNames, node: Any) -> list[str]:
    return [names.of(output) for output in node.outputs()]


def _settle_sizes(graph: IrGraph, x: Batch) -> IrGraph:
    """The model for batches like ``x``, with everything that is computed from sizes as constants."""
    shape = to_own_layout(graph.input, x[:1]).shape
    graph.model.reshape({0: ov.PartialShape([len(x), *shape[1:]])})
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(graph.model)
    return IrGraph(graph.name, graph.model, graph.input)


def _is_given(graph: IrGraph, node: Any) -> bool:
    """Whether there is nothing to translate: the input, an output, or a constant."""
    if node.get_type_name() in ("Parameter", "Result") or not node.get_output_size():
        return True
    return graph.is_constant(node.output(0))


def _operator(
    graph: IrGraph, node: Any, writer: ForwardWriter, names: TensorNames, tap: IrTap | None
) -> Operator:
    found = Operator(node, graph, writer, names, _names_of_outputs(names, node))
    return found if tap is None else replace(found, links=_links(tap), weight_axes=tap.weight_axes)


def _links(tap: IrTap) -> Links:
    """What follows a layer as one scale and one offset per channel, calculated into its weights and bias."""
    scale, offset = np.ones(tap.channels), np.zeros(tap.channels)
    for link in tap.links:
        constant = value(link.place.get_source_output()).astype(np.float64).ravel()
        match link.node.get_type_name():
            case "Add":
                offset = offset + constant
            case "Subtract":
                offset = offset - constant
            case "Multiply":
                scale, offset = scale * constant, offset * constant
            case _:
                scale, offset = scale / constant, offset / constant
    return Links(scale, offset)


def _translate(op: Operator) -> None:
    """Write the nodes of one operator, or one that names it as without a derivative."""
    try:
        _require_known(op)
        _TRANSLATIONS[op.kind](op)
    except Untranslated as err:
        sources = [op.names.of(source) for source in _varying(op)]
        op.writer.add_foreign(DOMAIN, str(err), sources, op.outputs)


def _require_known(op: Operator) -> None:
    later = op.node.outputs()[1:]
    is_read = op.kind not in SEVERAL_OUTPUTS and any(output.get_target_inputs() for output in later)
    is_open = any(output.get_partial_shape().is_dynamic for output in (*op.node.outputs(), *_varying(op)))
    if op.kind not in _TRANSLATIONS or is_read or is_open:
        raise Untranslated(op.kind)


def _varying(op: Operator) -> Iterator[Any]:
    """What it reads and what is no constant."""
    return (source for source in op.node.input_values() if not op.graph.is_constant(source))
