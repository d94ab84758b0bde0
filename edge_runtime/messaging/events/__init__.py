"""Everything that an operator may want to know, one type for each: the contract of ``docs/reference/events.md``.

Values only; ``event_forms`` says how they become JSON, ``event_text`` text. ``kind`` is the name under which
subscribers know an event; several types may share one, and their fields tell them apart.
"""

from dataclasses import dataclass

from edge_runtime.messaging.events.device import (
    ConfigApplied,
    ConfigRefused,
    ConfigUndone,
    DeliveryRecovered,
    DeliveryTrouble,
    HealthChanged,
    RecordingBegun,
    RecordingEnded,
    StateDamaged,
)
from edge_runtime.messaging.events.recalibration import (
    BaselineChanged,
    BaselineScore,
    Commissioned,
    DriftAlarm,
    DriftFigures,
    DryRunEnded,
    PatchesPaused,
    PatchFacts,
    PatchObserved,
    PatchProposed,
    PatchResumed,
    PatchTried,
    ProposalEnded,
    Recalibrated,
    RecalibrationRefused,
    RecalibrationReport,
    RolledBack,
    ShadowOutcome,
    TaskFailed,
)
from edge_runtime.messaging.events.versions import (
    RolloutMoved,
    VersionMended,
    VersionSkipped,
)

__all__ = [
    "BaselineChanged",
    "BaselineScore",
    "Commissioned",
    "ConfigApplied",
    "ConfigRefused",
    "ConfigUndone",
    "DeliveryRecovered",
    "DeliveryTrouble",
    "DriftAlarm",
    "DriftFigures",
    "DryRunEnded",
    "Event",
    "Fact",
    "HealthChanged",
    "PatchFacts",
    "PatchObserved",
    "PatchProposed",
    "PatchResumed",
    "PatchTried",
    "PatchesPaused",
    "ProposalEnded",
    "Recalibrated",
    "RecalibrationRefused",
    "RecalibrationReport",
    "RecordingBegun",
    "RecordingEnded",
    "RolledBack",
    "RolloutMoved",
    "ShadowOutcome",
    "StateDamaged",
    "TaskFailed",
    "VersionMended",
    "VersionSkipped",
]

Fact = (
    ConfigApplied
    | ConfigRefused
    | ConfigUndone
    | VersionSkipped
    | VersionMended
    | RolloutMoved
    | StateDamaged
    | HealthChanged
    | Commissioned
    | TaskFailed
    | BaselineChanged
    | PatchesPaused
    | PatchResumed
    | DriftAlarm
    | Recalibrated
    | RecalibrationRefused
    | PatchProposed
    | PatchObserved
    | DryRunEnded
    | ProposalEnded
    | PatchTried
    | RolledBack
    | DeliveryTrouble
    | DeliveryRecovered
    | RecordingBegun
    | RecordingEnded
)


@dataclass(frozen=True, slots=True)
class Event:
    """A fact with its time, and the model that it is about."""

    at_wall_s: float
    """Unix seconds."""
    fact: Fact
    model: str | None = None
    """None for the whole device."""
