"""Inference daemon for edge devices; recalibrates the deployed model on the device."""

import os
import sys
from importlib.metadata import PackageNotFoundError, version

# Before an engine is imported: ONNX Runtime (1.32) and OpenVINO report their use to their makers and keep files for it
# in the home directory, which a service does not have. This package is a program, so it decides for the whole process
# (NNCF too); ``calibration`` may be a guest in a notebook and switches them off for its own imports.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO takes its stub then

try:
    __version__ = version("edge-runtime")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
