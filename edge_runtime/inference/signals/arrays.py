"""Samples as plain numbers: raw little-endian ones, and array files of NumPy."""

import string
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.npy import is_npy, read_npy
from edge_runtime.inference.signals.readings import Readings, check_count
from edge_runtime.inference.specs import PayloadSpec

_PRINTABLE = string.printable.encode()
_LEAST_TEXT = 32
"""Bytes; fewer may be text by chance."""


def read_raw(data: bytes, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    """The samples of numbers that follow each other, of the declared type, little-endian.

    Raises:
        InputFlaw: a number or a sample is cut off, or it is text, which would be read as numbers near 0.
    """
    dtype = np.dtype(payload.type).newbyteorder("<")
    if dtype.itemsize > 1 and len(data) >= _LEAST_TEXT and not data.translate(None, _PRINTABLE):
        raise InputFlaw(RejectReason.BAD_ENCODING, f"text; expected numbers of {payload.type} (payload.type)")
    size = dtype.itemsize * len(channels)
    if len(data) % size:
        expected = f"a multiple of {size} ({len(channels)} channels of {payload.type})"
        raise InputFlaw(RejectReason.BAD_SHAPE, f"{len(data)} bytes; expected {expected}")
    return _arrange(np.frombuffer(data, dtype).reshape(_shape_of(payload, len(channels))), payload, channels)


def read_array_file(data: bytes, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    """The samples of a ``.npy`` file: (samples, channels), or (channels, samples) where it is declared so.

    Of one channel, one axis is enough.

    Raises:
        InputFlaw: it is damaged, no array of numbers, or of another shape.
    """
    if not is_npy(data):
        raise InputFlaw(RejectReason.UNREADABLE, "not an array file; expected npy")
    array = read_npy(data)
    if array.ndim == 1 and len(channels) == 1:
        array = array.reshape(_shape_of(payload, 1))
    return _arrange(array, payload, channels)


def _shape_of(payload: PayloadSpec, channels: int) -> tuple[int, int]:
    return (-1, channels) if payload.order == "samples" else (channels, -1)


def _arrange(array: NDArray[Any], payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    axis = 1 if payload.order == "samples" else 0
    if array.ndim != 2 or array.shape[axis] != len(channels):
        wanted = ("samples", len(channels)) if axis else (len(channels), "samples")
        expected = f"({wanted[0]}, {wanted[1]}) for payload.order {payload.order}"
        raise InputFlaw(RejectReason.BAD_SHAPE, f"array of shape {array.shape}; expected {expected}")
    check_count(array.size)
    return Readings(to_float64(array if axis else array.T))


def to_float64(array: NDArray[Any]) -> NDArray[np.float64]:
    """A copy of numbers of any type. Signalling NaN, which a damaged message can hold, raises no alarm in NumPy."""
    with np.errstate(invalid="ignore"):
        return np.array(array, np.float64, order="C")
