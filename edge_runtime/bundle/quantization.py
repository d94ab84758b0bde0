"""Whether a quantized ONNX model can be recalibrated on the device later; asked once, when the bundle is built.

Recalibration rescales the weight scale of each output channel, so there must be one per channel, and activations must
be quantized with fixed scales. Imports onnx: never called by the serving process.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.bundle.onnx_walk import walk
from edge_runtime.errors import BundleError

_DYNAMIC = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul")
_OPAQUE = ("QLinearConv",)


def check_quantization(path: Path | str, model: bytes) -> None:
    """Refuse what can never be recalibrated; float models pass.

    Raises:
        BundleError: dynamic quantization, fused operators, or one weight scale for all channels; names the fix.
    """
    operators = walk(model).operators
    dynamic = [name for name in _DYNAMIC if operators[name]]
    if dynamic:
        fix = "Quantize with onnxruntime.quantization.quantize_static, QuantFormat.QDQ and calibration pictures."
        raise BundleError(
            path, f"dynamic quantization ({', '.join(dynamic)})", "static QDQ quantization", fix
        )
    opaque = [name for name in _OPAQUE if operators[name]]
    if opaque:
        fix = "Quantize with QuantFormat.QDQ instead of QOperator."
        raise BundleError(path, f"fused quantized operators ({', '.join(opaque)})", "QDQ format", fix)
    per_tensor = _convs_with_one_scale(model)
    if per_tensor:
        found = f"{len(per_tensor)} Conv with one weight scale for all channels ({', '.join(per_tensor[:3])})"
        raise BundleError(
            path, found, "one scale per output channel", "Quantize again with per_channel=True."
        )


def named_by(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that any of the regular expressions fits as a whole.

    Raises:
        BundleError: one fits none.
    """
    fitting = {pattern: [name for name in names if re.fullmatch(pattern, name)] for pattern in patterns}
    idle = [pattern for pattern, found in fitting.items() if not found]
    if idle:
        some = ", ".join(names[:: max(1, len(names) // 5)][:5])
        fix = "Correct keep_float; netron or `edge-runtime bundle inspect` of a float bundle shows the names."
        raise BundleError("keep_float", f"{', '.join(idle)} fits no layer", f"names such as {some}", fix)
    return sorted({name for found in fitting.values() for name in found})


def _convs_with_one_scale(model: bytes) -> list[str]:
    import onnx

    graph = onnx.load_model_from_string(model).graph
    sizes = {tensor.name: int(tensor.dims[0]) if tensor.dims else 1 for tensor in graph.initializer}
    outputs = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    found = []
    for node in graph.node:
        source = dequantized.get(node.input[1]) if node.op_type == "Conv" else None
        if source is None or source.input[0] not in outputs:
            continue
        channels = outputs[source.input[0]][0]
        if sizes.get(source.input[1], channels) != channels:
            found.append(node.name or node.output[0])
    return found
