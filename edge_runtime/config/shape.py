"""The shape of the configuration: frozen pydantic models, one a section, every key with its meaning.

Defaults live here and nowhere else; only what differs needs writing. There is deliberately no field that names a
program, a shell line or a Python object. ``load`` reads files, ``problems`` words errors; the kinds of value are in
``values``, sensors in ``sensors``, cameras and broker, the parts with an outside, in ``connections``, installed bundles
in ``bundles``, reference sets in ``reference``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from edge_runtime.config.bundles import BundlesConfig, find_bundle_root
from edge_runtime.config.commands import CommandsConfig
from edge_runtime.config.connections import CameraConfig, HttpConfig, MqttConfig
from edge_runtime.config.reference import ReferenceConfig
from edge_runtime.config.rollout import RolloutConfig
from edge_runtime.config.section import Section
from edge_runtime.config.sensors import SensorConfig
from edge_runtime.config.telemetry import TelemetryConfig
from edge_runtime.config.trust import TrustConfig
from edge_runtime.config.values import BaselineName, BundleRef, CronLine, DeviceName, FilePath, Name, Seconds
from edge_runtime.system.autonomy import Autonomy
from edge_runtime.system.model_formats import Precision, RuntimeChoice

MAX_CAMERAS, MAX_SENSORS, MAX_MODELS = 64, 64, 16
"""Far above what one box can infer; a bound so that a generated file cannot exhaust it."""


class BatchConfig(Section):
    """How many waiting pictures share one inference."""

    max_batch_size: int = Field(default=1, ge=1, le=256)
    """Pictures per inference. On a CPU more than 1 seldom pays."""
    max_queue_delay_ms: float = Field(default=0.0, ge=0, le=10_000)
    """How long a picture may wait for others to fill the batch, milliseconds."""


class EngineConfig(Section):
    """The runtime of a model, and its devices."""

    runtime: RuntimeChoice = "auto"
    """auto: onnxruntime for ONNX, openvino for an IR, torch for TorchScript; openvino runs ONNX too."""
    devices: tuple[DeviceName, ...] = Field(
        default=("CPU",), min_length=1, max_length=8, examples=[["CUDA", "CPU"], ["GPU"]]
    )
    """Best first: the first one that is there is used; without one of them the model is refused. onnxruntime: CPU,
    CUDA, TensorRT, OpenVINO, XNNPACK, ACL; openvino: CPU, GPU, GPU.1, NPU, AUTO; torch: CPU, CUDA."""
    precision: Precision = "f32"
    """Of float arithmetic in openvino, and by autocast in torch (bf16; on CUDA f16 too); device: the device's own
    default, which may change the answers. Quantized layers stay quantized."""
    pin_threads: bool = False
    """Bind the engine's threads to cores. Not in openvino, which places its threads itself: there CPUAffinity= of
    the systemd unit bounds the whole daemon."""
    cache: bool = False
    """Keep what openvino compiled below state_dir, for a faster start."""
    opening_mib: int | None = Field(default=None, ge=256, le=1_048_576, examples=[4096])
    """Memory that the model may take when it is opened for the first time, in a process without rights; null: by
    the sizes of model and picture, at most half of the box's."""


class AuditConfig(Section):
    """Confident answers that are kept with their pictures, so that a person can check whether sure means right."""

    share: float = Field(default=0.001, gt=0, le=1)
    """Share of the confident answers (score at least 0.8) that are kept, 0..1, chosen at random."""
    keep: int = Field(default=100, ge=1, le=10_000)
    """The newest so many stay."""


