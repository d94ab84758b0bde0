"""What of a TorchScript graph depends on the input by a way without a derivative, here called a detour.

A gradient that lacks a way points in a wrong direction: whatever lies behind a detour cannot be aimed at. Which
operators have a derivative, torch itself tells, by running them; some have one that says nothing, because the operator
jumps.
"""

from collections.abc import Collection
from typing import Any

from calibration.targets.torchscript.graph import (
    bodies_of,
    constant,
    inputs_of,
    outputs_of,
    reads_data,
    walk_nodes,
)
from calibration.targets.torchscript.in_place import sharing_memory, writes_in_place

_JUMPS = frozenset(
    {
        "aten::round", "aten::floor", "aten::ceil", "aten::trunc", "aten::fix", "aten::frac", "aten::fmod",
        "aten::remainder", "aten::sign", "aten::sgn", "aten::copysign", "aten::heaviside", "aten::hardshrink",
        "aten::floor_divide",
    }
)  # fmt: skip
"""torch gives them a derivative (mostly 0), as far as it does, that knows nothing of the jumps."""

_SHAPE_OF = {
    "aten::zeros_like": (0,), "aten::ones_like": (0,), "aten::empty_like": (0,), "aten::full_like": (0,),
    "aten::new_zeros": (0,), "aten::new_ones": (0,), "aten::new_empty": (0,), "aten::new_full": (0,),
    "aten::expand_as": (1,), "aten::view_as": (1,), "aten::reshape_as": (1,), "aten::type_as": (1,),
    "aten::to": (1,),
}  # fmt: skip
"""Inputs that give no more than their shape and type."""
_ABOUT_STRUCTURE = frozenset(
    {
        "aten::__contains__", "aten::keys", "aten::stride", "aten::storage_offset", "aten::is_contiguous",
        "aten::is_complex", "prim::isinstance", "prim::type", "prim::is_cuda",
    }
)  # fmt: skip
"""Their answer does not depend on values."""

_PACK = {"prim::ListUnpack": "prim::ListConstruct", "prim::TupleUnpack": "prim::TupleConstruct"}


def tensor_values(graph: Any) -> list[Any]:
    """The tensors that nodes compute, those in control-flow bodies included; alike in order in a copy of the graph."""
    nodes = (node for node in walk_nodes(graph) if node.kind() != "prim::Constant")
    return [value for node in nodes for value in outputs_of(node) if _is_tensor(value)]


def find_detours(
    graph: Any, source: Any, lost: Collection[int], idle: Collection[int] = ()
) -> dict[int, str]:
    """The values behind a detour, by ``unique()``, and the operator that it begins with.

    Args:
        graph: Flat.
        source: The value that everything depends on.
        lost: ``unique()`` of tensors that torch computes without a derivative.
        idle: Of tensors that it does not compute, in branches that are not taken.
    """
    walk = _Walk(source, lost, idle)
    walk.go_through(graph)
    return walk.detours


class _Walk:
    def __init__(self, source: Any, lost: Collection[int], idle: Collection[int]) -> None:
        self._lost, self._idle = lost, idle
        self._depending = {source.unique()}
        self.detours = dict[int, str]()

    def go_through(self, block: Any) -> None:
        for node in block.nodes():
            match node.kind():
                case "prim::If":
                    self._go_through_if(node)
                case "prim::Loop":
                    self._go_through_loop(node)
                case kind if kind not in _ABOUT_STRUCTURE and reads_data(node):
                    self._go_through_node(node)

    def _go_through_node(self, node: Any) -> None:
        if any(output.unique() in self._idle for output in outputs_of(node)):
            return
        of_shape = _SHAPE_OF.get(node.kind(), ())
        reads = [value for i, value in enumerate(inputs_of(node)) if i not in of_shape]
        if packed := _packed(node):
            for part, output in zip(packed, outputs_of(node), strict=True):
                self._follow([part], output)
        elif _jumps(node) and any(value.unique() in self._depending for value in reads):
            self._mark(outputs_of(node), node.kind())
        else:
            for output in outputs_of(node):
                self._follow(reads, output)
        if writes_in_place(node):
            for value in sharing_memory(node.inputsAt(0)):
                self._put_into(value, outputs_of(node) or reads)

    def _go_through_if(self, node: Any) -> None:
        bodies = bodies_of(node)
        for body in bodies:
            self.go_through(body)
        if node.inputsAt(0).unique() in self._depending:
            self._mark(outputs_of(node), _by_values(node))
        for output, *results in zip(outputs_of(node), *(body.outputs() for body in bodies), strict=True):
            self._follow(results, output)

    def _go_through_loop(self, node: Any) -> None:
        (body,) = bodies_of(node)
        carried = list(body.inputs())[1:]
        starts, ends = inputs_of(node)[2:], list(body.outputs())[1:]
        before = -1
        while before != len(self._depending) + len(self.detours):
            before = len(self._depending) + len(self.detours)
            for value, *sources in zip(carried, starts, ends, strict=True):
                self._follow(sources, value)
            self.go_through(body)
        limits = [*inputs_of(node)[:2], next(iter(body.outputs()))]
        if any(value.unique() in self._depending for value in limits):
            self._mark(outputs_of(node), _by_values(node))
        for output, *sources in zip(outputs_of(node), starts, ends, strict=True):
            self._follow(sources, output)

    def _follow(self, sources: list[Any], value: Any) -> None:
        """``value`` is computed from ``sources``."""
        self._put_into(value, sources)
        is_lost = value.unique() in self._lost or not holds_tensors(value.type())
        if is_lost and value.unique() in self._depending:
            self._mark([value], str(value.node().kind()))

    def _put_into(self, value: Any, sources: list[Any]) -> None:
        """``value`` depends on the input where one of ``sources`` does."""
        reads = [source.unique() for source in sources if source.unique() in self._depending]
        if reads:
            self._depending.add(value.unique())
        for begins in (self.detours[read] for read in reads if read in self.detours):
            self._mark([value], begins)

    def _mark(self, values: Any, begins: str) -> None:
        for value in values:
            self._depending.add(value.unique())
            self.detours.setdefault(value.unique(), begins)


def _packed(node: Any) -> list[Any]:
    """What a list or tuple was made of that ``node`` takes apart; empty when that is not known."""
    if node.kind() not in _PACK or node.inputsAt(0).node().kind() != _PACK[node.kind()]:
        return []
    parts = inputs_of(node.inputsAt(0).node())
    is_only_reader = len(node.inputsAt(0).uses()) == 1  # else something may have been put into the list
    return parts if is_only_reader and len(parts) == node.outputsSize() else []


def _jumps(node: Any) -> bool:
    kind = node.kind().removesuffix("_") if writes_in_place(node) else node.kind()
    if kind == "aten::div":
        return bool(node.inputsSize() == 3 and not node.inputsAt(2).node().mustBeNone())
    if kind == "aten::threshold":  # a ReLU is one whose value is the threshold
        return bool(constant(node.inputsAt(1)) != constant(node.inputsAt(2)))
    return kind in _JUMPS


def _by_values(node: Any) -> str:
    return f"{node.kind()} by what the input shows"


def _is_tensor(value: Any) -> bool:
    return bool(value.type().kind() == "TensorType")


def holds_tensors(kind: Any) -> bool:
    """Whether a type is a tensor or may contain one."""
    return kind.kind() in ("TensorType", "AnyType", "ClassType") or any(
        map(holds_tensors, kind.containedTypes())
    )
