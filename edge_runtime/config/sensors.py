"""The section of a sensor: a stream of windows of numbers, as a camera is one of pictures."""

from typing import Literal, Self

from pydantic import Field, model_validator

from edge_runtime.config.section import Section
from edge_runtime.config.values import Name, Seconds, SensorPath, Topic
from edge_runtime.system.sensor_address import EXPECTED, SensorAddress, SensorKind


class PayloadConfig(Section):
    """How this sensor says its samples; what is left out is as the model's bundle says."""

    format: Literal["json", "csv", "raw", "npy", "cbor", "msgpack"] | None = None
    """json, cbor, msgpack: a record with a field for each channel, a list of such records, or fields with a list for
    each channel. csv: lines. raw: numbers one after the other. npy: an array file of NumPy."""
    encoding: Literal["utf-8", "utf-16", "utf-16-le", "utf-16-be", "gbk", "latin-1"] | None = None
    """Of json and csv; a byte order mark is no part of the text."""
    path: str | None = Field(default=None, max_length=200, examples=["data.samples"])
    """Where the record or records are inside of it; '': it is them."""
    names: dict[str, str] | None = Field(default=None, max_length=1024, examples=[{"ax": "x"}])
    """The bundle's channels to the fields or columns that hold them, where this sensor calls them otherwise."""
    time: str | None = Field(default=None, max_length=100, examples=["t"])
    """Name of the field or column with the time of a sample; '': there is none, and samples are counted from the
    arrival on."""
    time_unit: Literal["s", "ms", "us", "ns", "rfc3339"] | None = None
    """Of that field: since 1970 in UTC, or a date and time as text."""
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Between two fields of csv."""
    decimal: Literal[".", ","] | None = None
    """The mark before the decimals in csv."""
    has_header: bool | None = None
    """csv: the first line names the columns; false: the columns are the channels in their order, behind the time where
    there is one."""
    type: Literal["float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32"] | None = None
    """raw: of the numbers, little-endian."""
    order: Literal["samples", "channels"] | None = None
    """raw, npy: samples: all channels of the first sample, then of the second. channels: all samples of the first
    channel, then of the second."""
    rate_hz: float | None = Field(default=None, ge=1e-6, le=10_000_000)
    """Samples a second that the sensor sends."""


class SensorConfig(Section):
    """One stream of samples, of which the model's bundle says how they become windows."""

    path: SensorPath = Field(
        description=f"Where samples come from: {EXPECTED}.",
        examples=["mqtt", "recordings/pump.csv", "/srv/windows", "-"],
    )
    model: Name = Field(examples=["bearing"])
    """Which of the models answers its windows."""
    enabled: bool = True
    """Off: kept in the file, not opened."""
    topic: Topic | None = Field(default=None, examples=["plant/pump/accel"])
    """mqtt: where the sensor publishes, without wildcards; null: <prefix>/<device>/signal/<stream>."""
    payload: PayloadConfig = Field(default_factory=PayloadConfig)
    """How its messages or files say their samples, where that differs from the bundle."""
    late_s: float | None = Field(default=None, ge=0, le=3600)
    """How long samples that come out of order are waited for, by their own times, seconds; null: as the bundle says."""
    hop: int | None = Field(default=None, ge=1, examples=[128])
    """Samples, at the model's rate, from the begin of a window to that of the next; null: as the bundle says."""
    pace: Literal["native", "fastest"] = "native"
    """Files: at the sensor's rate, or as fast as the model takes them."""
    loop: bool = False
    """Files and folders: start again at the end."""
    watch: bool = False
    """Folders: wait for new files instead of ending. Each file is a message."""
    subfolders: bool = False
    """Folders: take the files in folders below it as well."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Which stream's windows are answered first when a model cannot keep up with all of its streams."""
    recordings: bool = False
    """Whether who may write to state_dir on the box may record its windows: edge-runtime record."""
    stall_timeout_s: Seconds | None = None
    """Without a window for this long the sensor counts as silent, seconds; null: 5, and at least three windows."""
    may_idle: bool | None = None
    """Whether silence is normal, so that it does not make the box unready; null: yes for files and folders, no for MQTT
    and standard input."""

    @property
    def address(self) -> SensorAddress:
        """The path as an address, which knows its kind."""
        return SensorAddress(self.path)

    @property
    def is_over_mqtt(self) -> bool:
        """Whether it needs the broker."""
        return self.address.kind is SensorKind.MQTT

    @property
    def is_idle_allowed(self) -> bool:
        """Whether silence is normal for this source."""
        return self.may_idle if self.may_idle is not None else self.address.kind.may_idle

    @property
    def safe_path(self) -> str:
        """The path for logs and status pages."""
        return self.path

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        kind = self.address.kind
        self.require(self.topic is None or kind is SensorKind.MQTT, "topic", "no 'topic' unless path is mqtt")
        is_file = kind is SensorKind.FILE
        self.require(is_file or not self.loop, "loop", "false, unless path is a file or folder")
        self.require(is_file or not self.watch, "watch", "false, unless path is a folder")
        self.require(not (self.loop and self.watch), "watch", "either 'loop' or 'watch'", found="both")
        return self
