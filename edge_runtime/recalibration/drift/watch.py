"""The drift monitor of now: opened anew with other baselines or settings, and none while there is no baseline."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_runtime.config import DriftConfig
from edge_runtime.datatypes import Result
from edge_runtime.messaging.events import DriftFigures
from edge_runtime.recalibration.drift.baseline_selector import Change, KnownBaselines
from edge_runtime.recalibration.drift.monitor import LiveDriftMonitor

OpenMonitor = Callable[[KnownBaselines, Path, DriftConfig], LiveDriftMonitor]
"""(states, probe model's file, settings) -> the monitor. Raises CalibrationError, EngineError, OSError."""


class DriftWatch:
    """Reads the monitor that is open; without one there is no drift.

    One thread opens, closes and looks; everything else may be read from any thread.
    """

    def __init__(self, open_monitor: OpenMonitor | None) -> None:
        """``None`` never opens a monitor: for work on the files alone."""
        self._open_monitor = open_monitor
        self._monitor: LiveDriftMonitor | None = None

    def open(self, known: KnownBaselines, probe: Path, settings: DriftConfig) -> None:
        """Compare with these states from now on; a monitor that was open is closed first.

        Raises:
            CalibrationError, EngineError, OSError: they cannot be compared with; no monitor is open.
        """
        self.close()
        if self._open_monitor is not None:
            self._monitor = self._open_monitor(known, probe, settings)

    def close(self) -> None:
        """Free the monitor; idempotent."""
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            monitor.close()

    def look(self, tensor: NDArray[np.float32], at_s: float, result: Result) -> Change | None:
        """Take in one prepared sample, float32 (C,H,W) or (H,W,C), with its answer; gives what it has changed.

        Raises:
            EngineError: the probe failed.
        """
        return None if self._monitor is None else self._monitor.look(tensor, at_s, result)

    @property
    def is_open(self) -> bool:
        """Whether there is a monitor."""
        return self._monitor is not None

    @property
    def in_use(self) -> str | None:
        """Name of the baseline that drift is measured against."""
        monitor = self._monitor
        return None if monitor is None else monitor.in_use

    @property
    def known_drift(self) -> str | None:
        """The patch that was accepted for what the camera shows now; None when this is no drift seen before."""
        monitor = self._monitor
        return None if monitor is None else monitor.known_drift

    @property
    def drift_score(self) -> float | None:
        """Distance from the baseline while there is a drift, from its alarm until its end; else None."""
        monitor = self._monitor
        return monitor.score if monitor is not None and monitor.is_drifted else None

    @property
    def is_quiet(self) -> bool:
        """Enough was seen to tell that there is no drift now."""
        monitor = self._monitor
        return monitor is not None and monitor.is_quiet

    @property
    def window_began_at_s(self) -> float:
        """Capture time of the oldest frame of the latest window; 0 before the first."""
        monitor = self._monitor
        return 0.0 if monitor is None else monitor.window_began_at_s

    def scores(self) -> dict[str, tuple[float, float]]:
        """(score, threshold) by baseline."""
        monitor = self._monitor
        return {} if monitor is None else monitor.scores()

    def figures(self) -> DriftFigures | None:
        """Rounded for people and machines; None before the first frame."""
        monitor = self._monitor
        return None if monitor is None else monitor.figures()
