"""Puts a model's forward pass, the losses and the backward pass into one ONNX graph.

Its inputs are the samples, a scale and an offset for every tap, and what the aims are compared with; its outputs are
the losses and, channel by channel of a tap, two sums over the gradient by the corrected tap: that of the gradient
times the tap (*along* it), and its own. The second is the gradient by the offset; the first gives that by the scale,
so that nothing but the corrected tap has to be kept.
"""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from calibration.stats.moments import INPUT_TAP
from calibration.targets.base import Aim, NoDerivative
from calibration.targets.gradient.losses import compare
from calibration.targets.gradient.names import GradientGraph, GradientNames
from calibration.targets.gradient.program import FloatProgram, TapTensor, read_by
from calibration.targets.gradient.rules import OF_SEVERAL_OUTPUTS, RULES
from calibration.targets.gradient.session import FloatModel, SizedProgram, to_model
from calibration.targets.gradient.step import Step, Writer

_INFINITE_SLOPES = ("Exp", "Log", "Pow", "Reciprocal")
"""Operators whose slope can be infinite, and so can that of a quotient."""


def _has_infinite_slopes(program: FloatProgram) -> bool:
    return any(
        node.op_type in _INFINITE_SLOPES or (node.op_type == "Div" and node.input[1] not in program.constants)
        for node in program.nodes
    )


class Unfit(Exception):
    """A node turned out to have no derivative."""

    def __init__(self, node: NodeProto, why: str) -> None:
        super().__init__(why)
        self.node = node


_FEW_PLACES = 64
"""With weights that are given at every run, pointwise convolutions at 7 x 7 places take 1.4 times as long, at 14 x 14
1.1 times, above as long."""


