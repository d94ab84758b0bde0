"""The state of one model's recalibration for people and machines, in the names and the order of ``/status``."""

from dataclasses import dataclass
from typing import Any

from edge_runtime.deployment.patch_trial import ShadowStatus
from edge_runtime.messaging.events import BaselineScore, DriftFigures
from edge_runtime.recalibration.job.messages import JobProgress
from edge_runtime.recalibration.proposal import Proposal
from edge_runtime.recalibration.reference.live_reference_set import ReservoirStatus
from edge_runtime.system.autonomy import Autonomy


@dataclass(frozen=True, slots=True)
class NothingSeen:
    """In place of drift figures before the first frame."""

    ready: bool = False
    """As in drift figures."""
    score: float = 0.0
    """Nothing is known yet."""
    threshold: float = 1.0
    """The score that is alarming."""
    verdict: str = "healthy"
    """As in drift figures."""


@dataclass(frozen=True, slots=True)
class ControllerStatus:
    """Counts are since the start."""

    phase: str
    """``idle``, ``collecting`` or ``working``."""
    task: str | None
    """Kind and cause of the task under way."""
    progress: JobProgress | None
    """How far the process of this task is; None while none works, or it has not said so yet."""
    commissioned: bool
    """Whether there is a baseline to compare with."""
    generation: str
    """Active now: ``bundle/version+patch``."""
    previous: str | None
    """The generation before; None: none."""
    autonomy: Autonomy
    """The stricter one of configuration and bundle."""
    proposal: Proposal | None
    """The patch that waits for approve-patch or reject-patch."""
    shadow: ShadowStatus | None
    """The patch that is tried in the shadow before it becomes active."""
    drift: DriftFigures | NothingSeen | None
    """None without a baseline."""
    baselines: dict[str, BaselineScore]
    """By name, how each fits what the camera shows."""
    corrected_by: str | None
    """The active patch, if it answers the drift of now."""
    concern: str | None
    """Why drift is not watched, or the drift of now not corrected; None when all is well."""
    reservoir: ReservoirStatus
    skipped: int
    """Samples that did not fit into the inbox."""
    not_possible: dict[str, str]
    """By kind of task, why it cannot succeed with this model and configuration."""
    sampled: int
    """Frames that the drift watch has looked at."""
    recalibrations: int
    """That came to a decision."""
    accepted: int
    """By the gate, and by the shadow where there is one."""
    refused: int
    """The same."""
    failed: int
    """Tasks that ended without a result."""
    alarms: int
    """Of drift."""
    rollbacks: int
    """Patches that were taken back."""
    last_report: dict[str, Any] | None
    """As in the event ``recalibration``."""