class ModelConfig(Section):
    """One model: which bundle, how many threads, how pictures queue for it."""

    bundle: BundleRef = Field(
        examples=["parts-classifier", "/srv/bundles/parts-classifier", "demo:efficientnet-lite0"]
    )
    """Name of a bundle below <state_dir>/bundles, the path of a bundle folder (with a '/'), or demo:NAME for one
    that ships with the package."""
    version: Literal["latest"] | int = Field(default="latest", examples=["latest", 4])
    """'latest' or a version number of the bundle."""
    engine: EngineConfig = Field(default_factory=EngineConfig)
    """What runs it, and where."""
    threads: Literal["auto", "latency", "throughput"] | int = Field(
        default="auto", examples=["auto", "latency", 2]
    )
    """Threads for one inference; auto shares the real CPU budget (affinity and cgroup quota) between the cameras;
    latency: all cores to one picture; throughput: as many pictures at once as cores."""
    batch: BatchConfig = Field(default_factory=BatchConfig)
    """Micro-batching."""
    max_age_ms: float | None = Field(default=2_000.0, gt=0, le=3_600_000)
    """Live pictures older than this are dropped, never published; null for no limit."""
    queue_frames: int = Field(default=4, ge=1, le=1024)
    """Pictures of one stream that may wait; live streams drop the oldest."""
    recalibrate: bool = True
    """Whether drift is watched and this model's statistics may be renewed."""
    audit: AuditConfig | None = None
    """Keep a few confident answers with their pictures, {} by the defaults; null: none."""
    rollout: RolloutConfig | None = None
    """How a version that is installed while the daemon runs takes over, {} by the defaults; null: a running
    daemon changes no version."""

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        self.require(self.version == "latest" or self.version >= 1, "version", "'latest' or a number from 1")
        self.require(
            isinstance(self.threads, str) or 1 <= self.threads <= 256,
            "threads",
            "'auto', 'latency', 'throughput' or a number from 1 to 256",
        )
        return self


class CommissionConfig(Section):
    """Recording the baseline: what this site looks like when it is healthy."""

    frames: int = Field(default=128, ge=16, le=4096)
    """Frames the baseline is made of, at most reference.reservoir. 96 or more of them are kept; from 64 on, one
    half of those teaches better patches, and the other judges them."""
    automatic: bool = False
    """Take the first frames after start as healthy without an operator's approval. Off: approve them with the
    command 'commission'."""
    name: BaselineName = Field(default="default", examples=["day", "night"])
    """What the baseline is called unless the command says otherwise; a site may have several."""
    expires_days: float | None = Field(default=None, gt=0, le=36_500, examples=[180])
    """No patch is made from a baseline older than this until it is approved again; null: no end."""


class RecalibrationConfig(Section):
    """When and how the BatchNorm statistics in the deployed model are renewed."""

    enabled: bool = True
    """Off: drift is still measured, nothing is ever patched."""
    schedule: CronLine | None = Field(default=None, examples=["0 3 * * *"])
    """Cron line in local time: minute hour day month weekday. null: on drift and command."""
    on_drift: bool = True
    """Also recalibrate whenever the drift alarm fires."""
    autonomy: Autonomy = "auto"
    """auto: an accepted patch is used; propose: it waits for the command approve-patch; observe: drift is reported, a
    recalibration runs on command only and no patch is used. A bundle may demand a stricter one."""
    commission: CommissionConfig = Field(default_factory=CommissionConfig)
    """Baseline."""
    reference: ReferenceConfig = Field(default_factory=ReferenceConfig)
    """Reference set."""
    min_frames: int = Field(default=32, ge=8, le=4096)
    """With fewer usable frames nothing is changed."""
    strictness: float = Field(default=1.0, ge=0.1, le=10)
    """Factor on every gain over the unpatched model that the gate asks for; 1: as measured. Scenes of few classes
    never ask for less than that."""
    margin: float | None = Field(default=None, ge=0, le=1)
    """Deprecated, use strictness: one number in place of all those gains, 0..1; null: not used."""
    cooldown_s: Seconds = 900.0
    """Least time between two recalibrations, seconds. Each one that comes to no patch doubles it, up to 6 h, until the
    drift is over or answered."""
    most_a_day: int = Field(default=24, ge=1, le=1000)
    """Recalibrations in 24 h that begin without a command."""
    timeout_s: Seconds = 1800.0
    """A recalibration that takes longer is killed, seconds."""
    shadow_frames: int = Field(default=0, ge=0, le=1_000_000, examples=[200])
    """Live frames that an accepted patch answers in the shadow before it becomes active, held to the limits of
    models.NAME.rollout or their defaults; 0: it becomes active at once."""
    shadow_longest_s: Seconds = 600.0
    """Without a clear verdict after this time in the shadow the patch waits for the command approve-patch, seconds."""
    distillation: Literal["full", "short", "off"] = "full"
    """How patches are distilled from healthy samples, in addition to those by moments. full: 18 steps; short: 9 steps,
    less time and less gain; off: none."""
    memory_mib: int = Field(default=1024, ge=128, le=1_048_576)
    """Memory the recalibration process may use, MiB."""

    @field_validator("distillation", mode="before")
    @classmethod
    def _read_off(cls, value: Any) -> Any:
        """YAML reads a plain ``off`` as false."""
        return "off" if value is False else value

    @model_validator(mode="after")
    def _check_min_frames(self) -> Self:
        most = self.reference.frames
        self.require(self.min_frames <= most, "min_frames", f"at most reference.frames ({most})")
        return self


