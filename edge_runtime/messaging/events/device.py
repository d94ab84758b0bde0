"""Events about the whole device: its configuration, state, health, delivery and recordings. Values only."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from edge_runtime.messaging.events.units import Count, Seconds


@dataclass(frozen=True, slots=True)
class ConfigApplied:
    """An edit of the configuration is in force."""

    kind: ClassVar = "config"
    changed: tuple[str, ...]
    """Paths of the keys that differ."""
    after_restart: tuple[str, ...]
    """Those of them that count only after a restart."""
    warnings: tuple[str, ...] = ()
    """What a person should look at, such as a model that the next start does not open."""


@dataclass(frozen=True, slots=True)
class ConfigRefused:
    """The configuration file cannot be used; the last good one stays, or without one the box is in safe mode."""

    kind: ClassVar = "config"
    problems: tuple[str, ...]
    """Line, key and what was expected."""
    safe_mode: bool = False
    """No camera and no model runs."""


@dataclass(frozen=True, slots=True)
class ConfigUndone:
    """An edit by command cut the box off from its broker, and was taken back."""

    kind: ClassVar = "config"
    by: str
    """Who had commanded it."""
    undone: tuple[str, ...]
    """Paths of the keys that decide how the box is reached, and were changed by it."""
    reason: str
    """Why."""


@dataclass(frozen=True, slots=True)
class StateDamaged:
    """A file of the state directory cannot be used; the daemon goes on without what it held."""

    kind: ClassVar = "state"
    file: str
    """Its path."""
    lost: str
    """What the daemon does without it."""
    problem: str
    """What is wrong with it."""


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """Something is not as it should be, or is again."""

    kind: ClassVar = "health"
    part: str
    """What it is about, as before the colon in ``/healthz``: ``source belt``, ``broker``, ``calibration parts``."""
    state: Literal["dead", "unready", "note", "well"]
    """``dead``: only a restart helps. ``unready``: the device cannot be relied on. ``note``: it serves all the same."""
    reason: str | None
    """None when it is well."""


@dataclass(frozen=True, slots=True)
class DeliveryTrouble:
    """Results or events are not delivered, or are dropped."""

    kind: ClassVar = "delivery"
    channel: str
    """``mqtt`` or ``file``."""
    problems: tuple[str, ...]
    """What is new: a topic that the broker refuses, messages that are dropped, nothing delivered for a minute."""


@dataclass(frozen=True, slots=True)
class DeliveryRecovered:
    """Everything is delivered again."""

    kind: ClassVar = "delivery"
    channel: str


@dataclass(frozen=True, slots=True)
class RecordingBegun:
    """Pictures of cameras or windows of sensors, and the answers to them, are being kept by a process of this box."""

    kind: ClassVar = "recording"
    by: str
    """The user of this box who records."""
    cameras: tuple[str, ...]
    """Whose pictures are kept."""


@dataclass(frozen=True, slots=True)
class RecordingEnded:
    """A recording has ended: no more pictures are kept."""

    kind: ClassVar = "recording"
    by: str
    """As at its begin."""
    cameras: tuple[str, ...]
    """As at its begin."""
    seconds: Seconds
    """How long it took."""
    frames: Count
    """Pictures that the recording process was given."""
    left_out: Count
    """Frames that did not fit, since it was too slow, or whose file could not be read."""
    reason: str
    """Why it ended."""
