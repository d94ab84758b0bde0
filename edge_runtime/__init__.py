"""Inference daemon for edge devices; recalibrates the deployed model on the device."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version

# Before an engine is imported: ONNX Runtime (1.32) and OpenVINO report their use to their makers and keep files for it
# in the home directory, which a service does not have. ``calibration.targets`` does the same for itself.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO has a stub of its own for this

try:
    __version__ = version("edge-runtime")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
