"""The models and settings that take turns on the GPU. Names and files only."""

from dataclasses import dataclass
from pathlib import Path

from edge_runtime.system.model_formats import ModelFormat, Precision

TORCHSCRIPT, ONNX, SAMPLES = "lite0.pt", "lite0.onnx", "samples.npy"
"""Files of the work folder: the same net in two formats, and prepared pictures."""
BUNDLE = Path(__file__).parents[3] / "edge_runtime/sources/demo/bundle/efficientnet-lite0/1"
BATCHES = (1, 2, 4, 8, 16, 32)
INT8 = "int8"
"""The demo's own model; it travels with the project."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One model in one precision."""

    name: str
    model: str
    """A file of the work folder, or ``INT8``."""
    format: ModelFormat
    precision: Precision = "f32"

    def path(self, work: Path) -> Path:
        """Where the model is."""
        return BUNDLE / "model.onnx" if self.model == INT8 else work / self.model


CONTENDERS = (
    Contender("TorchScript, float32", TORCHSCRIPT, "torchscript"),
    Contender("TorchScript, float16 by autocast", TORCHSCRIPT, "torchscript", "f16"),
    Contender("TorchScript, bfloat16 by autocast", TORCHSCRIPT, "torchscript", "bf16"),
    Contender("ONNX Runtime, float32", ONNX, "onnx"),
    Contender("ONNX Runtime, int8", INT8, "onnx"),
)
