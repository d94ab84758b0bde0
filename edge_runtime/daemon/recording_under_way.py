"""A recording that is under way, for people to see: who keeps frames of which streams, since when. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime.messaging.events import RecordingBegun, RecordingEnded
from edge_runtime.recordings.feed import Taking
from edge_runtime.system.rfc3339 import format_rfc3339


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """Frames of cameras or sensors are being kept by a process of this box."""

    by: str
    """The user of this box who records."""
    cameras: tuple[str, ...]
    """Cameras and sensors whose frames are kept now; an edit of the configuration may have taken one away."""
    began_at: str
    """RFC 3339."""
    frames: int
    """Frames that the recording process was given, or that wait for it."""
    left_out: int
    """Frames that did not fit, since it is too slow, or whose file could not be read."""


@dataclass(frozen=True, slots=True)
class RecordingUnderWay:
    """What does not change while it lasts, and where the frames are counted."""

    by: str
    cameras: tuple[str, ...]
    taking: Taking
    began_at_wall_s: float
    began_s: float

    def status(self, may_be_recorded: Callable[[str], bool]) -> RecordingStatus:
        """How it is now."""
        return RecordingStatus(
            by=self.by,
            cameras=tuple(filter(may_be_recorded, self.cameras)),
            began_at=format_rfc3339(self.began_at_wall_s),
            frames=self.taking.frames,
            left_out=self.taking.left_out,
        )

    def begun(self) -> RecordingBegun:
        """The event of its begin."""
        return RecordingBegun(self.by, self.cameras)

    def ended(self, reason: str, now_s: float) -> RecordingEnded:
        """The event of its end."""
        return RecordingEnded(
            self.by,
            self.cameras,
            seconds=round(now_s - self.began_s, 1),
            frames=self.taking.frames,
            left_out=self.taking.left_out,
            reason=reason,
        )
