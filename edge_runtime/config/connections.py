"""The sections with an outside: cameras, the broker, the HTTP server.

Checks here look at values only; that named files exist is checked in ``load``, the one place that touches
the disk.
"""

from ipaddress import ip_address
from typing import Literal, Self

from pydantic import Field, SecretStr, field_serializer, model_validator

from edge_runtime.config.http_requests import MAX_TOKENS, HttpTlsConfig, HttpTokenConfig, PredictConfig
from edge_runtime.config.section import Section
from edge_runtime.config.tracking import TrackingConfig
from edge_runtime.config.values import CameraPath, FilePath, Host, Name, Port, Seconds, Text, TopicPrefix
from edge_runtime.system.camera_address import EXPECTED, CameraAddress, CameraKind, Decode, Transport

DriftName = Literal[
    "contrast", "bright", "dark", "noise", "blur", "tint", "haze", "grey",
    "vignette", "jpeg", "defocus", "exposure", "gamma",
]  # fmt: skip


class DemoConfig(Section):
    """The pictures of the built-in conveyor and their drift; only with ``path: demo:conveyor``."""

    pictures: FilePath | None = None
    """Folder of photographs; null: those in the package."""
    drift: DriftName | None = None
    """Simulated change of the camera; null: none."""
    drift_at_s: float = Field(default=30.0, ge=0, le=86_400)
    """When it begins, seconds after start."""
    severity: float = Field(default=1.0, ge=0, le=1)
    """0 nothing, 1 the full change."""
    ramp_s: float = Field(default=0.0, ge=0, le=86_400)
    """How long it takes to reach its full strength, seconds."""
    only: str | None = Field(default=None, examples=["orange"])
    """Show only the photograph of this name, without its ending: a scene of one class, on which the gate must do
    nothing."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """The same seed gives the same pictures."""


class CameraConfig(Section):
    """One stream of pictures."""

    path: CameraPath = Field(
        repr=False,
        description=f"Where pictures come from: {EXPECTED}. Passwords in a URL come from the environment: "
        "rtsp://user:{EDGE_CAMERA_PASSWORD}@host/stream.",
        examples=["rtsp://belt-camera.local/stream1", "/dev/video0", "clips/belt.mp4", "demo:conveyor"],
    )
    model: Name = Field(examples=["parts"])
    """Which of the models looks at it."""
    enabled: bool = True
    """Off: kept in the file, not opened."""
    fps: float | None = Field(default=None, gt=0, le=240, examples=[10])
    """At most this many pictures a second; null: as many as the source gives. Of cameras and MQTT pictures the
    newest is taken, others are dropped and counted. Files and folders are played at this pace, and nothing is
    dropped."""
    pace: Literal["native", "fps", "fastest"] = "native"
    """Video files: at their own speed, every frame at fps, or as fast as the model takes them. Folders always play
    at fps, or as fast as the model takes them."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Which camera's pictures are answered first when a model cannot keep up with all of its cameras."""
    loop: bool = False
    """Video files and folders: start again at the end."""
    watch: bool = False
    """Folders: wait for new pictures instead of ending."""
    subfolders: bool = False
    """Folders: take the pictures in folders below it as well."""
    size: tuple[int, int] | None = Field(default=None, examples=[[1280, 720]])
    """[width, height] in pixels, 16 to 16,384 each. V4L2: to ask the camera for. Other video: its pictures are scaled
    down to fit into it where they are decoded, which saves memory."""
    decode: Decode = "all"
    """RTSP and HTTP: which frames are decoded. all; nonref: not those that no other is built on; keyframes: those that
    need no other, a few a second or less; auto: key frames only, as soon as they have come often enough for fps, and
    all again when they do not."""
    colour: Literal["rgb", "bgr", "grey", "rgba", "bgra"] | None = None
    """Channel order the source really gives, when it is not what it declares. Colour arrays (.npy) declare none and
    need it."""
    transport: Transport = "tcp"
    """RTSP: how the video travels."""
    open_timeout_s: Seconds = Field(default=10.0, le=600)
    """Longest wait for the camera to open, seconds."""
    stall_timeout_s: Seconds = Field(default=5.0, le=600)
    """Without a picture for this long the source is restarted, seconds."""
    may_idle: bool | None = None
    """Whether silence is normal, so that it does not make the box unready; null: yes for files, folders and MQTT
    pictures, no for cameras."""
    snapshots: bool = False
    """Whether an operator may have pictures of it: by the command snapshot, which leaves the box by the broker, and
    live on the status page. Also where other keys send pictures by themselves, no picture leaves without it."""
    recordings: bool = False
    """Whether who may write to state_dir on the box may record its pictures: edge-runtime record."""
    tracking: TrackingConfig | None = None
    """Follow detected objects, {} by the defaults, so that one person is one event; null: each frame is answered by
    itself."""
    demo: DemoConfig | None = None
    """Options of demo:conveyor."""

    @property
    def address(self) -> CameraAddress:
        """The path as an address, which knows its kind."""
        return CameraAddress(self.path)

    @property
    def is_over_mqtt(self) -> bool:
        """Whether it needs the broker."""
        return self.address.kind is CameraKind.MQTT

    @property
    def is_idle_allowed(self) -> bool:
        """Whether silence is normal for this source."""
        return self.may_idle if self.may_idle is not None else self.address.kind.may_idle

    @property
    def safe_path(self) -> str:
        """The path with any password hidden: the only form for logs and status pages."""
        return self.address.redacted

    @field_serializer("path")
    def _hide(self, value: str) -> str:
        return CameraAddress(value).redacted

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        self.require(
            self.demo is None or self.address.kind is CameraKind.DEMO,
            "demo",
            "no 'demo' section unless path is demo:conveyor",
            found=f"'demo' with path {self.safe_path!r}",
        )
        self.require(self.pace != "fps" or self.fps is not None, "fps", "a number, since pace is 'fps'")
        wants_pictures = self.tracking is not None and self.tracking.pictures
        self.require(
            not wants_pictures or self.snapshots, "snapshots", "true, since tracking.pictures is true"
        )
        self.require(not (self.loop and self.watch), "watch", "either 'loop' or 'watch'", found="both")
        is_streamed = self.address.kind in (CameraKind.RTSP, CameraKind.HTTP)
        self.require(self.decode == "all" or is_streamed, "decode", "all, unless path is rtsp:// or http://")
        sized = self.size is None or (min(self.size) >= 16 and max(self.size) <= 16_384)
        self.require(sized, "size", "[width, height] in 16..16384 pixels")
        return self


