"""The formats of a model's file and the runtimes that can run each. Names only, so that every room may import them."""

from typing import Literal

ModelFormat = Literal["onnx", "openvino", "torchscript"]
Runtime = Literal["onnxruntime", "openvino", "torch"]
"""Each has the name of the module that must be installed for it."""
RuntimeChoice = Literal["auto", Runtime]
"""auto: the first runtime of the model's format."""
Precision = Literal["f32", "f16", "bf16", "device"]
"""Of float arithmetic; ``device`` leaves it to the device's default. Quantized layers stay quantized."""

RUNTIMES: dict[ModelFormat, tuple[Runtime, ...]] = {
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
    "torchscript": ("torch",),
}
"""The first is the one that ``auto`` takes."""
