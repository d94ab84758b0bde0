"""Weight standardisation as it is exported: a BatchNormalization in training mode whose input is a constant.

It normalises weights, not pictures (StdConv of timm, BiT, NFNet), so it is part of an inference model: what it gives is
calculated here once. Imports onnx; workstation only.
"""

from typing import Any

import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def fold_constant_norms(model: bytes) -> bytes:
    """The same model with such nodes replaced by their values; the very bytes where there are none."""
    loaded = onnx.load_model_from_string(model)
    graph = loaded.graph
    constant, before = {tensor.name for tensor in graph.initializer}, list[Any]()
    inputs = {value.name for value in graph.input}
    constant -= inputs  # a caller may change those
    folded = list[tuple[Any, Any]]()
    for node in graph.node:
        is_known = all(name in constant for name in node.input if name)
        if not is_known or any(attribute.type in _GRAPHS for attribute in node.attribute):
            continue
        if _is_training_norm(node) and not _are_read(graph, node.output[1:]):
            value = _evaluate(loaded, [*before, node], node.output[0])
            folded.append((node, numpy_helper.from_array(value, node.output[0])))
        before.append(node)
        constant.update(node.output)
    for node, tensor in folded:
        graph.node.remove(node)
        graph.initializer.append(tensor)
    return bytes(loaded.SerializeToString()) if folded else model


def _is_training_norm(node: Any) -> bool:
    return node.op_type == "BatchNormalization" and any(
        attribute.name == "training_mode" and attribute.i for attribute in node.attribute
    )


def _are_read(graph: Any, names: Any) -> bool:
    """Whether anything reads these tensors; an inner graph may, so then they count as read."""
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    has_inner = any(attribute.type in _GRAPHS for node in graph.node for attribute in node.attribute)
    return any(name and (has_inner or name in used) for name in names)


def _evaluate(model: Any, nodes: list[Any], output: str) -> Any:
    """The value of a tensor that these nodes make of constants alone."""
    needed, kept = {output}, list[Any]()
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.insert(0, node)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    value = onnx.helper.make_tensor_value_info(output, onnx.TensorProto.UNDEFINED, None)
    part = onnx.helper.make_graph(kept, "constants", [], [value], weights)
    small = onnx.helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    return ReferenceEvaluator(small).run(None, {})[0]