class TlsConfig(Section):
    """An encrypted, verified link to the broker. There is no switch to skip verification."""

    ca: FilePath | None = None
    """CA certificates (PEM); null: those of the system."""
    cert: FilePath | None = None
    """Client certificate (PEM)."""
    key: FilePath | None = None
    """Key of the client certificate (PEM, no passphrase)."""

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        self.require(self.cert is None or self.key is not None, "key", "the key that belongs to 'cert'")
        self.require(
            self.key is None or self.cert is not None, "cert", "the certificate that belongs to 'key'"
        )
        return self


class HomeAssistantConfig(Section):
    """Makes the box a device of Home Assistant, by its MQTT discovery."""

    discovery_prefix: TopicPrefix = "homeassistant"
    """First levels of the topics on which Home Assistant looks for devices, as set there."""
    status_topic: TopicPrefix = "homeassistant/status"
    """Where Home Assistant says that it has started; the box describes itself again then."""
    figures_every_s: float = Field(default=10.0, ge=1, le=3600)
    """How often frame rates, latency, drift and versions are sent on <prefix>/<device>/figures, seconds."""
    pictures_every_s: float | None = Field(default=300.0, ge=5, le=86_400)
    """How often a picture of each camera with snapshots: true is sent on <prefix>/<device>/snapshot/<camera>, seconds;
    also at a drift alarm and when Home Assistant has started. null: no such pictures."""


