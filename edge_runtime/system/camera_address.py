"""The kinds of camera: which addresses are allowed, how each kind behaves, and how FFmpeg may reach it.

A new kind is added here and in ``daemon/wiring/sources``, which opens it. Standard library only, because every capture
process loads this. No device or file is touched.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from edge_runtime.system.redaction import redact_url

EXPECTED = (
    "rtsp://, rtsps://, http:// or https:// with a host; /dev/videoN or /dev/v4l/by-id/NAME; a video file or folder; "
    "'mqtt'; or 'demo:conveyor'"
)
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_WORDS = {"mqtt": "mqtt", "demo:conveyor": "demo"}
_DEVICE = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/[\w.:+-]+)")
# As FFmpeg reads it. It opens dozens more than those above (concat:, pipe:, subfile,,:); none is let through.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.,-]*):")

_PIPELINE = re.compile(r"\s!\s")

Transport = Literal["tcp", "udp"]
Decode = Literal["all", "nonref", "keyframes", "auto"]
"""All frames; not those that no other frame is built on; key frames only; key frames where they are frequent enough."""


class CameraKind(StrEnum):
    """The kind of source behind an address."""

    RTSP = "rtsp"
    HTTP = "http"
    DEVICE = "device"
    MQTT = "mqtt"
    DEMO = "demo"
    FILE = "file"
    """A video file or a folder of pictures; the disk knows which."""

    @property
    def is_live(self) -> bool:
        """Whether pictures come at their own time, so that old ones may be dropped."""
        return self is not CameraKind.FILE

    @property
    def may_idle(self) -> bool:
        """Whether silence is normal."""
        return self in (CameraKind.FILE, CameraKind.MQTT)

    @property
    def backend(self) -> Literal["ffmpeg", "v4l2"] | None:
        """What plays it as video; None: it is no video."""
        if self in (CameraKind.MQTT, CameraKind.DEMO):
            return None
        return "v4l2" if self is CameraKind.DEVICE else "ffmpeg"


def kind_of(text: str) -> CameraKind:
    """The kind that an address claims to be; whether it is allowed is not checked."""
    if text in _WORDS:
        return CameraKind(_WORDS[text])
    scheme = _scheme_of(text)
    if scheme is None:
        return CameraKind.DEVICE if _DEVICE.fullmatch(text) else CameraKind.FILE
    return CameraKind.RTSP if scheme.startswith("rtsp") else CameraKind.HTTP


class BadCameraAddress(ValueError):
    """The text is no address of a camera."""

    def __init__(self, shown: str, expected: str) -> None:
        super().__init__(f"{shown!r} is no camera address; expected {expected}")
        self.expected = expected


@dataclass(frozen=True, slots=True)
class CameraAddress:
    """An allowed address of a camera.

    Raises:
        BadCameraAddress: empty, another scheme, a URL without host, another device, or control characters.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse addresses that must not reach FFmpeg, which opens far more than cameras."""
        scheme = _scheme_of(self.text)
        if not self.text.strip() or any(ord(c) < 32 or ord(c) == 127 for c in self.text):
            raise BadCameraAddress(self.redacted, EXPECTED)
        if self.text in _WORDS:
            return
        if scheme is None:
            is_other_device = self.text.startswith("/dev/") and not self.text.startswith("/dev/shm/")  # noqa: S108
            if is_other_device and self.kind is not CameraKind.DEVICE:
                raise BadCameraAddress(self.text, EXPECTED)
            if self.text.isdecimal():
                raise BadCameraAddress(
                    self.text, f"/dev/video{self.text} for this camera; a file has its folder, ./{self.text}"
                )
            if _PIPELINE.search(self.text):
                raise BadCameraAddress(self.text, f"{EXPECTED}; GStreamer pipelines are not used")
            return
        if scheme not in _PORTS or not self.text[len(scheme) :].startswith("://"):
            raise BadCameraAddress(self.redacted, EXPECTED)
        if self.endpoint is None or any(c.isspace() for c in self.text):
            raise BadCameraAddress(self.redacted, f"{scheme}:// with a host, a valid port and no spaces")

    @property
    def kind(self) -> CameraKind:
        """The kind of source behind it."""
        return kind_of(self.text)

    @property
    def redacted(self) -> str:
        """The address as it may be logged: without user, password and secret query parameters."""
        return redact_url(self.text)

    @property
    def password(self) -> str | None:
        """The password in its URL, without percent codes; None when it has none."""
        try:
            return unquote(urlsplit(self.text).password or "") or None
        except ValueError:  # half an IPv6 address
            return None

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and TCP port to connect to; None when it has none."""
        scheme = _scheme_of(self.text)
        if scheme not in _PORTS:
            return None
        try:
            parts = urlsplit(self.text)
            return (parts.hostname, parts.port or _PORTS[scheme]) if parts.hostname else None
        except ValueError:  # a port that is no number, or half an IPv6 address
            return None

    @property
    def local_path(self) -> Path | None:
        """Where the device, file or folder is on this machine; None when it is elsewhere."""
        return Path(self.text) if self.kind in (CameraKind.DEVICE, CameraKind.FILE) else None

    def ffmpeg_options(self, transport: Transport, *, is_patient: bool = False) -> dict[str, str]:
        """Options of FFmpeg for this address.

        Every kind names the protocols it may use: without that a "video file" that is really a playlist can make
        FFmpeg fetch URLs, and a remote one can make it read local files. Short probing opens RTSP in 0.5 s, not 3 s,
        but finds no picture size when a camera announces none and sends key frames rarely: hence ``is_patient``.

        Not ``fflags;nobuffer``: it throws away what was read for probing, and with it the first key frame. With key
        frames 5 s apart the first picture then came after 19 s, with 8 s never; without the flag after 0.3 s. What
        probing kept is decoded at once, so no delay stays.
        """
        probing = {} if is_patient else {"probesize": "200000", "analyzeduration": "200000"}
        match self.kind:
            case CameraKind.RTSP:
                protocols, more = "rtp,rtsp,tcp,udp,tls,srtp,crypto", {"rtsp_transport": transport, **probing}
            case CameraKind.HTTP:
                protocols, more = "http,https,tcp,tls,crypto", probing
            case _:
                protocols, more = "file,crypto,data", {}
        return {"protocol_whitelist": protocols, **more}


def _scheme_of(text: str) -> str | None:
    """The part before the first colon, as in a URL; None for a path."""
    found = _SCHEME.match(text)
    return found[1].lower() if found is not None else None
