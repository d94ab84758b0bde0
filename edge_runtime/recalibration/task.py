"""The task of one model's recalibration controller, and requests to it. Pure.

A *task* is either commissioning (record the baseline) or a recalibration. It first collects frames, then a separate
process works on them. There is one task at a time: a request that comes while another runs is refused, not queued,
because the frames it meant would be stale by then.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from edge_runtime.config.reference import FOLDER, LIVE
from edge_runtime.recalibration.follower import TaskFollower


class Phase(StrEnum):
    """Where a task is."""

    IDLE = "idle"
    COLLECTING = "collecting"
    WORKING = "working"


class Kind(StrEnum):
    """Of task."""

    COMMISSION = "commission"
    RECALIBRATE = "recalibrate"


class Cause(StrEnum):
    """Why a task was started."""

    FIRST_START = "first start"
    DRIFT = "drift alarm"
    SCHEDULE = "schedule"
    COMMAND = "command"


Verb = Literal[
    "commission",
    "recalibrate",
    "rollback",
    "baselines",
    "approve",
    "expire",
    "remove",
    "approve-patch",
    "reject-patch",
]
"""Of a request."""


@dataclass(frozen=True, slots=True)
class Approval:
    """An operator's statement that the site is healthy: for which baseline, and for how long."""

    name: str | None = None
    """Name of the baseline; None is the configured one when recording, else the one in use."""
    expires_days: float | None = None
    """None is the configured time when recording, else no end."""


@dataclass(frozen=True, slots=True)
class ChosenReference:
    """The pictures that a task uses."""

    name: str = LIVE
    """``live``, ``folder``, or that of a set of the configuration."""
    folder: Path | None = None
    """Where they are; None: the frames of the cameras."""

    @property
    def needs_live_frames(self) -> bool:
        """Whether frames are collected: to use them, or to judge on them what was made from a named set."""
        return self.name != FOLDER


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """One request to the controller."""

    verb: Verb
    stream: str | None = None
    """commission, recalibrate: use only this stream's frames."""
    frames: int | None = None
    """commission: how many; None takes the configured number."""
    approval: Approval = Approval()
    """commission and the verbs about baselines."""
    patch: str | None = None
    """approve-patch, reject-patch: id of the patch that waits; None takes it whatever it is."""
    dry_run: bool = False
    """recalibrate: do all of it, and change nothing."""
    reference: str | None = None
    """recalibrate: name of the reference set; None is as without a command."""
    follower: TaskFollower | None = None
    """commission, recalibrate: told what becomes of the task."""


@dataclass(frozen=True, slots=True)
class Task:
    """One commissioning or recalibration."""

    kind: Kind
    cause: Cause
    frames_since_s: float
    """Only frames captured at or after this monotonic time count."""
    wanted: int
    deadline_s: float
    """When collecting is given up."""
    stream: str | None = None
    """Only frames of this stream; None takes all of the model's."""
    approval: Approval = Approval()
    """Of a commissioning."""
    known: str | None = None
    """The patch accepted for this drift before, which the process judges first; None while frames are collected."""
    reference: ChosenReference = ChosenReference()
    is_dry_run: bool = False
    """Whether nothing may be changed by it."""
    follower: TaskFollower | None = None

    def __str__(self) -> str:
        """Kind and cause, for people."""
        return f"{self.kind} ({self.cause}{', dry run' if self.is_dry_run else ''})"
