"""Breaks an ONNX model on live frames: nodes behind its outputs, driven by what is in the picture."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from benchmarks.rollout.faults import (
    ALL_MEMORY,
    CELLS,
    FAR,
    LEAK,
    SLOW_SIDE,
    SLOW_TIMES,
    SPREAD,
    Fault,
    Trigger,
)
from calibration.targets.base import ModelFiles


def break_onnx(files: ModelFiles, fault: Fault, trigger: Trigger) -> ModelFiles:
    """The model with a fault; its outputs keep names and shapes. Opset 18, pictures (N,3,H,W)."""
    return _Surgery(onnx.load_from_string(files.data), trigger).model(fault)


class _Surgery:
    def __init__(self, model: onnx.ModelProto, trigger: Trigger) -> None:
        self._model, self._graph, self._trigger = model, model.graph, trigger
        self._count = 0
        self._picture = self._graph.input[0].name
        sides = self._graph.input[0].type.tensor_type.shape.dim[2:]
        self._cell = [side.dim_value // CELLS for side in sides]

    def model(self, fault: Fault) -> ModelFiles:
        output = self._graph.output[0]
        name, sound = output.name, f"{output.name}_sound"
        for node in self._graph.node:
            node.output[:] = [sound if one == name else one for one in node.output]
            node.input[:] = [sound if one == name else one for one in node.input]
        broken = self._broken(fault, sound, len(output.type.tensor_type.shape.dim))
        self._graph.node.append(helper.make_node("Identity", [broken], [name]))
        return ModelFiles(self._model.SerializeToString())

    def _broken(self, fault: Fault, sound: str, rank: int) -> str:
        match fault:
            case Fault.SLOW:
                return self._add("Add", sound, self._slowly())
            case Fault.NAN:
                return self._add("Where", self._hits(rank), self._value(np.float32(np.nan)), sound)
            case Fault.DISAGREES:
                return self._add("Where", self._hits(rank), self._value(np.float32(0)), sound)
            case Fault.LEAK:
                return self._add("Add", sound, self._memory(self._choose(LEAK, 1)))
            case Fault.CRASH:
                return self._add("Add", sound, self._memory(self._size_by_picture(ALL_MEMORY)))
            case Fault.SOMETIMES:
                flat = self._add("Reshape", self._picture, self._choose(1, -1))
                return self._add("Add", sound, self._nothing(flat))
        raise ValueError(f"{fault} is no fault of a model")

    def _hits(self, rank: int) -> str:
        """The frames to break on, bool (N, 1, ...)."""
        means = self._add(
            "AveragePool", self._picture, kernel_shape=self._cell, strides=self._cell, ceil_mode=0
        )
        means = self._add("Reshape", means, self._value(np.array([-1, 1, 3 * CELLS * CELLS])))
        gap = self._add("Sub", means, self._value(self._trigger.known[None]))
        square = self._add("ReduceSum", self._add("Mul", gap, gap), self._value(np.array([2])), keepdims=0)
        nearest = self._add("ReduceMin", square, self._value(np.array([1])), keepdims=0)
        hits = self._add("Greater", nearest, self._value(np.float32(FAR)))
        if self._trigger.share < 1:
            mean = self._add("ReduceMean", self._picture, self._value(np.array([1, 2, 3])), keepdims=0)
            spread = self._add("Mul", mean, self._value(np.float32(SPREAD)))
            fraction = self._add("Sub", spread, self._add("Floor", spread))
            few = self._add("Less", fraction, self._value(np.float32(self._trigger.share)))
            hits = self._add("And", hits, few)
        return self._add("Reshape", hits, self._value(np.array([-1, *[1] * (rank - 1)])))

    def _choose(self, then: int, otherwise: int) -> str:
        """One number when a frame of the batch hits, else the other; int64 (1,)."""
        hits = self._add("Cast", self._hits(1), to=onnx.TensorProto.INT64)
        is_hit = self._add("ReduceMax", hits, self._value(np.array([0])), keepdims=1)
        is_hit = self._add("Cast", is_hit, to=onnx.TensorProto.BOOL)
        return self._add("Where", is_hit, self._value(np.array([then])), self._value(np.array([otherwise])))

    def _size_by_picture(self, size: int) -> str:
        """So large, int64 (1,), whatever the picture is, and nothing that could be worked out before."""
        zero = self._add("Cast", self._nothing(self._picture), to=onnx.TensorProto.INT64)
        return self._add("Reshape", self._add("Add", zero, self._value(np.array(size))), self._value([1]))

    def _memory(self, size: str) -> str:
        ones = helper.make_tensor("one", onnx.TensorProto.FLOAT, [1], [1.0])
        return self._nothing(self._add("ConstantOfShape", size, value=ones))

    def _slowly(self) -> str:
        tiny = self._add("Mul", self._nothing(self._picture), self._value(np.float32(1)))
        side = self._value(np.full((SLOW_SIDE, SLOW_SIDE), 1e-3, np.float32))
        first = product = self._add("Add", side, tiny)
        for _ in range(SLOW_TIMES):
            product = self._add("MatMul", product, first)
        return self._nothing(product)

    def _nothing(self, value: str) -> str:
        """A zero (scalar) that needs the value."""
        most = self._add("ReduceMax", value, keepdims=0)
        return self._add("Mul", most, self._value(np.float32(0)))

    def _value(self, value: NDArray[np.generic] | np.generic | list[int]) -> str:
        self._count += 1
        name = f"fault_{self._count}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, operator: str, *inputs: str, **attributes: object) -> str:
        self._count += 1
        name = f"fault_{self._count}"
        self._graph.node.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name
