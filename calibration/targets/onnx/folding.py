"""Computes the parameters of layers that a file computes from constants alone, and puts the values in their place.

A weight is constant when everything in front of it is, whatever form an exporter gave it: float weights that are
quantized in the file (quantization-aware training), standardised by a BatchNormalization in training mode, transposed
or cast. ONNX Runtime, which would fold them at every start, computes the values. The integers in front of a
DequantizeLinear stay integers. Nothing else of the graph changes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from calibration.targets.onnx.graph import constants_of, free_names_of, operator, subgraphs, tensors_read

_PARAMETERS = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 0, "BatchNormalization": 1, "Add": 0}
"""Operators of layers, and their first input that may be a parameter; an Add holds the bias of a MatMul."""
_RANDOM = (
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout",
)  # fmt: skip
_UNFIT = (
    ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph, ort_errors.NotImplemented,
    ort_errors.RuntimeException, ort_errors.EPFail, ort_errors.InvalidProtobuf, RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What ONNX Runtime raises for operators that it lacks, and numpy for types that it does not know."""


def fold_parameters(model: ModelProto) -> bool:
    """Replace computed parameters of layers by their values, in place; whether there were any.

    What cannot be computed stays as it is: its layer is then listed as one that cannot be corrected.
    """
    fixed = _find_fixed(model.graph, ())
    return _fold(model, _find_wanted(model.graph, fixed), fixed)


def fold_tensors(model: ModelProto, names: Iterable[str], changeable: Collection[str]) -> bool:
    """Replace these tensors by their values where they are computed from constants alone; whether there were any.

    Tensors in ``changeable`` count as no constants: a caller of the model may give others in place of the file's.
    """
    fixed = _find_fixed(model.graph, changeable)
    return _fold(model, [name for name in names if name in fixed], fixed)


def _fold(model: ModelProto, wanted: Sequence[str], fixed: Mapping[str, NodeProto]) -> bool:
    values = _evaluate(model, wanted, fixed) if wanted else {}
    if not values:
        return False
    free = free_names_of(model.graph)
    for name, value in values.items():
        _release(fixed[name], name, free.of("computed", name))
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    _drop_unused(model.graph, fixed.values())
    return True


def _find_fixed(graph: GraphProto, changeable: Collection[str]) -> dict[str, NodeProto]:
    """The tensors that nodes compute from constants alone, with their nodes, in graph order."""
    known = {tensor.name for tensor in graph.initializer}.difference(changeable)
    fixed = dict[str, NodeProto]()
    for node in graph.node:
        read = [name for name in tensors_read(node) if name]
        can_be = (read or operator(node) == "Constant") and operator(node) not in _RANDOM
        if can_be and known.issuperset(read) and not any(subgraphs(node)):
            known.update(name for name in node.output if name)
            fixed |= {name: node for name in node.output if name}
    return fixed


def _find_wanted(graph: GraphProto, fixed: Mapping[str, NodeProto]) -> list[str]:
    """The parameters of layers that are computed, or what a DequantizeLinear makes them from."""
    plain, given = constants_of(graph), {output.name for output in graph.output}
    wanted = list[str]()
    for node in graph.node:
        first = _PARAMETERS.get(operator(node))
        if first is None or node.output[0] in fixed:
            continue
        for name in node.input[first:]:
            source = fixed.get(name)
            if source is not None and operator(source) == "DequantizeLinear":
                wanted += [part for part in source.input if part in fixed]
            elif source is not None:
                wanted.append(name)
    return [name for name in dict.fromkeys(wanted) if name not in plain and name not in given]


def _evaluate(
    model: ModelProto, names: Sequence[str], fixed: Mapping[str, NodeProto]
) -> dict[str, NDArray[np.generic]]:
    """The values of tensors; those that can be computed."""
    try:
        return _run(model, names, fixed)
    except _UNFIT:
        if len(names) == 1:
            return {}
    found = dict[str, NDArray[np.generic]]()
    for name in names:  # one that cannot be computed must not stand in the way of the others
        found |= _evaluate(model, [name], fixed)
    return found


def _run(
    model: ModelProto, names: Sequence[str], fixed: Mapping[str, NodeProto]
) -> dict[str, NDArray[np.generic]]:
    needed, pending = {id(fixed[name]) for name in names}, [fixed[name] for name in names]
    read = set[str]()
    while pending:
        for name in pending.pop().input:
            read.add(name)
            if name in fixed and id(fixed[name]) not in needed:
                needed.add(id(fixed[name]))
                pending.append(fixed[name])
    by_id = {id(node): node for node in fixed.values()}
    part = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.CopyFrom(
        helper.make_graph(
            [node for key, node in by_id.items() if key in needed],
            "parameters",
            [],
            [ValueInfoProto(name=name) for name in names],
            [tensor for tensor in model.graph.initializer if tensor.name in read],
        )
    )
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), {}), strict=True))


def _release(node: NodeProto, name: str, new: str) -> None:
    """Give the output ``name`` of a node a ``new`` name, which nothing reads."""
    node.output[list(node.output).index(name)] = new


def _drop_unused(graph: GraphProto, candidates: Iterable[NodeProto]) -> None:
    """Remove those of the nodes that nothing reads any more, and the constants that only they read."""
    unsure = {id(node) for node in candidates}
    needed, touched, dropped = {output.name for output in graph.output}, set[str](), list[NodeProto]()
    for node in reversed(graph.node):
        if id(node) in unsure and needed.isdisjoint(node.output):
            touched.update(node.input)
            dropped.append(node)
        else:
            needed.update(tensors_read(node))
    for node in dropped:
        graph.node.remove(node)
    unread = touched - needed
    # Old exporters list constants among the inputs: without its constant, an input would have to be given.
    for listed in (graph.initializer, graph.input):
        for one in [one for one in listed if one.name in unread]:
            listed.remove(one)
