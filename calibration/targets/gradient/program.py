"""A model as float arithmetic: the form that every format is brought to before it is differentiated.

Weights are the values that their integers stand for. Where the model rounds to integers, the program only keeps to
their range: what rounding does is left to the evaluation of a candidate.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto

from calibration.targets.gradient.free_names import FreeNames, find_free_names, names_in
from calibration.targets.model_input import ModelInput

Array = NDArray[Any]

LEAST_OPSET = 17
"""Nodes of opsets 13 to 16 mean the same in 17, but for RoiAlign, which has no derivative here."""

SHAPE_OPS = ("Shape", "Size")
"""What depends on the sizes of an input alone is a constant: a program is of one batch of one size."""

_RANDOM_OPS = ("RandomNormal", "RandomUniform")
"""Give other values with every run, so they are no constants."""


@dataclass(frozen=True, slots=True)
class TapTensor:
    """A tap in a program."""

    name: str
    """Of the tap."""
    tensor: str
    """Where it is corrected."""
    channels: int
    channel_axis: int


@dataclass(frozen=True, slots=True)
class FloatProgram:
    """One model: ``nodes`` in topological order, in ONNX's own operators.

    Attributes:
        nodes: Of the forward pass; ones that have no derivative may be among them.
        constants: Every other tensor that they read, but for the input.
        input: The one input; the program takes it as float32, whatever the model's own type.
        taps: In graph order.
        layers: Outputs of the nodes with weights.
        outputs: Of the model.
        opset: Of the nodes, ``LEAST_OPSET`` at least.
    """

    nodes: Sequence[NodeProto]
    constants: Mapping[str, Array]
    input: ModelInput
    taps: Sequence[TapTensor]
    layers: Sequence[str]
    outputs: Sequence[str]
    opset: int

    def only(self, nodes: Iterable[NodeProto]) -> "FloatProgram":
        """The same with some of its nodes."""
        return replace(self, nodes=tuple(nodes))

    def find_free_names(self, word: str) -> FreeNames:
        """Names, beginning with ``word``, that nothing in the program has."""
        tensors = (tap.tensor for tap in self.taps)
        others = (self.input.name, *self.constants, *self.layers, *self.outputs, *tensors)
        return find_free_names(chain(others, names_in(self.nodes)), word)

    def depending(self) -> frozenset[str]:
        """The tensors that depend on the input, and not on its size alone."""
        found = {self.input.name}
        for node in self.nodes:
            is_changing = node.op_type in _RANDOM_OPS or not found.isdisjoint(read_by(node))
            if node.op_type not in SHAPE_OPS and is_changing:
                found.update(name for name in node.output if name)
        return frozenset(found)

    def leading_to(self, tensors: Iterable[str]) -> "FloatProgram":
        """The same with only the nodes that these tensors need."""
        wanted, kept = set(tensors), list[NodeProto]()
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.output):
                wanted.update(read_by(node))
                kept.append(node)
        return self.only(reversed(kept))


def read_by(node: NodeProto) -> Iterator[str]:
    """Names that a node reads, those that the bodies of control flow capture among them."""
    yield from node.input
    for item in node.attribute:
        for body in [item.g] if item.type == AttributeProto.GRAPH else item.graphs:
            yield from (output.name for output in body.output)
            for inner in body.node:
                yield from read_by(inner)


def last_layers(nodes: Sequence[NodeProto], layers: Collection[str]) -> tuple[str, ...]:
    """Those of ``layers``, outputs of nodes, behind which no other one is: the answers are computed from them."""
    leads_on, found = set[str](), list[str]()
    for node in reversed(nodes):
        is_layer = node.output[0] in layers
        if is_layer and leads_on.isdisjoint(node.output):
            found.append(node.output[0])
        if is_layer or not leads_on.isdisjoint(node.output):
            leads_on.update(node.input)
    return tuple(reversed(found))


def merge_clips(program: FloatProgram) -> FloatProgram:
    """The same with every run of Clip nodes as one: an activation and the range of its integers are one step."""
    readers = dict[str, int]()
    for node in program.nodes:
        for name in read_by(node):
            readers[name] = readers.get(name, 0) + 1
    kept_names = {*program.outputs, *(tap.tensor for tap in program.taps), *program.layers}
    constants, nodes = dict(program.constants), list[NodeProto]()
    free = program.find_free_names("clip")
    clips = dict[str, int]()
    """Places of those in ``nodes``, by their output."""
    for node in program.nodes:
        if not _has_limits(node, constants):
            nodes.append(node)
            continue
        place = clips.get(node.input[0])
        if place is None or readers[node.input[0]] > 1 or node.input[0] in kept_names:
            clips[node.output[0]] = len(nodes)
            nodes.append(node)
            continue
        before = nodes[place]
        low, high = (np.asarray(constants[name]).item() for name in node.input[1:3])
        low_before, high_before = (np.asarray(constants[name]).item() for name in before.input[1:3])
        limits = np.clip([low_before, high_before], low, high).astype(np.float32)
        one = NodeProto()
        one.CopyFrom(node)
        one.input[:] = [before.input[0], free.of("low", node.output[0]), free.of("high", node.output[0])]
        constants |= dict(zip(one.input[1:], map(np.asarray, limits), strict=True))
        nodes[place], clips[node.output[0]] = one, place
    return replace(program, nodes=tuple(nodes), constants=constants)


def _has_limits(node: NodeProto, constants: Mapping[str, Array]) -> bool:
    if node.op_type != "Clip" or len(node.input) != 3:
        return False
    return all(name in constants and np.asarray(constants[name]).size == 1 for name in node.input[1:])
