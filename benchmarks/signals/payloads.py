"""How sensors write the same samples: one function for each format, for troubled streams of the benchmark."""

import csv
import io
import json
from collections.abc import Callable, Mapping

import cbor2
import msgpack
import numpy as np
from numpy.typing import NDArray

from benchmarks.signals.window import CHANNELS
from edge_runtime.inference.npy import write_npy

Samples = NDArray[np.float32]
"""(samples, channels), NaN where one is missing."""
Write = Callable[[Samples, NDArray[np.float64]], bytes]
"""Of samples and their Unix times."""


def _records(samples: Samples, times_s: NDArray[np.float64]) -> list[dict[str, float | None]]:
    return [
        {"t": at_s, **dict(zip(CHANNELS, (None if np.isnan(v) else float(v) for v in row), strict=True))}
        for at_s, row in zip(times_s.tolist(), samples, strict=True)
    ]


def _json(samples: Samples, times_s: NDArray[np.float64]) -> bytes:
    return json.dumps(_records(samples, times_s)).encode()


def _csv(samples: Samples, times_s: NDArray[np.float64]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("t", *CHANNELS))
    for at_s, row in zip(times_s.tolist(), samples, strict=True):
        writer.writerow((repr(at_s), *("" if np.isnan(v) else repr(float(v)) for v in row)))
    return text.getvalue().encode()


def _raw(samples: Samples, _: NDArray[np.float64]) -> bytes:
    return samples.astype("<f4").tobytes()


def _npy(samples: Samples, _: NDArray[np.float64]) -> bytes:
    return write_npy(samples)


def _cbor(samples: Samples, times_s: NDArray[np.float64]) -> bytes:
    return cbor2.dumps(_records(samples, times_s))


def _msgpack(samples: Samples, times_s: NDArray[np.float64]) -> bytes:
    return bytes(msgpack.packb(_records(samples, times_s)))


WRITERS: Mapping[str, Write] = {
    "json": _json, "csv": _csv, "raw": _raw, "npy": _npy, "cbor": _cbor, "msgpack": _msgpack,
}  # fmt: skip
TEXTS = ("json", "csv")
TIMELESS = ("raw", "npy")
"""Their messages say their time in the user property ``captured_at``."""
