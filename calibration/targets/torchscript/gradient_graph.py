"""A flat copy of a model whose taps and input are corrected by arguments.

Each tap is corrected at the tensor at which a patch corrects it, and nothing is overwritten that a derivative needs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from calibration.stats.moments import INPUT_TAP
from calibration.targets.torchscript.detours import (
    find_detours,
    holds_tensors,
    tensor_values,
)
from calibration.targets.torchscript.graph import TorchGraph, inputs_of, walk_nodes
from calibration.targets.torchscript.in_place import clip_in_place, write_elsewhere, writes_in_place
from calibration.targets.torchscript.stages import correct_in_front, insert
from calibration.targets.torchscript.taps import TorchTap, name_heads

_STOPS = ("aten::detach", "aten::detach_", "prim::data")
"""They change no value, and hide a way from the derivatives."""


@dataclass(frozen=True, slots=True)
class CorrectedGraph:
    """See the module docstring.

    Attributes:
        graph: It takes the samples, and then scale and offset of each of ``taps``.
        taps: Channels of ``input`` and of the taps, in graph order.
        tensors: The values of the taps, corrected, and of the heads, by name.
    """

    graph: Any
    taps: Mapping[str, int]
    tensors: Mapping[str, Any]

    def compile(self, names: Sequence[str], *, with_answer: bool) -> Any:
        """A ``ScriptFunction``: the model's answer (None unless ``with_answer``), and a list of ``tensors``."""
        graph, values = self._copy()
        wanted = [values[self.tensors[name].unique()] for name in names]
        if any(writes_in_place(node) for node in walk_nodes(graph)):
            wanted = [insert(graph, value.node(), "copied", [value])[0][0] for value in wanted]
        answer = next(iter(graph.outputs()))
        if not with_answer:
            answer = graph.insertConstant(None)
        tensors = graph.create("prim::ListConstruct", wanted, 1)
        tensors.output().setType(torch._C.ListType.ofTensors())
        both = graph.create("prim::TupleConstruct", [answer, tensors.output()], 1)
        both.output().setType(torch._C.TupleType([answer.type(), tensors.output().type()]))
        _return(graph, [tensors, both])
        clip_in_place(graph)
        return torch._C._create_function_from_graph("differentiate", graph)

    def compile_search(self) -> Any:
        """A ``ScriptFunction``: the places in ``tensor_values`` that are computed with a derivative, and without."""
        graph, _ = self._copy()
        marker = graph.create("prim::Constant", 1)
        graph.prependNode(marker)
        found = [insert(graph, marker, "empty_list", [])[0][0] for _ in range(2)]
        for place, value in enumerate(tensor_values(graph)):
            insert(graph, value.node(), "note", [*found, place, value])
        marker.destroy()
        both = graph.create("prim::TupleConstruct", found, 1)
        both.output().setType(torch._C.TupleType([value.type() for value in found]))
        _return(graph, [both])
        return torch._C._create_function_from_graph("search", graph)

    def name_detours(self, found: tuple[list[int], list[int]]) -> tuple[dict[str, str], list[str]]:
        """The operators that ways without a derivative begin with.

        Args:
            found: By a search.

        Returns:
            Those of ``tensors`` by name, and those of the tensors of the answer: "" for none. Where the graph does not
            tell these apart, one stands for all of them.
        """
        values = [value.unique() for value in tensor_values(self.graph)]
        with_derivative, without = ({values[place] for place in places} for places in found)
        idle = set(values) - with_derivative - without
        detours = find_detours(self.graph, next(iter(self.graph.inputs())), without, idle)
        by_name = {name: detours[v.unique()] for name, v in self.tensors.items() if v.unique() in detours}
        answer = next(iter(self.graph.outputs()))
        return by_name, [detours.get(value.unique(), "") for value in _leaves(answer) or [answer]]

    def _copy(self) -> tuple[Any, dict[int, Any]]:
        """A copy of the graph, and its values by the ``unique()`` of this one's."""
        graph = self.graph.copy()
        pairs = zip(tensor_values(self.graph), tensor_values(graph), strict=True)
        return graph, {own.unique(): copy for own, copy in pairs}


