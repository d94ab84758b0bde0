"""One operator of an IR on its way into a program of ONNX operators; which operator becomes what is told elsewhere.

All sizes are known here: the IR is one for a batch of one size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.stats.moments import Vector
from calibration.targets.gradient.forward import ForwardWriter
from calibration.targets.gradient.free_names import FreeNames
from calibration.targets.openvino.graph import IrGraph, element_type, shape_of, value

Array = NDArray[Any]

REALS = ("f16", "bf16", "f32", "f64")


class Untranslated(Exception):
    """No ONNX operator with a derivative does the same; the text names the operator."""


@dataclass(frozen=True, slots=True)
class Links:
    """The constants per channel behind a layer as one ``scale * y + offset``: float64 (C,) each."""

    scale: Vector
    offset: Vector


@dataclass(frozen=True, slots=True)
class TensorNames:
    """The names of an IR's tensors in the program."""

    by_place: dict[tuple[str, int], str]
    """By the node's own name, which is unique, and the number of its output."""
    free: FreeNames
    """For all others."""
    constants: dict[tuple[str, int], str] = field(default_factory=dict)
    """Those that a translated operator reads."""

    def of(self, output: Any) -> str:
        """Of an output that is no constant; one that OpenVINO has made anew gets a name here."""
        node, index = place_of(output)
        return self.by_place.setdefault((node, index), self.free.of("made", f"{node}:{index}"))


def place_of(output: Any) -> tuple[str, int]:
    """Which output of which node it is."""
    return str(output.get_node().get_name()), int(output.get_index())


@dataclass(frozen=True, slots=True)
class Operator:
    """One node of the IR and where its ONNX nodes go."""

    node: Any
    graph: IrGraph
    writer: ForwardWriter
    names: TensorNames
    outputs: Sequence[str]
    """Names of its outputs in the program; of a layer with links those behind them."""
    links: Links | None = None
    """Of a layer: what is calculated into its weights."""
    weight_axes: tuple[int, ...] = ()
    """Of a layer with links: axes of its weights that are the output channels."""

    @property
    def kind(self) -> str:
        """OpenVINO's name of the operator."""
        return str(self.node.get_type_name())

    @property
    def result_size(self) -> tuple[int, ...]:
        """Of the first output."""
        return shape_of(self.node.output(0))

    @property
    def is_real(self) -> bool:
        """Whether the first input holds floating-point numbers."""
        return element_type(self.source(0)) in REALS

    def attribute(self, name: str, default: Any = None) -> Any:
        """Of the node."""
        return self.node.get_attributes().get(name, default)

    def source(self, index: int) -> Any:
        """The output that an input reads."""
        return self.node.input_value(index)

    def has(self, index: int) -> bool:
        """Whether there is such an input."""
        return index < int(self.node.get_input_size())

    def is_constant(self, index: int) -> bool:
        """Whether an input is there and is a constant."""
        return self.has(index) and self.graph.is_constant(self.source(index))

    def size(self, index: int = 0) -> tuple[int, ...]:
        """Of an input."""
        return shape_of(self.source(index))

    def value(self, index: int) -> Array:
        """Of an input that must be constant."""
        if not self.is_constant(index):
            raise Untranslated(f"{self.kind} whose input {index} is no constant")
        return value(self.source(index))

    def numbers(self, index: int) -> list[int]:
        """The value of an input that must be constant: axes, sizes, places."""
        return [int(n) for n in self.value(index).ravel()]

    def x(self, index: int = 0) -> str:
        """Name of an input."""
        source = self.source(index)
        if not self.graph.is_constant(source):
            return self.names.of(source)
        place = place_of(source)
        if place not in self.names.constants:
            self.names.constants[place] = self.writer.constant(value(source))
        return self.names.constants[place]

    def constant(self, found: Any) -> str:
        """A new constant; gives its name."""
        return self.writer.constant(found)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node on the way; gives the name of its output."""
        return self.writer.add(op, inputs, **attributes)

    def give(self, op: str, *inputs: str, **attributes: Any) -> None:
        """The node that makes the first output."""
        self.writer.add(op, inputs, self.outputs[:1], **attributes)

    def weights(self, index: int = 1) -> Array:
        """The constant weights of a layer with the scale of its links in them, float64."""
        found = self.value(index).astype(np.float64)
        if self.links is None:
            return found
        shape = [n if axis in self.weight_axes else 1 for axis, n in enumerate(found.shape)]
        return found * self.links.scale.reshape(shape)

    def bias(self) -> list[str]:
        """The offset of a layer's links as an input more; none where there is none."""
        return [] if self.links is None or not self.links.offset.any() else [self.constant(self.links.offset)]


Translation = Callable[[Operator], None]
