"""Tells how far a job is, through a small file in its folder: its phase, and the share of this phase that is done.

The daemon reads the file when the status is asked for. Each phase is told when it begins, and how far it is at
most once in ``EVERY_S``. A disk that refuses the file stops no job: the status then shows what was told before.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from edge_runtime.errors import StateError
from edge_runtime.recalibration.job.messages import PROGRESS, JobPhase, JobProgress

log = structlog.get_logger()

EVERY_S = 1.0

Tell = Callable[[JobPhase, float], None]
"""(phase, share of it that is done, 0..1)."""


class ProgressFile:
    """The file of one job; only its process writes."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._told: JobPhase | None = None
        self._told_at_s = 0.0

    def tell(self, phase: JobPhase, share: float) -> None:
        """Note how far the job is, unless the same phase was noted a moment ago."""
        now_s = self._clock()
        if phase == self._told and now_s - self._told_at_s < EVERY_S:
            return
        self._told, self._told_at_s = phase, now_s
        try:
            PROGRESS.write(self._folder, JobProgress(phase, round(share, 3)))
        except StateError as err:
            log.warning("progress not noted", reason=str(err))
