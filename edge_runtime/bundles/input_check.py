"""Whether a model can take what the preprocessing makes; checked before it runs, so that the error names the key.

Pure.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.errors import BundleError
from edge_runtime.inference.engines.base import TensorSpec
from edge_runtime.inference.specs import PictureSpec, PreprocessSpec, SignalSpec
from edge_runtime.inference.specs.signal_inputs import find_layout

_WHOLE = 1e-3  # of a level; prepared values are float32


def check_input(at: Path | str, spec: PreprocessSpec, model: TensorSpec) -> None:
    """Refuse a model that takes another shape, or whole numbers where the preprocessing makes fractions.

    Raises:
        BundleError: the two do not fit; says which key under preprocess does it.
    """
    shape, prepared = model.shape[1:], spec.tensor_shape
    pairs = zip(shape, prepared, strict=False)
    if len(shape) != len(prepared) or any(want not in (None, got) for want, got in pairs):
        sizes = ", ".join("any" if size is None else str(size) for size in shape)
        found = f"the preprocessing makes {prepared} ({spec.layout}) but the model takes ({sizes})"
        raise BundleError(at, found, "the same shape", _shape_advice(shape, spec))
    if isinstance(spec, SignalSpec):
        return
    if model.dtype == "uint8" and not _makes_pixel_levels(spec):
        found = f"the model takes uint8, but mean {_listed(spec.mean)} and std {_listed(spec.std)} make other values"
        fix = "Set mean to 0 and std to 1 under preprocess (such models normalise inside) and build it again."
        raise BundleError(at, found, "whole numbers from 0 to 255", fix)


def _makes_pixel_levels(spec: PictureSpec) -> bool:
    """Whether every level of a pixel becomes a whole number from 0 to 255: all else would be rounded and clipped."""
    mean, std = np.asarray(spec.mean, np.float64), np.asarray(spec.std, np.float64)
    values = (np.arange(256.0)[:, None] - mean) / std
    is_whole = np.abs(values - np.rint(values)).max() <= _WHOLE
    return bool(is_whole and values.min() >= -_WHOLE and values.max() <= 255 + _WHOLE)


def _shape_advice(shape: Sequence[int | None], spec: PreprocessSpec) -> str:
    """What to do about a shape, by what it looks like."""
    if isinstance(spec, SignalSpec):
        return _window_advice(shape, spec)
    if len(shape) != 3:
        return "Only models that take pictures, (N, C, H, W) or (N, H, W, C), can be used."
    sizes = {"nchw": (shape[0], shape[1], shape[2]), "nhwc": (shape[2], shape[0], shape[1])}
    for layout in sorted(sizes, key=lambda name: name != spec.layout):
        changes = _changes(layout, *sizes[layout], spec)
        if changes is not None:
            return f"Set {', '.join(changes)} under preprocess and build it again."
    channels = min(size for size in (shape[0], shape[2]) if size is not None)
    return (
        f"Models of {channels} channels are not supported: pictures have 1 (grey) or 3 (rgb, bgr). "
        "Export it with a first layer that adds or leaves out the others."
    )


def _changes(
    layout: str, channels: int | None, height: int | None, width: int | None, spec: PictureSpec
) -> list[str] | None:
    """The keys that would make it fit in this layout; None when nothing does."""
    if channels not in (None, 1, 3):
        return None
    changes = [] if layout == spec.layout else [f"layout: {layout}"]
    if channels not in (None, spec.channels):
        changes.append("colour: grey" if channels == 1 else "colour: rgb (or bgr)")
    changes += [f"width: {width}"] if width not in (None, spec.width) else []
    changes += [f"height: {height}"] if height not in (None, spec.height) else []
    return changes


def _window_advice(shape: Sequence[int | None], spec: SignalSpec) -> str:
    """Which of layout, channels and length is wrong, in the layout whose number of channels fits."""
    found = find_layout(shape, len(spec.channels), spec.layout)
    if found is None:
        return "Only models that take windows, (N, C, T), (N, T, C) or (N, F), can be used."
    layout, channels, length = found
    changes = _window_changes(layout, channels, 1 if layout == "nf" else length, spec)
    return f"{', '.join(changes)} under preprocess and build it again."


def _window_changes(layout: str, channels: int | None, length: int | None, spec: SignalSpec) -> list[str]:
    changes = [] if layout == spec.layout else [f"Set layout: {layout}"]
    if channels not in (None, len(spec.channels)):
        changes.append(
            f"{'name' if changes else 'Name'} {channels} channels ({len(spec.channels)} are there)"
        )
    if length not in (None, spec.length):
        changes.append(f"{'set' if changes else 'Set'} length: {length}")
    return changes


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:g}' for value in values)}]"
