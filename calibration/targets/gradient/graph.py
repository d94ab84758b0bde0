"""Which part of a program can be differentiated, and its gradient graph."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from calibration.targets.base import Aim, NoDerivative
from calibration.targets.gradient.builder import GraphBuilder, Unfit
from calibration.targets.gradient.names import GradientGraph
from calibration.targets.gradient.program import FloatProgram, read_by
from calibration.targets.gradient.rules import DATA_INPUTS, RULES
from calibration.targets.gradient.session import FloatModel, find_sizes


def with_derivative(program: FloatProgram) -> tuple[FloatProgram, tuple[str, ...]]:
    """The part of a program that can be differentiated, and what ends it: operators without a derivative.

    A node belongs to it when everything between it and the input does: a gradient that lacks a way would point in
    a wrong direction. Even the size of what such an operator gives is no constant: it may find more or fewer objects.
    """
    depending = program.depending()
    lost, ends, kept = set[str](), dict[str, None](), list[NodeProto]()
    for node in program.nodes:
        problem = "" if depending.isdisjoint(node.output) else _why_not(node, depending)
        if lost.isdisjoint(read_by(node)) and not problem:
            kept.append(node)
            continue
        if lost.isdisjoint(read_by(node)):
            ends[problem] = None
        lost.update(name for name in node.output if name)
    return program.only(kept), tuple(ends)


def _why_not(node: NodeProto, depending: frozenset[str]) -> str:
    """Why a node cannot be differentiated; empty when it can, as far as that can be told without sizes."""
    name = f"{node.domain}:{node.op_type}" if node.domain else str(node.op_type)
    if node.domain or node.op_type not in RULES:
        return name
    allowed = DATA_INPUTS.get(node.op_type)
    if allowed is not None and any(n in depending for i, n in enumerate(node.input) if i not in allowed):
        return f"{name} with sizes, limits or weights that depend on the input"
    return ""


def build(
    program: FloatProgram, aims: Sequence[Aim], x: NDArray[np.float32]
) -> tuple[GradientGraph, FloatModel, tuple[str, ...]]:
    """The gradient graph for batches like ``x`` (N, C, ...), and the operators that have no derivative.

    Aims that cannot be reached are left out; so are taps from which no aim depends.

    Raises:
        NoDerivative: no aim is left.
        One of ``session.FAILURES``: ONNX Runtime refuses the forward pass.
    """
    part, ends = with_derivative(program)
    problems = list(ends)
    while True:
        reached = part.depending()
        left = [aim for aim in aims if aim.name in reached and aim.name != part.input.name]
        if not left:
            raise NoDerivative(", ".join(problems) or "no layer on the way to the answers")
        part = part.leading_to(aim.name for aim in left)
        sized = find_sizes(part, x)
        without_classes = [aim for aim in left if aim.kind == "softmax" and len(sized.size(aim.name)) < 2]
        if without_classes:
            problems += [f"classes of {aim.name}, which has one axis" for aim in without_classes]
            aims = [aim for aim in left if aim not in without_classes]
            continue
        try:
            return *GraphBuilder(sized, left).build(), tuple(problems)
        except Unfit as err:
            problems.append(str(err))
            part = _without(part, err.node)


def _without(program: FloatProgram, unfit: NodeProto) -> FloatProgram:
    """The program without a node and everything that depends on it."""
    lost, kept = set(unfit.output), list[NodeProto]()
    for node in program.nodes:
        if node is unfit or not lost.isdisjoint(read_by(node)):
            lost.update(node.output)
        else:
            kept.append(node)
    return program.only(kept)