class DriftConfig(Section):
    """How the daemon notices that the world in front of the lens has changed."""

    window_frames: int = Field(default=32, ge=8, le=1024)
    """Sampled frames one score is made of."""
    sample_every_s: Seconds = 1.0
    """A frame is sampled at most this often, seconds."""
    cooldown_s: Seconds = 600.0
    """Least time between two alarms, seconds."""


class OutboxConfig(Section):
    """The durable queue between inference and the outside."""

    max_mib: int = Field(default=256, ge=1, le=1_048_576)
    """Disk it may use, MiB; the oldest go first."""
    max_age_h: float = Field(default=72.0, gt=0, le=8760)
    """Results older than this are dropped, hours."""
    drain_timeout_s: Seconds = 5.0
    """How long a stopping daemon goes on delivering, seconds; the rest waits on disk."""


class SinkConfig(Section):
    """A local file of results, one JSON object a line; used when no broker is configured, or in addition to it."""

    path: FilePath | None = Field(default=None, examples=["/srv/results.jsonl"])
    """Where; null: <state_dir>/results.jsonl."""
    max_mib: int = Field(default=64, ge=1, le=1_048_576)
    """Disk it may use with its rotated parts, MiB."""


class PicturesConfig(Section):
    """How large pictures may be; larger ones are refused and counted. Memory is needed in proportion."""

    max_megapixels: float = Field(default=50.0, ge=0.01, le=1000)
    """Of a picture from a folder or a message, million pixels. Decoded it may have 4 bytes for each of them."""
    max_file_mib: int = Field(default=64, ge=1, le=4096)
    """Of an encoded picture in a folder, MiB. A message has at most 16."""
    max_frame_mib: int = Field(default=64, ge=1, le=4096)
    """Of a decoded frame of a camera or video, MiB: 3 bytes a pixel."""

    @property
    def max_pixels(self) -> int:
        """``max_megapixels`` as a number of pixels."""
        return round(self.max_megapixels * 1e6)


class LogConfig(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level shown."""
    format: Literal["auto", "json", "console"] = "auto"
    """json: one JSON object a line; console: for people; auto: console at a terminal, else json."""


StreamConfig = CameraConfig | SensorConfig


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a configuration was read from. Always equal: how it is written makes no difference."""

    text: bytes = field(default=b"", compare=False)
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, compare=False)


