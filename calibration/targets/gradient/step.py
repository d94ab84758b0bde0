"""One node on the way back, and how nodes are written for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from calibration.targets.base import NoDerivative
from calibration.targets.gradient.free_names import FreeNames
from calibration.targets.gradient.program import Array
from calibration.targets.gradient.session import SizedProgram


class Writer:
    """Makes nodes and constants with names of their own."""

    def __init__(self, free: FreeNames, *, has_infinite_slopes: bool = False) -> None:
        """``has_infinite_slopes``: some gradients may be infinite, or no numbers."""
        self._free, self._has_infinite_slopes = free, has_infinite_slopes
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.second_outputs: dict[str, str] = {}
        """By the first output of a node of the forward pass: a second one that the way back reads."""
        self.turned: dict[str, str] = {}
        """By the weights of a layer: those of the same layer on the way back."""
        self._made = 0

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node; gives the name of its output."""
        output = self.name()
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def name(self) -> str:
        """One that nothing else has."""
        self._made += 1
        return self._free.of(str(self._made))

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant; gives its name."""
        name = self.name()
        self.constants[name] = np.asarray(value, dtype)
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A constant of whole numbers: axes, sizes."""
        return self.constant(values, np.int64)

    def sum_over(self, name: str, axes: Sequence[int], *, keep: bool = False) -> str:
        """The sum over some axes."""
        return self.add("ReduceSum", name, self.ints(axes), keepdims=int(keep), noop_with_empty_axes=1)

    def reshape(self, name: str, size: Sequence[int]) -> str:
        """The same values in another shape."""
        return self.add("Reshape", name, self.ints(size), allowzero=1)

    def transpose(self, name: str, order: Sequence[int]) -> str:
        """The axes in another order."""
        return self.add("Transpose", name, perm=[int(i) for i in order])

    def where(self, condition: str, name: str) -> str:
        """``name`` where the condition holds, else 0.

        As a product where that can be: ONNX Runtime's Where takes four times as long, a third of a whole step of a
        detector. 0 times an infinite slope is no number.
        """
        if self._has_infinite_slopes:
            return self.add("Where", condition, name, self.constant(0))
        return self.add("Mul", self.add("Cast", condition, to=TensorProto.FLOAT), name)

    def scaled(self, name: str, factor: float) -> str:
        """Times a number."""
        return name if factor == 1.0 else self.add("Mul", name, self.constant(factor))

    def fit(self, gradient: str, size: Sequence[int], wanted: Sequence[int]) -> str:
        """A gradient of ``size``, summed to the ``wanted`` size of what was broadcast."""
        if tuple(size) == tuple(wanted):
            return gradient
        ahead = len(size) - len(wanted)
        axes = [*range(ahead), *(i + ahead for i, n in enumerate(wanted) if n == 1 and size[i + ahead] != 1)]
        summed = self.sum_over(gradient, axes, keep=True) if axes else gradient
        return self.reshape(summed, wanted) if ahead else summed


@dataclass(frozen=True, slots=True)
class Step:
    """One node on the way back, for one of its inputs."""

    node: NodeProto
    writer: Writer
    sized: SizedProgram
    by_outputs: tuple[str, ...]
    """Names of the gradients by its outputs; empty where there is none."""
    index: int
    """Which input is asked for."""

    @property
    def by_output(self) -> str:
        """The gradient by the first output."""
        return self.by_outputs[0]

    @property
    def x(self) -> str:
        """The input that is asked for."""
        return str(self.node.input[self.index])

    @property
    def y(self) -> str:
        """The first output."""
        return str(self.node.output[0])

    def attribute(self, name: str, default: Any) -> Any:
        """Of the node."""
        found = (helper.get_attribute_value(item) for item in self.node.attribute if item.name == name)
        return next(found, default)

    def text(self, name: str, default: str) -> str:
        """An attribute that is a word."""
        found = self.attribute(name, default)
        return found.decode() if isinstance(found, bytes) else str(found)

    def size(self, name: str) -> tuple[int, ...]:
        """Of a tensor."""
        return self.sized.size(name)

    def value(self, index: int) -> Array | None:
        """Of a constant input; None where there is none, or none that is constant."""
        if len(self.node.input) <= index or not self.node.input[index]:
            return None
        found = self.sized.program.constants.get(self.node.input[index])
        return None if found is None else np.asarray(found)

    def require_constant(self, index: int) -> Array:
        """The value of an input that must be constant."""
        found = self.value(index)
        if found is None:
            raise NoDerivative(f"{self.node.op_type} whose input {index} is no constant")
        return found

    def is_constant(self, name: str) -> bool:
        """Whether a tensor does not depend on the input."""
        return name not in self.sized.sizes

    def fit(self, gradient: str) -> str:
        """The gradient by a tensor that was broadcast: summed over what it was repeated along."""
        return self.writer.fit(gradient, self.size(self.y), self.size(self.x))

    def times(self, slope: str) -> str:
        """The gradient times a slope."""
        return self.writer.add("Mul", self.by_output, slope)


Rule = Callable[[Step], str | None]
"""Gives the gradient by the input; None where it is 0 everywhere."""
