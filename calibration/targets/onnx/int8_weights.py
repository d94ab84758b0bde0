"""Whether the int8 weights of an ONNX file are small enough for every CPU; reads bytes, imports no onnx.

Field numbers: onnx/onnx.proto.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from calibration.targets.int8_arithmetic import can_exceed
from calibration.targets.onnx.wire import Damaged, Value, fields, varints

EXACT_SUMS = ("session.x64quantprecision", "1")
"""ONNX Runtime's session option that takes kernels with sums of 32 bits. They need 1.6 to 1.8 times the time
(EfficientNet-Lite0, one thread), so it is for models and CPUs that need it."""

_INT8 = 3
_MOST_DEPTH = 16
_Parts = list[tuple[int, Value]]


def needs_exact_sums(model: bytes) -> bool:
    """Whether pairs of int8 weights can exceed what an old x86 CPU adds in 16 bits; False is proven.

    Weights that are float in front of QuantizeLinear get their eight bits when the model is loaded: they may exceed it.
    What cannot be read is left to the runtime, which refuses it.
    """
    try:
        parts = list(fields(memoryview(model)))
        return any(_exceeds(part, 1, 0) for part in _messages(parts, 7)) or any(
            _exceeds(part, 7, 1) for part in _messages(parts, 25)
        )
    except Damaged:
        return False


def _exceeds(graph: memoryview, nodes_at: int, depth: int) -> bool:
    """The answer for a graph, or a function, whose nodes are in this field."""
    if depth > _MOST_DEPTH:
        return True  # not looked at, so not proven
    parts = list(fields(graph))
    tensors = list(_messages(parts, 5))
    constant = {name for tensor in tensors for name in _texts(list(fields(tensor)), 8)}
    for message in _messages(parts, nodes_at):
        node = list(fields(message))
        if _makes_weights(node, constant, depth):
            return True
        for attribute in _messages(node, 5):
            inside = list(fields(attribute))
            tensors += [*_messages(inside, 5), *_messages(inside, 10)]
            graphs = [*_messages(inside, 6), *_messages(inside, 11)]
            if any(_exceeds(part, 1, depth + 1) for part in graphs):
                return True
    return any(can_exceed(_int8_values(tensor)) for tensor in tensors)


def _makes_weights(node: _Parts, constant: set[bytes], depth: int) -> bool:
    """Whether a QuantizeLinear reads ``constant`` tensors alone, to which this adds what is computed from them.

    Of one in an inner graph it is not known what it reads.
    """
    is_quantizer = _texts(node, 4) == [b"QuantizeLinear"]
    if all(name in constant for name in _texts(node, 1) if name):  # a Constant reads none
        constant.update(_texts(node, 2))
        return is_quantizer
    return is_quantizer and depth > 0


def _int8_values(tensor: memoryview) -> NDArray[np.int8]:
    """The values of an int8 tensor; none of any other."""
    parts = list(fields(tensor))
    if (2, _INT8) not in parts:
        return np.zeros(0, np.int8)
    raw = list(_messages(parts, 9))
    if raw:
        return np.frombuffer(raw[-1], np.int8)
    listed = [one for number, value in parts if number == 5 for one in _numbers(value)]  # int32_data
    return np.array([one & 0xFF for one in listed], np.uint8).view(np.int8)


def _messages(parts: _Parts, wanted: int) -> Iterator[memoryview]:
    return (value for number, value in parts if number == wanted and not isinstance(value, int))


def _texts(parts: _Parts, wanted: int) -> list[bytes]:
    return [bytes(one) for one in _messages(parts, wanted)]


def _numbers(value: Value) -> Iterator[int]:
    """Of a repeated number, packed or not."""
    return iter((value,)) if isinstance(value, int) else varints(value)
