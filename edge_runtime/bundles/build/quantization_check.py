"""Whether a quantized ONNX model can be recalibrated on the device later; asked once, when the bundle is built.

Recalibration rescales the weight scale of each output channel (one for all channels is spread out first), so
weights and scales must be constants of the graph, and activations must be quantized with fixed scales.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.bundles.onnx_walk import read_onnx_facts
from edge_runtime.errors import BundleError

_DYNAMIC = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul")
_OPAQUE = ("QLinearConv",)


def check_quantization(path: Path | str, model: bytes) -> None:
    """Refuse what can never be recalibrated; float models pass.

    Raises:
        BundleError: dynamic quantization or fused operators; names the fix.
    """
    operators = read_onnx_facts(model).operators
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


def match_layers(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
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
