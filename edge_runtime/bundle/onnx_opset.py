"""Old ONNX files -> the same model in an operator set that can be quantized per channel and recalibrated.

Imports onnx; workstation only. Called by ``source_model``, which checks that the answers stay.
"""

from edge_runtime.errors import BundleError

LEAST_OPSET = 13
"""DequantizeLinear has an axis from here on."""
_TARGET = 17


def upgraded(model: bytes) -> bytes:
    """The file as it is when it is new enough, else converted.

    Raises:
        BundleError: onnx cannot convert it.
    """
    import onnx
    from onnx import version_converter

    loaded = onnx.load_model_from_string(model)
    opset = next((one.version for one in loaded.opset_import if one.domain in ("", "ai.onnx")), _TARGET)
    if opset >= LEAST_OPSET:
        return model
    try:
        return bytes(version_converter.convert_version(loaded, _TARGET).SerializeToString())
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as err:
        reason = " ".join(str(err).split())[:300]
        found = f"opset {opset}, which onnx cannot bring to {_TARGET}: {reason}"
        fix = "Export the model again with a newer opset."
        raise BundleError("model", found, f"opset {LEAST_OPSET} or newer", fix) from err