def build_corrected(
    graph: TorchGraph, taps: Sequence[TorchTap], input_channels: int, channel_axis: int = 1
) -> CorrectedGraph:
    """Every tap corrected by arguments; ``graph`` is used up. ``channel_axis`` is that of the input."""
    whole = graph.graph
    heads = name_heads(graph, taps)
    tensors = dict[str, Any]()
    settings = [(whole.addInput(), whole.addInput()) for _ in range(len(taps) + 1)]
    for tap, (scale, offset) in zip(taps, settings[1:], strict=True):
        tensors[tap.name] = _correct(whole, tap, scale, offset)
    correct_in_front(whole, graph.input, *settings[0], channel_axis)
    _drop_gradient_stops(whole)
    write_elsewhere(whole)
    channels = {INPUT_TAP: input_channels} | {tap.name: tap.channels for tap in taps}
    return CorrectedGraph(whole, channels, heads | tensors)


def _correct(graph: Any, tap: TorchTap, scale: Any, offset: Any) -> Any:
    """Gives the corrected tensor of a tap."""
    if tap.op == "BatchNormalization":
        _correct_batch_norm(graph, tap.node, scale, offset)
        return tap.output
    stage = "corrected_copy_last_axis" if tap.is_channel_last else "corrected_copy"
    axis = [] if tap.is_channel_last else [1]
    (better,), last = insert(graph, tap.output.node(), stage, [tap.output, scale, offset, *axis])
    tap.output.replaceAllUsesAfterNodeWith(last, better)
    return better


def _correct_batch_norm(graph: Any, node: Any, scale: Any, offset: Any) -> None:
    """By its weight and bias, as a patch does it: its derivative needs no other tensor then than its input."""
    weight, bias = node.inputsAt(1), node.inputsAt(2)
    if weight.node().mustBeNone():
        node.replaceInput(1, scale)
        node.replaceInput(2, offset)
        return
    (new_weight,), last = insert(graph, node.prev(), "product", [weight, scale])
    (new_bias,), _ = insert(graph, last, "corrected_copy_last_axis", [bias, scale, offset])
    node.replaceInput(1, new_weight)
    node.replaceInput(2, new_bias)


def _drop_gradient_stops(graph: Any) -> None:
    """Remove detach, and what begins and ends no_grad."""
    for node in list(walk_nodes(graph)):
        if node.kind() in _STOPS:
            node.output().replaceAllUsesWith(node.inputsAt(0))
            node.destroy()
        elif _switches_gradients(node):
            node.destroy()


def _switches_gradients(node: Any) -> bool:
    if node.kind() in ("prim::Enter", "prim::Exit"):
        return "grad_mode" in str(node.inputsAt(0).type())
    return bool(node.kind() == "aten::set_grad_enabled")


def _return(graph: Any, nodes: Sequence[Any]) -> None:
    """End with these nodes, of which the last one gives the output."""
    for node in nodes:
        graph.appendNode(node)
    graph.eraseOutput(0)
    graph.registerOutput(nodes[-1].output())
    torch._C._jit_pass_dce_graph(graph)


def _leaves(value: Any) -> list[Any] | None:
    """The tensors of an answer in the order in which they are named; None where the graph does not tell."""
    if value.type().kind() == "TensorType":
        return [value]
    if not holds_tensors(value.type()):
        return []
    if len(value.uses()) > 1:  # something may have been put into it
        return None
    node = value.node()
    match node.kind():
        case "prim::TupleConstruct" | "prim::ListConstruct":
            parts = inputs_of(node)
        case "prim::DictConstruct":
            parts = inputs_of(node)[1::2]
        case _:
            return None
    found = [_leaves(part) for part in parts]
    return None if None in found else [leaf for part in found if part is not None for leaf in part]
