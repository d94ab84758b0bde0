"""Inference daemon for edge devices; recalibrates the deployed model on the device."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("edge-runtime")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
