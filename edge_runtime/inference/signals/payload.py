"""One message or file of a sensor -> its samples, as the bundle or the stream declares. Nothing is guessed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edge_runtime.datatypes import RejectReason
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.npy import is_npy
from edge_runtime.inference.signals.arrays import read_array_file, read_raw
from edge_runtime.inference.signals.cbor_values import read_cbor
from edge_runtime.inference.signals.csv_lines import read_csv
from edge_runtime.inference.signals.json_text import read_json
from edge_runtime.inference.signals.msgpack_values import read_msgpack
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.signals.structures import MAX_BYTES
from edge_runtime.inference.signals.text import find_encoding
from edge_runtime.inference.signals.times import spread_back
from edge_runtime.inference.specs import PayloadSpec

Reader = Callable[[bytes, PayloadSpec, Sequence[str]], Readings]

_READERS: Mapping[str, Reader] = {
    "cbor": read_cbor,
    "csv": read_csv,
    "json": read_json,
    "msgpack": read_msgpack,
    "npy": read_array_file,
    "raw": read_raw,
}
_ARRAY_FILE = PayloadSpec(format="npy")
_STRUCTURES = ("cbor", "json", "msgpack")
_TEXTS = ("csv", "json")


def read_payload(
    data: bytes, payload: PayloadSpec, channels: Sequence[str], rate_hz: float = 1.0
) -> Readings:
    """The samples of a message or file.

    Args:
        data: All its bytes.
        payload: How they are to be read.
        channels: Names of the channels, in the model's order.
        rate_hz: Samples a second, for those before the last one where only that one has a time.

    Raises:
        InputFlaw: it cannot be read so, has no samples, or lacks a channel.
    """
    if not data:
        raise InputFlaw(RejectReason.EMPTY, f"0 bytes; expected {payload.format}")
    if is_npy(data) and payload.format != "npy":
        payload = _ARRAY_FILE  # as windows lie in bundles and reference folders, whatever the stream sends
    readings = _read(data, payload, channels)
    if not len(readings):
        raise InputFlaw(RejectReason.EMPTY, f"{payload.format} without samples")
    if np.isinf(readings.numbers).any():
        raise InputFlaw(RejectReason.NON_FINITE, f"{payload.format} with infinite values")
    missing = np.isnan(readings.numbers)
    if missing.any():
        readings.numbers[missing] = np.nan  # none that signals: arithmetic would warn
    times = readings.times_wall_s
    if times is not None and len(times) != len(readings):
        return Readings(readings.numbers, spread_back(times, len(readings), rate_hz))
    return readings


def _read(data: bytes, payload: PayloadSpec, channels: Sequence[str]) -> Readings:
    fields = [payload.names.get(name, name) for name in channels]
    if payload.format in _STRUCTURES and len(data) > MAX_BYTES:
        found = f"{len(data)} bytes of {payload.format}"
        raise InputFlaw(RejectReason.TOO_LARGE, f"{found}; at most {MAX_BYTES} are taken, more as npy or raw")
    try:
        return _READERS[payload.format](data, payload, fields)
    except InputFlaw as flaw:
        other = None
        if payload.format in _TEXTS and flaw.reason is RejectReason.MISSING_CHANNEL:
            other = find_encoding(data, fields, payload.encoding)
        if other is None:
            raise
        found = f"names of channels in {other}"
        expected = f"expected {payload.encoding} (payload.encoding)"
        raise InputFlaw(RejectReason.BAD_ENCODING, f"{found}; {expected}") from flaw
