"""Opens a model file for recalibration; the folders hold the part of each framework."""

import os
import sys

# Before an engine is imported: ONNX Runtime (1.32) and OpenVINO report their use to
# their makers and keep files for it in the home directory.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO has a stub of its own for this
