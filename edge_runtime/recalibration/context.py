"""The model that is recalibrated: its identity, its files, its clocks and the way out for its events."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from calibration.baseline.baseline import Baseline
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.messaging.events import Fact


@dataclass(frozen=True, slots=True)
class Identity:
    """The bundle, model and preprocessing that a baseline must belong to."""

    bundle: str
    """Name and version."""
    model_sha256: str
    preprocessing: str
    """Digest of the bundle's preprocessing spec."""

    def find_misfit(self, baseline: Baseline) -> str | None:
        """Why a baseline cannot be used here; None when it can. One that does not know its preprocessing may."""
        if baseline.model_sha256 != self.model_sha256:
            return f"of the model {baseline.model_sha256[:12]}…; the bundle's is {self.model_sha256[:12]}…"
        if baseline.facts.preprocessing not in (None, self.preprocessing):
            return "recorded with another preprocessing"
        return None


@dataclass(frozen=True, slots=True)
class ModelContext:
    """The surroundings of the recalibration of one model."""

    model: str
    """Its name in the configuration."""
    bundle: Path
    """Folder."""
    identity: Identity
    model_state: ModelState
    emit: Callable[[Fact], None]
    clock: Callable[[], float]
    """Monotonic time, seconds."""
    wall_clock: Callable[[], float]
    """Unix time, seconds."""
