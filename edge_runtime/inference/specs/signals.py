"""How samples of a sensor become the model's input: the counterpart of ``pictures`` for windows of numbers."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from edge_runtime.inference.specs.base import Finite, StrictModel, Text
from edge_runtime.inference.specs.signal_inputs import (
    MOST_INPUTS,
    SignalInput,
    SignalLayout,
    find_flaw,
    shape_in,
)

MAX_CHANNELS = 1024
MAX_WINDOW_VALUES = 4096 * 4096
"""Of a model's input: 64 MiB as float32."""
LARGEST_VALUE = 1e9
"""In the unit of a channel whose range does not go further. Bytes of another type that are read as float32 show
themselves by such values."""
_LARGEST_FLOAT32 = 3e38
MAX_RESAMPLING = 1024
"""Times that one rate may be of another: the filter between them takes memory and time in proportion."""
_LARGEST_PREPARED = 1e30
"""A model's input is float32, whose largest number is 3e38."""
_SECONDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*s\s*")
_NO_DELIMITERS = frozenset('0123456789+-.eE"#\r\n\0')
"""They are parts of numbers, or mean something else in csv."""

Encoding = Literal["utf-8", "utf-16", "utf-16-le", "utf-16-be", "gbk", "latin-1"]
PayloadFormat = Literal["json", "csv", "raw", "npy", "cbor", "msgpack"]
NumberType = Literal["float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
FillRule = Literal["hold", "linear", "mean", "zero", "refuse"]
MAX_RATE_HZ = 1e7
Rate = Annotated[Finite, Field(ge=1e-6, le=MAX_RATE_HZ)]
"""Samples a second; the least is one in twelve days."""


class SignalChannel(StrictModel):
    """One channel of the model's input: where its numbers are, and what they mean."""

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    """Of the field or column that holds it."""
    unit: Annotated[Text, Field(max_length=32)] = ""
    """Of its values, for people: g, A, degC."""
    scale: Finite = 1.0
    """A number of the payload times ``scale`` plus ``offset`` is the value in ``unit``: for sensors that
    send counts."""
    offset: Finite = 0.0
    low: Finite | None = None
    """Least value, in ``unit``, that the sensor can measure; what is below it is no measurement, and missing."""
    high: Finite | None = None
    """Largest value, in ``unit``, that the sensor can measure."""
    mean: Finite = 0.0
    """Subtracted from the value, in ``unit``."""
    std: Annotated[Finite, Field(gt=0)] = 1.0
    """Divided by, in ``unit``."""

    @property
    def largest(self) -> float:
        """Size of a value beyond which a window is refused, in ``unit``; resampling leads a little out of a range."""
        ends = (abs(end) for end in (self.low, self.high) if end is not None)
        return min(max(LARGEST_VALUE, 2 * max(ends, default=0.0)), _LARGEST_FLOAT32)

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if (self.largest + abs(self.mean)) / self.std > _LARGEST_PREPARED:
            raise ValueError("mean is too large or std too small: prepared values would be beyond float32")
        return self


class MissingSpec(StrictModel):
    """What happens where a window has no value: null, NaN, an empty field, a gap, a value outside of its range."""

    fill: FillRule = "linear"
    """hold: the value before. linear: the straight line between its neighbours. mean: ``mean`` of the channel.
    zero: 0 in ``unit``. refuse: a window with a missing value is refused."""
    most: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of a channel's values in a window that may be filled; a window with more is refused."""
    sentinels: Annotated[tuple[Finite, ...], Field(max_length=16)] = ()
    """Numbers of the payload, before ``scale``, that mean "no value", e.g. -9999."""


FieldName = Annotated[str, Field(min_length=1, max_length=100)]


class PayloadSpec(StrictModel):
    """How a message or file says its samples. A stream of the configuration may say it otherwise."""

    format: PayloadFormat = "json"
    """json, cbor, msgpack: a record with a number for each channel, a list of such records, a record with a list for
    each channel, or a list of rows, each the channels in their order behind the time. csv: lines. raw: numbers one
    after the other. npy: an array file of NumPy."""
    encoding: Encoding = "utf-8"
    """Of json and csv; a byte order mark is no part of the text. utf-16 needs one, the others do without."""
    path: Annotated[str, Field(max_length=200)] = ""
    """Where the record or records of json, cbor and msgpack are: names and indices, e.g. ``data.0.samples``; empty: it
    is them."""
    names: Annotated[dict[str, FieldName], Field(max_length=MAX_CHANNELS)] = Field(default_factory=dict)
    """Channel to the field or column that holds it, where the sensor calls it otherwise: ``{ax: x}``."""
    time: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    """Name of the field or column with the time of a sample, or next to lists with that of the last one; null: the last
    one is as old as the message."""
    time_unit: Literal["s", "ms", "us", "ns", "rfc3339"] = "s"
    """Of that field: since 1970 in UTC, or a date and time as text."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """Between two fields of csv."""
    decimal: Literal[".", ","] = "."
    """The mark before the decimals in csv."""
    has_header: bool = True
    """csv: the first line names the columns; false: the columns are the channels in their order, behind the time where
    there is one."""
    type: NumberType = "float32"
    """raw, and binary values of cbor and msgpack: of the numbers, little-endian."""
    order: Literal["samples", "channels"] = "samples"
    """raw, npy: samples: all channels of the first sample, then of the second. channels: all samples of the first
    channel, then of the second."""
    rate_hz: Rate | None = None
    """Samples a second that the sensor sends; null: as the model wants."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if self.format == "csv" and self.delimiter == self.decimal:
            raise ValueError(
                "delimiter and decimal are the same; a csv with decimal commas is delimited by ';'"
            )
        if self.delimiter in _NO_DELIMITERS:
            raise ValueError(
                f"delimiter {self.delimiter!r} is part of numbers, quotes or lines; take ',' or ';'"
            )
        return self


class SignalSpec(StrictModel):
    """How samples become a window, and a window the model's input tensor."""

    kind: Literal["signal"]
    channels: Annotated[tuple[SignalChannel, ...], Field(min_length=1, max_length=MAX_CHANNELS)]
    """In the model's order."""
    rate_hz: Rate = 1.0
    """Samples a second that the model was trained with; other rates are resampled."""
    length: Annotated[int, Field(ge=1, le=MAX_WINDOW_VALUES)]
    """Samples of a window at ``rate_hz``; or its duration, e.g. ``2.5 s``."""
    hop: Annotated[int, Field(ge=1, le=MAX_WINDOW_VALUES)]
    """Samples from the begin of a window to that of the next, or the time between them; ``length`` where it is left
    out: windows do not overlap."""
    layout: SignalLayout = "nct"
    """Axes of the model's input: nct (windows, channels, samples), ntc (windows, samples, channels), nf (windows,
    channels), for a length of 1."""
    inputs: Annotated[tuple[SignalInput, ...], Field(max_length=MOST_INPUTS)] = ()
    """Of a model with several inputs: which channels each of them takes, in which layout. A window stays one array
    (channels, samples), which is shared out at the model. Empty: the model has one input."""
    late_s: Annotated[Finite, Field(ge=0, le=3600)] = 0.0
    """How long samples that come out of order are waited for, by the times of the samples; later ones are left out."""
    missing: MissingSpec = MissingSpec()
    payload: PayloadSpec = PayloadSpec()

    @property
    def noun(self) -> Literal["window"]:
        """Name of one input in messages."""
        return "window"

    @property
    def input_length(self) -> int:
        """Samples of a window at the sensor's rate, at least 1."""
        return max(1, round(self.length * self.input_rate_hz / self.rate_hz))

    @property
    def input_hop(self) -> int:
        """Samples from window to window at the sensor's rate, at least 1."""
        return max(1, round(self.hop * self.input_rate_hz / self.rate_hz))

    @property
    def input_rate_hz(self) -> float:
        """Samples a second that the sensor sends."""
        return self.payload.rate_hz or self.rate_hz

    @property
    def late_slots(self) -> int:
        """Samples at the sensor's rate that ``late_s`` keeps windows open for; 0: none."""
        # One more than the seconds say: times are rounded to slots.
        return math.ceil(self.late_s * self.input_rate_hz) + 1 if self.late_s else 0

    @property
    def preparation(self) -> str:
        """What a window goes through, as text: two specifications with the same one make the same tensors.

        How samples come and how often a window begins make no difference to it. Without defaults, as for pictures.
        """
        return self.model_dump_json(exclude_defaults=True, exclude={"payload", "hop", "late_s"})

    @property
    def size(self) -> tuple[int, int]:
        """Windows have no width and height, and their models no boxes."""
        return (0, 0)

    @property
    def is_bgr(self) -> bool:
        """Windows have no colours."""
        return False

    @property
    def channel_axis(self) -> int:
        """Of a prepared sample, without the batch axis."""
        return 1 if self.layout == "ntc" else 0

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Shape of one prepared window, without the batch axis."""
        return shape_in(self.layout, len(self.channels), self.length)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """In the model's order."""
        return tuple(channel.name for channel in self.channels)

    @property
    def values_shape(self) -> tuple[int, int]:
        """Shape of a window's values in their units: (channels, samples), whatever the layout."""
        return (len(self.channels), self.length)

    @model_validator(mode="before")
    @classmethod
    def _read_durations(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        read = dict(data)
        rate_hz = read.get("rate_hz", 1.0)
        for name in ("length", "hop"):
            said = read.get(name)
            seconds = _SECONDS.fullmatch(said) if isinstance(said, str) else None
            if seconds is not None and isinstance(rate_hz, int | float) and 0 < rate_hz <= MAX_RATE_HZ:
                read[name] = _count_samples(float(seconds[1]), rate_hz)
        length = read.get("length")
        is_length = isinstance(length, int) and 1 <= length <= MAX_WINDOW_VALUES
        read.setdefault("hop", length if is_length else 1)  # a wrong length is one problem, not two
        return read

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        names = self.channel_names
        if len(set(names)) != len(names):
            raise ValueError("two channels have the same name")
        if unknown := [name for name in self.payload.names if name not in names]:
            raise ValueError(f"payload.names has {unknown[0]!r}; expected channels: {', '.join(names[:10])}")
        if len({self.payload.names.get(name, name) for name in names}) != len(names):
            raise ValueError("payload.names gives two channels the same field")
        if self.inputs and (flaw := find_flaw(self.inputs, names)) is not None:
            raise ValueError(flaw)
        if self.inputs and self.layout != "nct":
            raise ValueError(
                f"layout {self.layout} is of a model with one input; write layout in each of inputs"
            )
        if self.layout == "nf" and self.length != 1:
            raise ValueError("layout nf has no axis for samples; length must be 1")
        if not 1 / MAX_RESAMPLING <= self.input_rate_hz / self.rate_hz <= MAX_RESAMPLING:
            raise ValueError(f"payload.rate_hz and rate_hz differ by more than {MAX_RESAMPLING} times")
        if max(self.length, self.input_length) * len(names) > MAX_WINDOW_VALUES:
            raise ValueError(f"a window of more than {MAX_WINDOW_VALUES} values; shorten it")
        most = MAX_WINDOW_VALUES // len(names)
        if self.late_slots > most:
            raise ValueError(
                f"late_s of {self.late_s:g} s at {self.input_rate_hz:g} Hz are {self.late_slots} samples to keep; at "
                f"most {most} can be kept, so make late_s {_round_down((most - 2) / self.input_rate_hz)} or less"
            )
        return self


def _round_down(value: float) -> str:
    """At most three significant digits of a positive number, none too many: what is shown has to be accepted."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.floor(value / step) * step:.3g}"


def _count_samples(duration_s: float, rate_hz: float) -> int:
    """Samples of a duration, at least 1 of a positive one; one too many of a window that is too long."""
    count = min(duration_s * rate_hz, MAX_WINDOW_VALUES + 1)
    return max(1, round(count)) if count > 0 else 0
