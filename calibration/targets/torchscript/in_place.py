"""Nodes of a TorchScript graph that overwrite memory: what they change, and the same without that."""

import re
from collections.abc import Iterator
from typing import Any

from calibration.targets.torchscript.graph import CONVOLUTIONS, bodies_of, inputs_of, outputs_of, walk_nodes

_UNPACK = ("prim::ListUnpack", "prim::TupleUnpack")
_PACK = ("prim::ListConstruct", "prim::TupleConstruct", "prim::DictConstruct")
_GIVE_THEIR_INPUT = ("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout")
"""In evaluation mode, and without saying so in their schema."""
_IS_VIEW = re.compile(r"\w\(")
"""In what a schema says of the results: ``Tensor(a)``, not ``(Tensor values, Tensor indices)``."""

_FRESH = (*CONVOLUTIONS, "aten::batch_norm", "aten::linear", "aten::add")
"""Their output is new memory that their own derivative does not need."""
_CLIPS = ("aten::hardtanh", "aten::relu6")
"""Their derivative needs what they are given, in place only what they give: a tensor less is kept."""


def writes_in_place(node: Any) -> bool:
    """Whether a node changes its first input: a tensor's memory, or what a list or dict holds."""
    return "(a!)" in node.schema()


def may_be_view(node: Any) -> bool:
    """Whether an output of a node may be a part of its first input."""
    if node.kind() in _UNPACK or node.kind() in _GIVE_THEIR_INPUT:
        return True
    return _IS_VIEW.search(node.schema().rpartition("->")[2]) is not None


def sharing_memory(value: Any) -> Iterator[Any]:
    """``value`` and everything that may be, or hold, a view of the same memory."""
    roots, climbing = list[Any](), [value]
    while climbing:
        one = climbing.pop()
        node = one.node()
        if may_be_view(node) and node.inputsSize():
            climbing.append(node.inputsAt(0))
        else:
            roots.append(one)
            climbing += inputs_of(node) if node.kind() in _PACK else []
    seen, pending = set[int](), roots
    while pending:
        one = pending.pop()
        if one.unique() in seen:
            continue
        seen.add(one.unique())
        yield one
        pending += [
            output for use in one.uses() if _passes_on(use.user, one) for output in outputs_of(use.user)
        ]


def write_elsewhere(graph: Any) -> None:
    """Let nodes give a new tensor instead of overwriting one that has no view: a derivative may need the old one."""
    _write_elsewhere(graph, graph)


def _write_elsewhere(graph: Any, block: Any) -> None:
    own = set[int]()
    for node in list(block.nodes()):
        for body in bodies_of(node):
            _write_elsewhere(graph, body)
        if not node.kind().startswith("aten::") or node.outputsSize() != 1:
            continue
        if not writes_in_place(node):
            own.update([] if may_be_view(node) else [node.output().unique()])
            continue
        value = node.inputsAt(0)
        has_views = any(_passes_on(use.user, value) for use in value.uses() if use.user.isBefore(node))
        if value.unique() in own and not has_views and (plain := _plain_form(graph, node)) is not None:
            node.output().replaceAllUsesWith(plain.output())
            node.destroy()
            value.replaceAllUsesAfterNodeWith(plain, plain.output())
            own.add(plain.output().unique())


def _plain_form(graph: Any, node: Any) -> Any | None:
    """The same operator without its underscore, in front of ``node``; None when there is none."""
    plain = graph.create(node.kind().removesuffix("_"), inputs_of(node), 1)
    plain.insertBefore(node)
    plain.output().setType(node.output().type())
    if "->" in plain.schema() and not writes_in_place(plain):
        return plain
    plain.destroy()
    return None


def clip_in_place(graph: Any) -> None:
    """Overwrite what is clipped where nothing else needs it."""
    for node in list(walk_nodes(graph)):
        value = node.inputsAt(0) if node.kind() in _CLIPS else None
        if value is None or value.node().kind() not in _FRESH or len(value.uses()) > 1:
            continue
        clip = graph.create(f"{node.kind()}_", inputs_of(node), 1)
        clip.insertAfter(node)
        node.output().replaceAllUsesWith(clip.output())
        node.destroy()


def _passes_on(node: Any, value: Any) -> bool:
    """Whether what ``node`` gives may be, or hold, a view of ``value``."""
    if node.kind() in (*_PACK, "prim::If", "prim::Loop", "prim::Return"):
        return True
    return may_be_view(node) and node.inputsAt(0).unique() == value.unique()
