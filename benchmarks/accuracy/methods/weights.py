"""The weights of a model file, whatever its format, to see whether a patch left them alone.

Weights are what convolutions and matrix products multiply with, as they are stored: of a quantized layer the
integers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration import ModelFiles

Weights = list[NDArray[Any]]

_ZIP = b"PK\x03\x04"
_ONNX_LAYERS = ("Conv", "Gemm", "MatMul")
_IR_LAYERS = ("Convolution", "GroupConvolution", "MatMul")


def weights_of(files: ModelFiles) -> Weights:
    """The weights of every layer, in the order of the graph."""
    if files.weights is not None:
        return list(_of_ir(files))
    return list(_of_torchscript(files.data) if files.data.startswith(_ZIP) else _of_onnx(files.data))


def same_weights(one: ModelFiles, other: ModelFiles) -> bool:
    """Whether both store the same weights, bit for bit."""
    pairs = zip(weights_of(one), weights_of(other), strict=True)
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs)


def _of_onnx(data: bytes) -> Iterator[NDArray[Any]]:
    import onnx

    graph = onnx.load_model_from_string(data).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in _ONNX_LAYERS:
            name = node.input[1]
            if name in made_by and made_by[name].op_type == "DequantizeLinear":
                name = made_by[name].input[0]
            yield onnx.numpy_helper.to_array(stored[name])


def _of_ir(files: ModelFiles) -> Iterator[NDArray[Any]]:
    """Behind a layer's weights also lie scales and shapes: the weights are the largest constant."""
    import openvino as ov

    for node in ov.Core().read_model(files.data, files.weights).get_ordered_ops():
        if node.get_type_name() in _IR_LAYERS:
            yield max(_constants_behind(node.input_value(1).get_node()), key=lambda found: found.size)


def _constants_behind(node: Any) -> Iterator[NDArray[Any]]:
    if node.get_type_name() == "Constant":
        yield np.array(node.data)
    for source in node.input_values():
        yield from _constants_behind(source.get_node())


def _of_torchscript(data: bytes) -> Iterator[NDArray[Any]]:
    from calibration.targets.torchscript import program
    from calibration.targets.torchscript.graph import find_layers, flatten

    graph = flatten("model", program.load("model", data))
    for node in find_layers(graph.graph):
        found = graph.tensor(node.inputsAt(1))
        if found is not None and found.ndim > 1:
            yield found.numpy().copy()