class MqttConfig(Section):
    """The broker results are published to, MQTT v5."""

    host: Host = Field(examples=["broker.example"])
    """Host name or address of the broker."""
    port: Port | None = None
    """null: 8883 with tls, 1883 without."""
    user: Text | None = None
    """User name."""
    password: SecretStr | None = Field(default=None, repr=False, examples=["{EDGE_MQTT_PASSWORD}"])
    """Password, from the environment: "{EDGE_MQTT_PASSWORD}"."""
    password_file: FilePath | None = None
    """File that holds the password (one line), instead of 'password'."""
    tls: TlsConfig | None = None
    """Encryption; {} for TLS with the system's CAs."""
    prefix: TopicPrefix = "edge"
    """First levels of every topic: <prefix>/<device>/..."""
    keepalive_s: int = Field(default=15, ge=5, le=3600)
    """Silence after which the link is checked, seconds."""
    inflight: int = Field(default=20, ge=1, le=1000)
    """Messages sent and not yet acknowledged."""
    commands: bool = False
    """Obey requests on <prefix>/<device>/request/<verb>. Off unless turned on."""
    response_prefixes: tuple[TopicPrefix, ...] = Field(
        default=(), max_length=16, examples=[["plant/answers"]]
    )
    """First levels of further topics that a caller may have its answer sent to; else only topics below
    <prefix>/<device>/response/ are used."""
    home_assistant: HomeAssistantConfig | None = None
    """Home Assistant; {} with all defaults."""

    @property
    def effective_port(self) -> int:
        """The port to connect to."""
        return self.port if self.port is not None else (8883 if self.tls is not None else 1883)

    def password_text(self) -> str | None:
        """The password itself; hand it to the broker's client and to nothing else."""
        return self.password.get_secret_value() if self.password is not None else None

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        given = self.password is not None or self.password_file is not None
        self.require(
            self.password is None or self.password_file is None,
            "password_file",
            "either 'password' or 'password_file'",
            found="both",
        )
        self.require(not given or self.user is not None, "user", "a user name to go with the password")
        return self


class HttpConfig(Section):
    """Health, status, results and the dashboard; answers to pictures that are sent."""

    enabled: bool = True
    """Off: no port is opened."""
    host: Host = "127.0.0.1"
    """Address to listen on."""
    port: Port = 8080
    """Port to listen on."""
    grpc_port: Port | None = Field(default=None, examples=[8001])
    """Port of the Open Inference Protocol over gRPC, on the same address and for the same callers; null: none.
    Needs the extra 'grpc'."""
    allow_remote: bool = False
    """Let other machines ask. All but the probes of health needs one of the tokens."""
    tls: HttpTlsConfig | None = None
    """Encryption; null: none, which is for this machine alone or behind a proxy."""
    predict: PredictConfig = Field(default_factory=PredictConfig)
    """Pictures that are sent to be answered."""
    tokens: dict[Name, HttpTokenConfig] = Field(default_factory=dict, max_length=MAX_TOKENS)
    """Callers by name. With one of them here, nothing is read or done without a token; without any, only this machine
    may."""
    commands: bool = False
    """Obey commands of callers with tokens, as far as their roles go: POST /commands/VERB, and the status page."""

    @property
    def ports(self) -> dict[str, int]:
        """All that it listens on, by their keys."""
        found = {"http.port": self.port, "http.grpc_port": self.grpc_port}
        return {key: port for key, port in found.items() if port is not None}

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @property
    def page(self) -> str:
        """Address of the status page."""
        scheme = "http" if self.tls is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}/"

    @property
    def why_closed(self) -> str | None:
        """Why other machines, which are allowed, get nothing but the probes of health; None when that is not so."""
        if not self.enabled or self.is_loopback or self.tokens:
            return None
        return (
            "other machines get nothing but the probes of health, since no caller has a token (http.tokens)"
        )

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        self.require(
            not self.enabled or self.is_loopback or self.allow_remote,
            "host",
            "127.0.0.1, ::1 or localhost; or http.allow_remote: true, and http.tokens",
        )
        self.require(self.grpc_port != self.port, "grpc_port", "another port than http.port")
        return self
