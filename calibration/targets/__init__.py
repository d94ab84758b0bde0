"""Opens a model file for recalibration; the folders hold the part of each framework."""

import os

# Before it is imported: ONNX Runtime (1.32) reports its use to its maker and keeps files for it in the home directory.
# ``calibration.targets.openvino`` does the like for OpenVINO.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
