"""What people and machines are told about the versions of a model."""

from dataclasses import dataclass

from edge_runtime.deployment.rollout_policy.comparison import Comparison
from edge_runtime.deployment.rollout_policy.figures import ArmSummary
from edge_runtime.deployment.rollout_policy.verdict import Finding


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """One model's versions, in the names of ``/status``."""

    active: int
    """The version that answers."""
    previous: int | None
    """The version before; None: none."""
    candidate: int | None
    """None: no version is on its way; the same of all that follows but ``refused`` and ``problem``."""
    stage: str | None
    """``staged``, ``shadow``, ``canary``, ``watched`` or ``active``."""
    stage_s: float | None
    """Since the stage began."""
    paused: str | None
    """Why it waits for a person."""
    verdict: str | None
    """Of now, in words."""
    findings: tuple[Finding, ...]
    """One for each limit."""
    figures: dict[str, ArmSummary]
    """Of ``candidate`` and ``active``, since the stage began."""
    comparisons: tuple[Comparison, ...]
    """Of the candidate with the active version, with their intervals, since the stage began."""
    refused: dict[str, str]
    """By version, why it is not tried."""
    waiting: tuple[int, ...]
    """Newer versions that are not looked at before the one on its way has come to its end."""
    problem: str | None
    """Why no version can go on."""
    promotes_at: str | None = None
    """When a candidate that passed answers everything by itself; None: by command only."""
