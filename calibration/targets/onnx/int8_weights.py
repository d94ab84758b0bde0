"""Whether the int8 weights of an ONNX file are small enough for every CPU; imports no onnx.

Field numbers: ``safe_form.onnx_schema``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from calibration.targets.int8_arithmetic import can_exceed
from calibration.targets.safe_form.onnx_schema import Message
from calibration.targets.safe_form.onnx_wire import Fields, NotOnnx, read_onnx, unpack_numbers

EXACT_SUMS = ("session.x64quantprecision", "1")
"""ONNX Runtime's session option that takes kernels with sums of 32 bits. They need 1.6 to 1.8 times the time
(EfficientNet-Lite0, one thread), so it is for models and CPUs that need it."""

_INT8 = 3
_TYPE, _INT32_DATA, _TENSOR_NAME, _RAW_DATA = 2, 5, 8, 9
_NODES, _INITIALIZERS, _SPARSE_INITIALIZERS = 1, 5, 15
_FUNCTION_NODES = 7
_OF_NODE = _INPUT, _OUTPUT, _OPERATOR = 1, 2, 4
_SPARSE_VALUES = 1


def needs_exact_sums(model: bytes) -> bool:
    """Whether pairs of int8 weights can exceed what an old x86 CPU adds in 16 bits; False is proven.

    Weights that are float in front of QuantizeLinear get their eight bits when the model is loaded: they may exceed it.
    Of a file that cannot be read nothing is proven.
    """
    weights = _Weights()
    try:
        read_onnx(model, weights)
    except NotOnnx:
        return True
    return weights.can_exceed


@dataclass(slots=True)
class _Node:
    is_quantizer: bool
    inputs: list[bytes]
    outputs: list[bytes]


@dataclass(slots=True)
class _Weights:
    """Sees all tensors, and which nodes make weights of eight bits from constants."""

    can_exceed: bool = False
    wanted: ClassVar[Mapping[Message, frozenset[int]]] = {
        "tensor": frozenset({_TYPE, _INT32_DATA, _TENSOR_NAME, _RAW_DATA}),
        "sparse": frozenset({_SPARSE_VALUES}),
        "node": frozenset(_OF_NODE),
        "graph": frozenset({_NODES, _INITIALIZERS, _SPARSE_INITIALIZERS}),
        "function": frozenset({_FUNCTION_NODES}),
    }

    def visit(self, message: Message, fields: Fields, graphs: int) -> Any:
        """The name of a tensor, or a node; nothing of the others."""
        match message:
            case "tensor":
                self.can_exceed = self.can_exceed or can_exceed(_int8_values(fields))
                return next((bytes(value) for number, value in fields if number == _TENSOR_NAME), b"")
            case "sparse":
                return fields[0][1] if fields else b""
            case "node":
                texts = {at: [bytes(one) for number, one in fields if number == at] for at in _OF_NODE}
                return _Node(texts[_OPERATOR] == [b"QuantizeLinear"], texts[_INPUT], texts[_OUTPUT])
            case "graph":
                constant = {name for number, name in fields if number != _NODES}
                nodes = [node for number, node in fields if number == _NODES]
                self.can_exceed = self.can_exceed or _make_weights(nodes, constant, is_inner=graphs > 1)
            case _:
                nodes = [node for _, node in fields]
                self.can_exceed = self.can_exceed or _make_weights(nodes, set(), is_inner=True)
        return None


def _make_weights(nodes: list[_Node], constant: set[bytes], *, is_inner: bool) -> bool:
    """Whether a QuantizeLinear reads ``constant`` tensors alone, to which this adds what is computed from them.

    Of one in an inner graph or a function it is not known what it reads.
    """
    for node in nodes:
        is_constant = all(name in constant for name in node.inputs if name)  # a Constant reads none
        if node.is_quantizer and (is_constant or is_inner):
            return True
        if is_constant:
            constant.update(node.outputs)
    return False


def _int8_values(fields: Fields) -> NDArray[np.int8]:
    """The values of an int8 tensor; none of any other."""
    if (_TYPE, _INT8) not in fields:
        return np.zeros(0, np.int8)
    raw = [value for number, value in fields if number == _RAW_DATA]
    if raw:
        return np.frombuffer(raw[-1], np.int8)
    listed = [one for number, value in fields if number == _INT32_DATA for one in unpack_numbers(value)]
    return np.array([one & 0xFF for one in listed], np.uint8).view(np.int8)
