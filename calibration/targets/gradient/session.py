"""Runs ONNX graphs of float arithmetic, and finds the sizes in one by running it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from calibration.targets.gradient.program import Array, FloatProgram, read_by
from calibration.targets.model_input import ModelInput

FAILURES = (
    ort_errors.EPFail, ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf, ort_errors.NotImplemented, ort_errors.RuntimeException,
)  # fmt: skip
"""What ONNX Runtime raises for a graph that it cannot run."""

_ARENA = {"arena_extend_strategy": "kSameAsRequested"}
_IR_VERSION = 8
_LARGE = 1 << 14
"""Numbers in a constant that is not written into the bytes."""


@dataclass(frozen=True, slots=True)
class FloatModel:
    """A graph as bytes, without its large weights: in the bytes they would be there twice more while it is opened.

    ONNX Runtime keeps its own arrangement of constants. Weights that do not profit from one are inputs of the graph, so
    that it keeps none of them.
    """

    data: bytes
    given: Mapping[str, NDArray[np.float32]]
    """Weights that are inputs."""
    copied: Mapping[str, NDArray[np.float32]]
    """Weights that are constants: ONNX Runtime copies them when the graph is opened."""


class FloatSession:
    """One graph, ready to run; its memory grows by what is asked for, not by doubling."""

    def __init__(self, model: FloatModel, threads: int) -> None:
        """One of ``FAILURES``: ONNX Runtime refuses the graph."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        options.enable_mem_pattern = False
        if model.copied:
            values = [ort.OrtValue.ortvalue_from_numpy(value) for value in model.copied.values()]
            options.add_external_initializers(list(model.copied), values)
        providers = [("CPUExecutionProvider", _ARENA)]
        self._session = ort.InferenceSession(model.data, options, providers=providers)
        self._weights = model.given

    def run(self, outputs: Sequence[str], given: Mapping[str, Array]) -> list[Array]:
        """The outputs; one of ``FAILURES`` when ONNX Runtime cannot compute them."""
        return list(self._session.run(list(outputs), {**self._weights, **given}))


def to_model(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Array],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[str],
    opset: int,
    fixed: Collection[str] = (),
) -> FloatModel:
    """A graph with those of the constants that it reads; ``fixed`` ones are no inputs."""
    readers = _readers(nodes)
    arrays = {name: np.asarray(value, order="C") for name, value in constants.items() if name in readers}
    large = {name: a for name, a in arrays.items() if a.size >= _LARGE and a.dtype == np.float32}
    weights = {n: a for n, a in large.items() if n not in fixed and _are_as_quick_given(n, a, readers[n])}
    copied = {name: a for name, a in large.items() if name not in weights}
    initializers = [numpy_helper.from_array(a, name) for name, a in arrays.items() if name not in large]
    initializers += [_held_outside(name, a) for name, a in copied.items()]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, a.shape) for name, a in weights.items()]
    results = [ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph(list(nodes), "gradient", [*inputs, *given], results, initializers)
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, 1) for domain in sorted({node.domain for node in nodes} - {""})]
    model: ModelProto = helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)
    return FloatModel(bytes(model.SerializeToString()), weights, copied)


def _held_outside(name: str, value: Array) -> TensorProto:
    """A constant whose values are given when the graph is opened."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=value.shape)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="memory")
    return tensor


def _readers(nodes: Sequence[NodeProto]) -> dict[str, list[NodeProto]]:
    found = dict[str, list[NodeProto]]()
    for node in nodes:
        for name in read_by(node):
            found.setdefault(name, []).append(node)
    return found


def _are_as_quick_given(name: str, weight: Array, readers: Sequence[NodeProto]) -> bool:
    """Whether weights are of pointwise convolutions and Gemm alone, which ONNX Runtime gains little by arranging."""
    is_pointwise = weight.ndim > 2 and max(weight.shape[2:]) == 1
    return weight.dtype == np.float32 and all(
        node.op_type == "Gemm" or (node.op_type == "Conv" and is_pointwise and node.input[1] == name)
        for node in readers
    )


def input_value(model_input: ModelInput) -> ValueInfoProto:
    """The input of a graph: float32, whatever the model's own type is."""
    return helper.make_tensor_value_info(model_input.name, TensorProto.FLOAT, None)


def to_own_layout(model_input: ModelInput, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """``x`` (N, C, ...) in the model's own layout, as float32."""
    return np.ascontiguousarray(np.moveaxis(x, 1, model_input.channel_axis), np.float32)


@dataclass(frozen=True, slots=True)
class SizedProgram:
    """A program for one batch of one size: no node computes sizes any more."""

    program: FloatProgram
    sizes: Mapping[str, tuple[int, ...]]
    """Of every tensor that depends on the input."""

    def size(self, name: str) -> tuple[int, ...]:
        """Of a tensor, a constant among them."""
        found = self.sizes.get(name)
        return np.asarray(self.program.constants[name]).shape if found is None else found


def find_sizes(program: FloatProgram, x: NDArray[np.float32]) -> SizedProgram:
    """The program for batches like ``x`` (N, C, ...), by running it once.

    Raises:
        One of ``FAILURES``: ONNX Runtime refuses it.
    """
    depending, free = program.depending(), program.find_free_names("size")
    values, shapes, extra = list[str](), dict[str, str](), list[NodeProto]()
    nodes = [node for node in program.nodes if not depending.isdisjoint(node.output)]
    outputs = [name for node in nodes for name in node.output if name]
    wanted = {name for node in nodes for name in read_by(node) if name}
    for node in program.nodes:
        values += [name for name in node.output if name in wanted and name not in depending]
    # ONNX Runtime takes the last of the nodes that nothing reads first: the tensors of the first layers go early.
    for name in outputs:
        shapes[name] = free.of("of", name)
        extra.insert(0, helper.make_node("Shape", [name], [shapes[name]]))
    fetched = [*values, *shapes.values()]
    every = [*program.nodes, *extra]
    model = to_model(every, program.constants, [input_value(program.input)], fetched, program.opset)
    given = to_own_layout(program.input, x)
    found = dict(zip(fetched, FloatSession(model, 1).run(fetched, {program.input.name: given}), strict=True))
    sizes = {name: tuple(int(n) for n in found[size]) for name, size in shapes.items()}
    constants = {**program.constants, **{name: found[name] for name in values}}
    return SizedProgram(
        replace(program, nodes=tuple(nodes), constants=constants),
        {**sizes, program.input.name: given.shape},
    )
