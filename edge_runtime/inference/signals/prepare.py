"""Window -> sample, exactly as the bundle says: the one code path for live, golden and reference windows.

A window that cannot be used becomes a ``Rejected`` value with its reason; nothing here raises for bad input.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Frame, Rejected, RejectReason, Sample
from edge_runtime.inference.file_bytes import read_file
from edge_runtime.inference.flaw import InputFlaw
from edge_runtime.inference.preparation import make_sample, prepare_or_reject
from edge_runtime.inference.signals.files import payload_of
from edge_runtime.inference.signals.fill import blank_outside, blank_sentinels, fill_missing
from edge_runtime.inference.signals.payload import read_payload
from edge_runtime.inference.signals.resample import resample
from edge_runtime.inference.specs import SignalSpec
from edge_runtime.inference.specs.signals import LARGEST_VALUE


class SignalPreprocessor:
    """Prepares windows for one model. Holds no state between frames; callable from several threads at once.

    Args:
        spec: The input of the model.
        max_bytes: Larger messages and files are refused.
        note_failure: Called with every exception that no check foresaw, while it is being handled.
    """

    def __init__(
        self,
        spec: SignalSpec,
        max_bytes: int = 64 * 1024 * 1024,
        note_failure: Callable[[Exception], object] = lambda _: None,
    ) -> None:
        self.spec = spec
        self._max_bytes, self._note_failure = max_bytes, note_failure
        self._names = spec.channel_names
        self._low, self._high = (
            np.array([_or(getattr(channel, side), default) for channel in spec.channels], np.float64)
            for side, default in (("low", -np.inf), ("high", np.inf))
        )
        self._largest = np.array([[channel.largest] for channel in spec.channels], np.float64)
        self._scale, self._offset, self._mean, self._std = (
            np.array([getattr(channel, part) for channel in spec.channels], np.float64)
            for part in ("scale", "offset", "mean", "std")
        )

    def prepare(self, frame: Frame) -> Sample | Rejected:
        """The sample of a frame, or why there is none."""
        return prepare_or_reject(frame, self._prepare, self._note_failure)

    def normalise(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """The tensor of a window in its units, float32 (channels, samples), in the layout of the model.

        Raises:
            ValueError: another shape; that window did not go through :meth:`prepare`.
        """
        if values.shape != self.spec.values_shape:
            raise ValueError(f"window {values.shape}; expected {self.spec.values_shape}")
        scaled = ((values - self._mean[:, None]) / self._std[:, None]).astype(np.float32)
        if self.spec.layout == "nct":
            return scaled
        return scaled[:, 0].copy() if self.spec.layout == "nf" else np.ascontiguousarray(scaled.T)

    def _prepare(self, frame: Frame) -> Sample:
        started_s = decoded_s = time.monotonic()
        payload, values, filled = frame.payload, None, 0.0
        if frame.is_tensor:
            tensor = self._check(payload)
        else:
            if not isinstance(payload, np.ndarray):
                payload = self._read(payload)
                decoded_s = time.monotonic()
            self._check_channels(frame.channels)
            values, filled = self._in_units(payload, frame.rate_hz or self.spec.input_rate_hz)
            tensor = self.normalise(values)
        return make_sample(frame, tensor, values, (started_s, decoded_s), filled=filled)

    def _read(self, payload: bytes | Path) -> NDArray[np.float64]:
        """The numbers (samples, channels) of a message or file that is one window."""
        how = self.spec.payload
        if isinstance(payload, Path):
            how, payload = payload_of(payload, how), read_file(payload, self.check_bytes)
        self.check_bytes(len(payload))
        return read_payload(payload, how, self._names).numbers

    def check_bytes(self, size: int) -> None:
        """Refuse a message or file of more bytes than are taken.

        Raises:
            InputFlaw: it has.
        """
        if size > self._max_bytes:
            raise InputFlaw(RejectReason.TOO_LARGE, f"{size} bytes; at most {self._max_bytes} are taken")

    def _check_channels(self, names: tuple[str, ...] | None) -> None:
        """Refuse a window that was made for a bundle with other channels, or with these in another order."""
        if names is not None and names != self._names:
            found = f"window of channels {', '.join(names[:5])}, made for another bundle"
            raise InputFlaw(RejectReason.BAD_SHAPE, f"{found}; expected {', '.join(self._names[:5])}")

    def _in_units(self, numbers: NDArray[np.float64], from_hz: float) -> tuple[NDArray[np.float32], float]:
        """A window's values, float32 (channels, samples) at the model's rate, and the share that was filled."""
        spec = self.spec
        wanted = (max(1, round(spec.length * from_hz / spec.rate_hz)), len(self._names))
        if numbers.shape != wanted:
            found = f"window of {numbers.shape[0]} samples of {numbers.shape[-1]} channels"
            raise InputFlaw(RejectReason.BAD_SHAPE, f"{found}; expected {wanted[0]} of {wanted[1]}")
        known = blank_sentinels(numbers, spec.missing.sentinels) * self._scale + self._offset
        known = blank_outside(known, self._low, self._high)
        whole, filled = fill_missing(known, spec.missing, self._mean.tolist(), self._names)
        at_rate = resample(whole, from_hz, spec.rate_hz, spec.length)
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(at_rate.T, np.float32)
        if not (np.abs(values) <= self._largest).all():
            found = f"values beyond {LARGEST_VALUE:g}, which few sensors measure"
            raise InputFlaw(RejectReason.NON_FINITE, f"{found}; set high of the channel where one does")
        return values, filled

    def _check(self, value: Any) -> NDArray[np.float32]:
        """A tensor that is prepared already: float, the model's layout, every value finite."""
        shape = self.spec.tensor_shape
        expected = f"expected a float tensor of {shape} ({self.spec.layout} without the batch axis)"
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise InputFlaw(RejectReason.BAD_DTYPE, f"tensor of {found}; {expected}")
        if value.shape == (1, *shape):
            value = value[0]
        if value.shape != shape:
            raise InputFlaw(RejectReason.BAD_SHAPE, f"tensor of shape {value.shape}; {expected}")
        with np.errstate(over="ignore"):
            tensor = np.array(value, np.float32, order="C")
        if not np.isfinite(tensor).all():
            raise InputFlaw(RejectReason.NON_FINITE, "tensor with NaN, infinity or values beyond float32")
        return tensor


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
