"""Old ONNX files -> the same model in an operator set that can be quantized per channel and recalibrated.

Old exporters also list every weight among the inputs, as values that a caller may change; here nobody does, and
quantizers and observers would wait for them.

Imports onnx; workstation only.
"""

from edge_runtime.bundles.build.error_text import short
from edge_runtime.errors import BundleError

LEAST_OPSET = 13
"""DequantizeLinear has an axis from here on."""
_TARGET = 17
_LEAST_IR = 4  # from here on weights need not be inputs


def upgraded(model: bytes) -> bytes:
    """The file as it is when it is new enough and its inputs are no weights, else converted.

    Raises:
        BundleError: onnx cannot convert it.
    """
    import onnx
    from onnx import version_converter

    loaded = onnx.load_model_from_string(model)
    opset = next((one.version for one in loaded.opset_import if one.domain in ("", "ai.onnx")), _TARGET)
    weights = {tensor.name for tensor in loaded.graph.initializer}
    has_weight_inputs = any(value.name in weights for value in loaded.graph.input)
    if opset >= LEAST_OPSET and not has_weight_inputs:
        return model
    try:
        newer = loaded if opset >= LEAST_OPSET else version_converter.convert_version(loaded, _TARGET)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as err:
        reason = short(err)
        found = f"opset {opset}, which onnx cannot bring to {_TARGET}: {reason}"
        fix = "Export the model again with a newer opset."
        raise BundleError("model", found, f"opset {LEAST_OPSET} or newer", fix) from err
    weights = {tensor.name for tensor in newer.graph.initializer}
    inputs = [value for value in newer.graph.input if value.name not in weights]
    del newer.graph.input[:]
    newer.graph.input.extend(inputs)
    newer.ir_version = max(newer.ir_version, _LEAST_IR)
    return bytes(newer.SerializeToString())