class Config(Section):
    """One edge box: its models, its cameras and sensors, and where results go."""

    device: Name = Field(examples=["belt-3"])
    """Name of this box in topics and result ids."""
    state_dir: FilePath = Path("/var/lib/edge-runtime")
    """Bundles, patches, baselines and the outbox live here."""
    models: dict[Name, ModelConfig] = Field(min_length=1, max_length=MAX_MODELS)
    """Models by name."""
    cameras: dict[Name, CameraConfig] = Field(default_factory=dict, max_length=MAX_CAMERAS)
    """Cameras by stream name. There is at least one camera or sensor."""
    sensors: dict[Name, SensorConfig] = Field(default_factory=dict, max_length=MAX_SENSORS)
    """Sensors by stream name, of which each model's bundle says what a window is."""
    mqtt: MqttConfig | None = None
    """The broker; left out: results go to the local sink and the HTTP API only."""
    commands: CommandsConfig = Field(default_factory=CommandsConfig)
    """Who may command the box over the broker."""
    recalibration: RecalibrationConfig = Field(default_factory=RecalibrationConfig)
    """Renewing the statistics."""
    drift: DriftConfig = Field(default_factory=DriftConfig)
    """Noticing change."""
    outbox: OutboxConfig = Field(default_factory=OutboxConfig)
    """Durable queue."""
    sink: SinkConfig | None = None
    """A local results file in addition to the broker; without a broker there is always one."""
    pictures: PicturesConfig = Field(default_factory=PicturesConfig)
    """Limits of pictures."""
    bundles: BundlesConfig = Field(default_factory=BundlesConfig)
    """Installed bundles."""
    trust: TrustConfig = Field(default_factory=TrustConfig)
    """Whose bundles may run."""
    http: HttpConfig = Field(default_factory=HttpConfig)
    """Health, status, dashboard."""
    telemetry: TelemetryConfig | None = None
    """Traces of frames; left out: none."""
    log: LogConfig = Field(default_factory=LogConfig)
    """Logging."""
    _source: _Source = PrivateAttr(default_factory=_Source)

    @classmethod
    def for_safe_mode(cls, **sections: Any) -> Self:
        """One without models and streams, which no text gives; the others are checked already, or their defaults."""
        return cls.model_construct(models={}, cameras={}, sensors={}, **sections)

    @model_validator(mode="after")
    def _check_streams(self) -> Self:
        self.require(bool(self.cameras or self.sensors), "cameras", "at least one camera or sensor", "none")
        both = sorted(self.cameras.keys() & self.sensors.keys())
        self.require(not both, "sensors", "names that no camera has", ", ".join(both))
        return self

    @property
    def streams(self) -> Mapping[str, StreamConfig]:
        """Cameras and sensors by stream name."""
        return {**self.cameras, **self.sensors}

    def section_of(self, stream: str) -> Literal["cameras", "sensors"]:
        """Where a stream is configured."""
        return "sensors" if stream in self.sensors else "cameras"

    @property
    def is_safe_mode(self) -> bool:
        """Whether it only keeps a box within reach whose configuration cannot be used."""
        return not self.models

    def with_source(self, text: bytes, lines: Mapping[tuple[str, ...], int]) -> Self:
        """The same configuration, which also knows the text that it was read from and the lines of its keys."""
        read = self.model_copy()
        read._source = _Source(text, lines)
        return read

    @property
    def text(self) -> bytes:
        """The YAML that it was read from, without the values of variables and files; empty when there was none."""
        return self._source.text

    def line_of(self, *key: str) -> int | None:
        """Line of a key in the file; None when it does not stand there, or there is no file."""
        return self._source.lines.get(key)

    @property
    def bundles_folder(self) -> Path:
        """The store of installed bundles: ``<name>/<version>``."""
        return self.state_dir / "bundles"

    def bundle_root(self, model: str) -> Path:
        """Folder that holds the version folders of a model's bundle (or is one version itself)."""
        return find_bundle_root(self.models[model].bundle, self.bundles_folder)

    def sink_path(self) -> Path | None:
        """Where the local results file goes; None when there is a broker and no ``sink`` section."""
        if self.sink is None and self.mqtt is not None:
            return None
        return (self.sink.path if self.sink else None) or self.state_dir / "results.jsonl"
