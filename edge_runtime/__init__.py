"""Inference daemon for edge devices; recalibrates the deployed model on the device."""

import os
import sys

# Before an engine is imported: ONNX Runtime (1.32) and OpenVINO report their use to their makers and keep files for it
# in the home directory, which a service does not have. This package is a program, so it decides for the whole process
# (NNCF too); ``calibration`` may be a guest in a notebook and switches them off for its own imports.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO takes its stub then

# Else pydantic's first model looks through all installed packages for plugins: a start would take 25 ms more, and a
# package that happens to be there could change what the configuration means.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

__version__ = "0.2.0.dev0"
"""Read by the build of the package; importlib.metadata would cost every start 20 ms."""
