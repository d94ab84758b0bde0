"""The messages between a capture process and its owner, besides frames: one request, then small messages.

Standard library only, because the capture process starts with it. One packet of a SOCK_SEQPACKET pair is one message.
The request travels here and not in the arguments: a camera address may hold a password, and arguments are public.
"""

import json
import os
import socket
import threading
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from edge_runtime.sources.sign_of_life import FIRST_PICTURE_S
from edge_runtime.system.camera_address import Decode, Transport

WAKE = b"f"
"""Child to parent: a frame is in the ring. May be lost when the socket is full, which wakes the parent as well."""
ROOM = b"r"
"""Parent to child: a slot became free."""
QUIT = b"q"
"""Parent to child: release the device and end."""
MAX_PACKET_BYTES = 16384

Pace = Literal["native", "fps", "fastest"]


class CaptureFailed(Exception):
    """The device cannot be opened or gives no more frames; this process ends, the next one may have more luck."""


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """How to play a camera or a file; the defaults suit an RTSP camera. The configuration has checked them."""

    fps: float | None = None
    """At most so many frames a second (cameras, and files in pace ``native`` or ``fastest`` by their own time)."""
    pace: Pace = "native"
    """Files only: at their own speed, every frame at ``fps``, or as fast as they are read."""
    loop: bool = False
    """Files only: begin again at the end."""
    transport: Transport = "tcp"
    """RTSP only. UDP loses packets as soon as the network is busy."""
    open_timeout_s: float = 10.0
    stall_timeout_s: float = 5.0
    """Silence of this length between two frames and the capture process is killed."""
    first_picture_s: float = FIRST_PICTURE_S
    """Longest wait for the first picture of a camera while data comes from it."""
    size: tuple[int, int] | None = None
    """Of V4L2: width and height to ask for. Of other video: pictures are scaled down to fit into it."""
    decode: Decode = "all"
    """Cameras of the network only: see ``DecodeChoice``."""
    max_frame_bytes: int = 64 << 20

    @property
    def read_timeout_s(self) -> float:
        """Time limit of one read: shorter than the owner's, so that the process itself can report a silent camera."""
        return max(0.5, self.stall_timeout_s * 0.8)


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """Everything a capture process needs to know."""

    stream: str
    address: str
    options: VideoOptions
    skip: int
    """Frames of a file that were delivered before and are passed over."""
    is_patient: bool
    """Look longer at the stream before playing it; see ``CameraAddress.ffmpeg_options``."""

    def encode(self) -> bytes:
        """As a packet."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, packet: bytes) -> "CaptureRequest":
        """From a packet made by ``encode``."""
        fields = json.loads(packet)
        options = fields.pop("options")
        options["size"] = tuple(options["size"]) if options["size"] else None
        return cls(options=VideoOptions(**options), **fields)


MessageKind = Literal["waiting", "opening", "opened", "decoding", "frame", "ended", "failed"]


@dataclass(frozen=True, slots=True)
class CaptureMessage:
    """One message of the child."""

    kind: MessageKind
    facts: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As a packet."""
        return json.dumps({"kind": self.kind, **self.facts}).encode()[:MAX_PACKET_BYTES]

    @classmethod
    def decode(cls, packet: bytes) -> "CaptureMessage":
        """From a packet.

        Raises:
            ValueError: not a message; the child is not to be trusted any more.
        """
        if packet == WAKE:
            return cls("frame")
        facts = json.loads(packet)
        if not isinstance(facts, dict) or "kind" not in facts:
            raise ValueError(f"unknown message {packet[:80]!r}")
        return cls(facts.pop("kind"), facts)


class OwnerConnection:
    """The capture process's end of the socket pair. A thread listens: a hung device call must not outlive the owner."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.room = threading.Event()
        self.quit = threading.Event()

    def receive_request(self) -> CaptureRequest:
        """The first packet."""
        return CaptureRequest.decode(self._channel.recv(MAX_PACKET_BYTES))

    def listen(self) -> None:
        """Begin to listen for room, quit and the owner's death."""
        threading.Thread(target=self._listen, name="owner", daemon=True).start()

    def send(self, kind: MessageKind, **facts: object) -> None:
        """Send a message; waits while the socket is full."""
        self._channel.send(CaptureMessage(kind, facts).encode())

    def wake(self) -> None:
        """Tell the owner that a frame is in the ring."""
        try:
            self._channel.send(WAKE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # so many unread packets wake it anyway

    def _listen(self) -> None:
        try:
            while packet := self._channel.recv(64):
                if packet == QUIT:
                    self.quit.set()
                self.room.set()
        finally:
            os._exit(0)  # the owner is gone; the main thread may hang in a driver
