"""How a camera or video file is to be played; validated on construction. Standard library only, as the protocol."""

from dataclasses import dataclass
from typing import Literal

from edge_runtime.system.camera_address import Transport

Pace = Literal["native", "fps", "fastest"]


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """How to play a camera or a file; the defaults suit an RTSP camera."""

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
    size: tuple[int, int] | None = None
    """V4L2 only: width and height to ask for."""
    decode_threads: int = 1
    """FFmpeg's frame threads add a frame of delay each."""
    slots: int = 3
    """Frames in shared memory: one being written, one being read, the rest wait. 3 keeps a camera's frames young."""
    max_frame_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        """Refuse impossible combinations.

        Raises:
            ValueError: naming the option, what it is and what was expected.
        """
        for name in ("open_timeout_s", "stall_timeout_s", "fps", "decode_threads", "max_frame_bytes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; expected more than 0")
        if self.slots < 3:
            raise ValueError(f"slots is {self.slots}; expected at least 3")
        if self.pace == "fps" and self.fps is None:
            raise ValueError("pace 'fps' without fps; expected fps to be set, or pace 'native' or 'fastest'")

    @property
    def read_timeout_s(self) -> float:
        """Time limit of one read: shorter than the owner's, so that the process itself can report a silent camera."""
        return max(0.5, self.stall_timeout_s * 0.8)
