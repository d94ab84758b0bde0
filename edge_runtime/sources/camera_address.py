"""Where a camera or video is: which schemes are allowed, how FFmpeg may reach it, and how to write it in a log.

Pure; no device is touched.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

_SCHEMES = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_DEVICE = re.compile(r"/dev/(video\d+|v4l/by-(id|path)/[\w.:+-]+)")
# Up to the last @, because passwords are not always percent-encoded; an @ in the path costs the host name in the log.
_CREDENTIALS = re.compile(r"(?<=://)\S*@")
# Query parameters in which cameras and recorders carry secrets.
_SECRET_QUERY = re.compile(r"(?i)([?&](?:pass\w*|pwd|token|auth\w*|key|secret|signature|user\w*)=)[^&\s]+")

Transport = Literal["tcp", "udp"]


class CameraKind(StrEnum):
    """What stands behind an address; decides the OpenCV backend and whether old frames may be dropped."""

    DEVICE = "device"
    RTSP = "rtsp"
    HTTP = "http"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class CameraAddress:
    """An allowed address: ``rtsp(s)://``, ``http(s)://``, ``/dev/videoN`` or the path of a file.

    Raises:
        ValueError: empty, another scheme, a URL without host, or control characters.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what must not reach FFmpeg, which would open ``concat:``, ``gopher:``, ``data:`` and more."""
        expected = "expected rtsp://, rtsps://, http://, https://, /dev/videoN or the path of a video file"
        if not self.text or any(ord(c) < 32 for c in self.text):
            raise ValueError(f"{self.redacted!r} is no camera address; {expected}")
        scheme = self._scheme()
        if scheme is None:
            if self.text.startswith("/dev/") and not _DEVICE.fullmatch(self.text):
                raise ValueError(f"{self.text!r} is no camera; {expected}")
            return
        if scheme not in _SCHEMES:
            raise ValueError(f"scheme {scheme!r} in {self.redacted!r} is not allowed; {expected}")
        if self.endpoint is None:
            raise ValueError(f"{self.redacted!r} names no host or a wrong port; {expected}")

    def _scheme(self) -> str | None:
        """What stands before the first colon, unless a path separator comes first (a file name may have colons)."""
        head, colon, _ = self.text.partition(":")
        return head.lower() if colon and "/" not in head and "\\" not in head else None

    @property
    def kind(self) -> CameraKind:
        """What stands behind it."""
        scheme = self._scheme()
        if scheme is None:
            return CameraKind.DEVICE if _DEVICE.fullmatch(self.text) else CameraKind.FILE
        return CameraKind.RTSP if scheme.startswith("rtsp") else CameraKind.HTTP

    @property
    def is_live(self) -> bool:
        """True when frames come whether they are read or not."""
        return self.kind is not CameraKind.FILE

    @property
    def redacted(self) -> str:
        """The address as it may be logged: without user, password and secret query parameters."""
        return redact(self.text)

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and TCP port to knock at; None for devices and files, and for a URL without them."""
        scheme = self._scheme()
        if scheme not in _SCHEMES:
            return None
        try:
            parts = urlsplit(self.text)
            return (parts.hostname, parts.port or _SCHEMES[scheme]) if parts.hostname else None
        except ValueError:  # a port that is no number, or half an IPv6 address
            return None

    def ffmpeg_options(self, transport: Transport, *, is_patient: bool = False) -> str:
        """OPENCV_FFMPEG_CAPTURE_OPTIONS for this address.

        Every kind names the protocols it may use: without that a "video file" that is really a playlist can make
        FFmpeg fetch URLs, and a remote one can make it read local files. Short probing opens RTSP in 0.5 s, not 3 s,
        but finds no picture size when a camera announces none and sends key frames rarely: hence ``is_patient``.
        """
        probing = "" if is_patient else "|probesize;200000|analyzeduration;200000"
        live = f"{probing}|fflags;nobuffer|flags;low_delay"
        match self.kind:
            case CameraKind.RTSP:
                return f"protocol_whitelist;rtp,rtsp,tcp,udp,tls,srtp,crypto|rtsp_transport;{transport}{live}"
            case CameraKind.HTTP:
                return f"protocol_whitelist;http,https,tcp,tls,crypto{live}"
            case _:
                return "protocol_whitelist;file,crypto,data"


def redact(text: str) -> str:
    """``text`` with the credentials of every URL in it replaced; for logs and for FFmpeg's own messages."""
    return _SECRET_QUERY.sub(r"\1***", _CREDENTIALS.sub("***@", text))
