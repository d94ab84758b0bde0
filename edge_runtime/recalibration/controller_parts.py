"""What the calibration side loop of one model is made of: put together in ``app``, used by ``recalibration``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import DriftConfig, RecalibrationConfig
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.messaging.events import Event
from edge_runtime.recalibration.baselines.active import OpenWatch
from edge_runtime.recalibration.baselines.store import Identity
from edge_runtime.recalibration.job.messages import JobRequest
from edge_runtime.recalibration.job.process import Job


@dataclass(frozen=True, slots=True)
class ControllerParts:
    """Settings, collaborators and clocks."""

    model: str
    bundle_path: Path
    deployment: Deployment
    model_state: ModelState
    settings: RecalibrationConfig
    drift: DriftConfig
    identity: Identity
    """What a baseline must belong to."""
    open_watch: OpenWatch
    next_due_wall_s: Callable[[str | None, float], float | None]
    """(cron line, Unix time) -> when the schedule is due next after it; None without a schedule."""
    start_job: Callable[[Path, JobRequest, NDArray[np.uint8] | None, float], Job]
    """(folder, request, frames, deadline) -> the running job. Raises StateError."""
    emit: Callable[[Event], None]
    clock: Callable[[], float]
    wall_clock: Callable[[], float]
