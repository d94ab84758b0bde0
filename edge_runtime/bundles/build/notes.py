"""Notes for the author of a bundle: mistakes that make no error, and the answers worse."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundles.manifest import Manifest
from edge_runtime.inference.preprocess import channels_first
from edge_runtime.inference.specs import PictureSpec, PreprocessSpec, SignalSpec

UNUSUAL = 20.0
"""Nets take values of about -3 to 3; larger ones mean that mean and std are for 0 to 1 instead of 0 to 255."""
_FAR, _NARROW = 5.0, 0.05
"""Normalised signals have a mean near 0 and a spread near 1: a channel further off, or that hardly moves, is odd."""


def list_notes(manifest: Manifest, samples: NDArray[np.float32]) -> tuple[str, ...]:
    """The notes about a bundle; ``samples`` (N, ...) are inputs as prepared for it."""
    reason = manifest.calibration.no_moments
    notes = [f"no factory moments, so this model cannot be recalibrated: {reason}"] if reason else []
    spec = manifest.preprocess
    if isinstance(spec, SignalSpec):
        notes += _odd_channels(spec, samples)
    else:
        notes += _odd_levels(spec)
    return tuple(notes)


def _odd_levels(spec: PictureSpec) -> Iterator[str]:
    low, high = min(_values_of(spec, 0)), max(_values_of(spec, 255))
    if low < -UNUSUAL or high > UNUSUAL:
        yield (
            f"pictures become values from {low:.3g} to {high:.3g}, unusual for a net: mean and std are of levels 0 "
            "to 255. If training had them for 0 to 1, multiply both by 255"
        )


def _values_of(spec: PictureSpec, level: int) -> list[float]:
    """The value of a grey level in each channel; [0] for a model that normalises by itself."""
    is_raw = set(spec.mean) == {0.0} and set(spec.std) == {1.0}
    return [0.0] if is_raw else [(level - m) / s for m, s in zip(spec.mean, spec.std, strict=True)]


def _odd_channels(spec: SignalSpec, samples: NDArray[np.float32]) -> Iterator[str]:
    """A note about each channel that is normalised, and not to values that nets take."""
    by_channel = _flatten(spec, samples)
    for channel, values in zip(spec.channels, by_channel, strict=True):
        mean, std = float(values.mean()), float(values.std())
        is_raw = (channel.mean, channel.std) == (0.0, 1.0)
        if is_raw or (abs(mean) <= _FAR and _NARROW <= std <= _FAR):
            continue
        unit = f" in {channel.unit}" if channel.unit else ""
        yield (
            f"channel {channel.name} becomes values around {mean:.3g} with a spread of {std:.3g}, unusual for a net: "
            f"scale and offset make values{unit} of the payload's numbers, and mean and std are of those values"
        )


def _flatten(spec: PreprocessSpec, samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """(C, all values) of prepared windows."""
    first = channels_first(samples, spec)
    return np.moveaxis(first, 1, 0).reshape(first.shape[1], -1).astype(np.float64)
