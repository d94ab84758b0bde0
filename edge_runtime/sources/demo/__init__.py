"""The demo camera: recorded pictures that drift half-way, and the data for it (:data:`DATA`)."""

from pathlib import Path

DATA = Path(__file__).parent
"""Folder with the demo's bundle, pictures and clip."""
