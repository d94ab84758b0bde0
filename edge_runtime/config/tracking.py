"""The section ``cameras.NAME.tracking``: detected objects are followed from frame to frame, and one is one event."""

from pydantic import Field

from edge_runtime.config.section import Section
from edge_runtime.config.values import Text


class TrackingConfig(Section):
    """Object events on <prefix>/<device>/objects/<camera>; for detectors. Needs the extra 'tracking'."""

    labels: tuple[Text, ...] = Field(default=(), max_length=256, examples=[["person", "car"]])
    """Only these labels; empty: all."""
    min_score: float = Field(default=0.5, ge=0, le=1)
    """Boxes with a lower score are not looked at, 0..1."""
    min_frames: int = Field(default=3, ge=1, le=1000)
    """An object is announced once it was seen in so many frames; one that is seen in fewer was a slip of the model."""
    lost_s: float = Field(default=3.0, ge=0.1, le=600)
    """An object that is not seen for this long has gone, seconds. Back earlier, as from behind a tree, it is the same
    one."""
    update_every_s: float = Field(default=5.0, ge=0.2, le=3600)
    """While it is seen an object is told of at most this often, seconds."""
    pictures: bool = False
    """Publish a picture of each new object with its box on <prefix>/<device>/snapshot/<camera>, at most one a second;
    only with cameras.NAME.snapshots."""
    most: int = Field(default=50, ge=1, le=500)
    """Objects at the same time; further ones are not announced."""
