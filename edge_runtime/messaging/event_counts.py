"""How often what has happened, by model: counts of events since the start, over every edit and swap."""

import threading
from collections import Counter
from typing import Literal, get_args

from edge_runtime.messaging.events import (
    ConfigApplied,
    ConfigRefused,
    ConfigUndone,
    DriftAlarm,
    Event,
    Fact,
    PatchObserved,
    PatchProposed,
    Recalibrated,
    RecalibrationRefused,
    RolledBack,
    RolloutMoved,
    TaskFailed,
)

Recalibration = Literal["accepted", "proposed", "observed", "refused", "failed"]
Rollout = Literal["active", "refused"]
Edit = Literal["applied", "refused", "undone"]

RECALIBRATIONS: tuple[Recalibration, ...] = get_args(Recalibration)
ROLLOUTS: tuple[Rollout, ...] = get_args(Rollout)
EDITS: tuple[Edit, ...] = get_args(Edit)

Occurrence = (
    tuple[Literal["recalibration"], Recalibration]
    | tuple[Literal["rollout"], Rollout]
    | tuple[Literal["config"], Edit]
    | tuple[Literal["drift", "rollback"], Literal["seen"]]
)


def classify(fact: Fact) -> Occurrence | None:
    """What an event is counted as; None for events that are not."""
    match fact:
        case TaskFailed(task="recalibrate", dry_run=False):
            return "recalibration", "failed"
        case Recalibrated():
            return "recalibration", "accepted"
        case PatchProposed():
            return "recalibration", "proposed"
        case PatchObserved():
            return "recalibration", "observed"
        case RecalibrationRefused():
            return "recalibration", "refused"
        case DriftAlarm():
            return "drift", "seen"
        case RolledBack():
            return "rollback", "seen"
        case RolloutMoved(before=before, stage="active" | "refused" as stage) if before != stage:
            return "rollout", stage
        case ConfigApplied():
            return "config", "applied"
        case ConfigRefused():
            return "config", "refused"
        case ConfigUndone():
            return "config", "undone"
    return None


class EventCounts:
    """Safe from any thread; what never happened counts 0."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[Occurrence, str | None]] = Counter()

    def add(self, event: Event) -> None:
        """Count an event, if it is one that is counted."""
        occurrence = classify(event.fact)
        if occurrence is not None:
            with self._lock:
                self._counts[occurrence, event.model] += 1

    def get(self, occurrence: Occurrence, model: str | None = None) -> int:
        """How often; None is the whole device."""
        with self._lock:
            return self._counts[occurrence, model]
