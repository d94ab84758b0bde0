"""Writes the forward pass of a program, for a format whose operators are not those of ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from calibration.targets.gradient.free_names import FreeNames
from calibration.targets.gradient.program import Array

FORWARD_OPSET = 20
"""Of the nodes that are written; the first with Gelu."""

FLOAT32 = int(TensorProto.FLOAT)
"""What a Cast to float32 takes as ``to``."""


class ForwardWriter:
    """Collects nodes and constants; floats are float32, whole numbers int64."""

    def __init__(self, free: FreeNames) -> None:
        self._free = free
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}
        self._made = 0

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: Any) -> str:
        """An ONNX node, with one output of a new name unless told; gives the name of its first output."""
        named = list(outputs) or [self._new_name()]
        self.nodes.append(helper.make_node(op, list(inputs), named, **attributes))
        return named[0]

    def add_foreign(self, domain: str, op: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """A node that has no derivative: the gradient builder names it and cuts what lies behind it."""
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), domain=domain))

    def constant(self, value: Any) -> str:
        """A constant; gives its name."""
        array, name = np.asarray(value), self._new_name()
        if array.dtype != np.bool_:
            array = array.astype(np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32)
        self.constants[name] = array
        return name

    def _new_name(self) -> str:
        self._made += 1
        return self._free.of(str(self._made))
