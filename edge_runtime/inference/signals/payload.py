"""One message or file of a sensor -> its samples, as the bundle or the stream declares. Nothing is guessed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.npy import is_npy
from edge_runtime.inference.signals.arrays import read_array_file, read_raw
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.specs import PayloadSpec

Reader = Callable[[bytes, PayloadSpec, Sequence[str]], Readings]

_READERS: Mapping[str, Reader] = {"npy": read_array_file, "raw": read_raw}


def read_payload(data: bytes, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    """The samples of a message or file.

    Args:
        data: All its bytes.
        payload: How they are to be read.
        channels: Names of the channels, in the model's order.

    Raises:
        InputFlaw: it cannot be read so, has no samples, or lacks a channel.
    """
    if not data:
        raise InputFlaw(RejectReason.EMPTY, f"0 bytes; expected {payload.format}")
    if (
        is_npy(data) and payload.format != "npy"
    ):  # as windows lie in bundles and reference folders, whatever the stream sends
        payload = PayloadSpec(format="npy")
    readings = _READERS[payload.format](data, payload, channels)
    if not len(readings):
        raise InputFlaw(RejectReason.EMPTY, f"{payload.format} without samples")
    if np.isinf(readings.numbers).any():
        raise InputFlaw(RejectReason.NON_FINITE, f"{payload.format} with infinite values")
    return readings
