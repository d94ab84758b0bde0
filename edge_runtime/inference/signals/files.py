"""Windows in files: which files hold some, how they are read, and how bundles write them.

A file may be a record of many windows.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edge_runtime.inference.file_bytes import read_file
from edge_runtime.inference.npy import write_npy
from edge_runtime.inference.signals.payload import read_payload
from edge_runtime.inference.specs import PayloadSpec, SignalSpec
from edge_runtime.inference.specs.signals import PayloadFormat

_FORMATS: Mapping[str, PayloadFormat] = {
    ".npy": "npy",
    ".csv": "csv",
    ".json": "json",
    ".cbor": "cbor",
    ".msgpack": "msgpack",
    ".raw": "raw",
    ".bin": "raw",
}
WINDOW_SUFFIXES = frozenset(_FORMATS)
"""A file in a folder of windows that ends so, in small or capital letters, is taken for windows."""


def payload_of(path: Path, payload: PayloadSpec) -> PayloadSpec:
    """How a file is to be read: as its suffix says, where sensors of this model send another format.

    Then the file has the samples at its top and no times: a ``.csv`` has the names of the channels in its first line.
    """
    of_suffix = _FORMATS.get(path.suffix.lower(), payload.format)
    if of_suffix == payload.format:
        return payload
    return PayloadSpec(
        format=of_suffix, encoding=payload.encoding, rate_hz=payload.rate_hz, type=payload.type
    )


def write_window(numbers: NDArray[np.float64], payload: PayloadSpec) -> bytes:
    """The array file of a window (samples, channels), with the axes in the order in which ``payload`` reads them."""
    is_turned = payload.format == "npy" and payload.order == "channels"
    return write_npy(np.ascontiguousarray(numbers.T if is_turned else numbers))


def read_windows(path: Path, spec: SignalSpec, check_bytes: Callable[[int], None]) -> NDArray[np.float64]:
    """The windows of a file, (windows, samples, channels), one every ``hop``; what is shorter than one is one.

    They share the memory of the samples, however many there are, and are read-only.

    Raises:
        InputFlaw: it cannot be read.
    """
    payload = payload_of(path, spec.payload)
    numbers = read_payload(read_file(path, check_bytes), payload, spec.channel_names).numbers
    length = min(len(numbers), spec.input_length)
    return np.moveaxis(sliding_window_view(numbers, length, axis=0)[:: spec.input_hop], 1, 2)