class GraphBuilder:
    """Writes one graph."""

    def __init__(self, sized: SizedProgram, aims: Sequence[Aim]) -> None:
        """For a program of which all can be differentiated, and aims in it."""
        self._sized, self._aims = sized, aims
        free = sized.program.find_free_names("gradient")
        self._names = GradientNames(free)
        self._writer = Writer(free, has_infinite_slopes=_has_infinite_slopes(sized.program))
        program, model_input = sized.program, sized.program.input
        size = sized.size(model_input.name)
        axis = model_input.channel_axis
        made = {name for node in program.nodes for name in node.output}
        known = [tap for tap in program.taps if tap.tensor in made]
        self._taps = {model_input.name: TapTensor(INPUT_TAP, model_input.name, size[axis], axis)}
        self._taps |= {tap.tensor: tap for tap in known}
        self._gradients = dict[str, str]()
        """By the tensors that other nodes read: by the corrected one of a tap."""
        self._sums = dict[str, tuple[str, str]]()
        """By the tensor of a tap: what is summed over all axes but that of the channels."""
        self._compared = {aim.name for aim in aims}
        self._readers = dict[str, list[NodeProto]]()
        for node in program.nodes:
            for name in read_by(node):
                self._readers.setdefault(name, []).append(node)

    def build(self) -> tuple[GradientGraph, FloatModel]:
        """The graph in the order that takes the least memory.

        ONNX Runtime computes the last of the outputs first, with all that it needs. So the losses come last, then the
        sums of the last layers: each takes part of what is there already, and nothing has to be kept for the end.

        Raises:
            Unfit: a node turned out to have no derivative.
        """
        program, writer = self._sized.program, self._writer
        losses = [self._start_at(aim) for aim in self._aims]
        for node in reversed(program.nodes):
            self._go_back(node)
        self._go_back_through_tap(program.input.name)
        forward = [*self._correct(program.input.name)]
        for node in program.nodes:
            forward += self._with_corrections(node)
        graph = GradientGraph(
            tuple(tap for tensor, tap in self._taps.items() if tensor in self._sums),
            tuple(self._aims),
            self._names,
        )
        results = [node for tap in graph.taps for node in self._sum_up(tap)]
        for aim, loss in reversed(list(zip(self._aims, losses, strict=True))):
            results.append(helper.make_node("Identity", [loss], [self._names.loss(aim)]))
        nodes, constants = [*forward, *writer.nodes, *results], {**program.constants, **writer.constants}
        fixed = self._of_small_maps()
        return graph, to_model(nodes, constants, self._inputs(nodes), graph.outputs, program.opset, fixed)

    def _of_small_maps(self) -> frozenset[str]:
        """Weights of convolutions at few places, and the same on the way back."""
        forward = {
            node.input[1]: node.output[0] for node in self._sized.program.nodes if node.op_type == "Conv"
        }
        small = {name for name, y in forward.items() if prod(self._sized.size(y)[2:]) <= _FEW_PLACES}
        return frozenset(small | {self._writer.turned[name] for name in small if name in self._writer.turned})

    def _sum_up(self, tap: TapTensor) -> Iterator[NodeProto]:
        axes = [axis for axis in range(len(self._sized.size(tap.tensor))) if axis != tap.channel_axis]
        over = self._writer.ints(axes)
        for summed, name in zip(self._sums[tap.tensor], self._names.sums(tap), strict=True):
            yield helper.make_node("ReduceSum", [summed, over], [name], keepdims=0)

    def _with_corrections(self, node: NodeProto) -> Iterator[NodeProto]:
        """A node of the forward pass, and behind it the corrections of the taps among its outputs."""
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.output[:] = [self._names.raw(name) if name in self._taps else name for name in node.output]
        if second := self._writer.second_outputs.get(node.output[0]):
            copy.output[1:] = [second]
        yield copy
        for name in node.output:
            if name in self._taps:
                yield from self._correct(name)

    def _correct(self, tensor: str) -> Iterator[NodeProto]:
        """A tap times its scale plus its offset: in one go by BatchNormalization where the channels lie on axis 1."""
        tap = self._taps[tensor]
        scale, offset = self._names.settings(tap)
        if tap.channel_axis == 1:
            moments = [self._writer.constant(np.full(tap.channels, value)) for value in (0, 1)]
            inputs = [self._names.raw(tensor), scale, offset, *moments]
            yield helper.make_node("BatchNormalization", inputs, [tensor], epsilon=0.0)
            return
        shape, scaled = self._writer.ints(self._shape_of_settings(tap)), self._writer.name()
        shaped = [self._writer.name(), self._writer.name()]
        yield helper.make_node("Reshape", [scale, shape], shaped[:1])
        yield helper.make_node("Reshape", [offset, shape], shaped[1:])
        yield helper.make_node("Mul", [self._names.raw(tensor), shaped[0]], [scaled])
        yield helper.make_node("Add", [scaled, shaped[1]], [tensor])

    def _shape_of_settings(self, tap: TapTensor) -> list[int]:
        """In which a scale (C,) broadcasts over the tensor."""
        return [tap.channels] + [1] * (len(self._sized.size(tap.tensor)) - 1 - tap.channel_axis)

    def _start_at(self, aim: Aim) -> str:
        """Start the way back at an aim; gives the name of its loss."""
        loss, slope = compare(self._writer, self._names, aim, self._sized.size(aim.name))
        self._add_gradient(aim.name, slope)
        return loss

    def _add_gradient(self, tensor: str, gradient: str) -> None:
        before = self._gradients.get(tensor)
        self._gradients[tensor] = gradient if before is None else self._writer.add("Add", before, gradient)

    def _go_back(self, node: NodeProto) -> None:
        """The gradients by what a node reads, from those by what it gives."""
        for output in node.output:
            self._go_back_through_tap(output)
        by_outputs = tuple(self._gradients.get(output, "") for output in node.output)
        if not any(by_outputs):
            return
        if any(by_outputs[1:]) and node.op_type not in OF_SEVERAL_OUTPUTS:
            raise Unfit(node, f"{node.op_type} by its second output")
        for index, name in enumerate(node.input):
            if name in self._sized.sizes:
                found = self._derive(Step(node, self._writer, self._sized, by_outputs, index))
                if found is not None:
                    self._add_gradient(name, found)

    def _derive(self, step: Step) -> str | None:
        try:
            return RULES[step.node.op_type](step)
        except NoDerivative as err:
            raise Unfit(step.node, str(err)) from err

    def _go_back_through_tap(self, tensor: str) -> None:
        """The two sums of a tap; the gradient by its tensor becomes that before the correction."""
        if tensor not in self._taps or tensor not in self._gradients:
            return
        writer, tap, gradient = self._writer, self._taps[tensor], self._gradients[tensor]
        self._sums[tensor] = writer.add("Mul", gradient, self._stand_in(tensor)), gradient
        scale = writer.reshape(self._names.settings(tap)[0], self._shape_of_settings(tap))
        self._gradients[tensor] = writer.add("Mul", gradient, scale)

    def _stand_in(self, tensor: str) -> str:
        """What a tensor is wherever the gradient by it is not 0, and is kept anyway: what limits make of it."""
        readers = self._readers.get(tensor, [])
        is_only_limited = len(readers) == 1 and readers[0].op_type in ("Clip", "Relu")
        return str(readers[0].output[0]) if is_only_limited and tensor not in self._compared else tensor

    def _inputs(self, nodes: Sequence[NodeProto]) -> list[ValueInfoProto]:
        read = {name for node in nodes for name in node.input}
        names = [name for tap in self._taps.values() for name in self._names.settings(tap)]
        names += [name for aim in self._aims for name in (self._names.target(aim), self._names.weight(aim))]
        names = [self._names.raw(self._sized.program.input.name), *names]
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name in read
        ]
