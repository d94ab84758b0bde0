"""Events about versions of a bundle: those passed over, and the rollout of a newer one. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class VersionSkipped:
    """Another version of a bundle answers than the one that should."""

    kind: ClassVar = "bundle"
    bundle: str
    """Name and version of the one that answers."""
    problem: str
    """Why, and of what was passed over why it is not used."""


@dataclass(frozen=True, slots=True)
class VersionMended:
    """A version of a bundle that was skipped has changed, can be used now, and answers."""

    kind: ClassVar = "bundle"
    bundle: str
    """Name and version."""
    before: str
    """The one that answered meanwhile."""


@dataclass(frozen=True, slots=True)
class RolloutMoved:
    """A newer version has gone on, or was refused, on its way to become the active one."""

    kind: ClassVar = "rollout"
    bundle: str
    """The candidate, name and version."""
    active: str
    """The version that answers unless the candidate does."""
    before: str
    """The stage that it was in."""
    stage: str
    """The stage that it is in now: ``staged``, ``shadow``, ``canary``, ``watched``, ``active`` or ``refused``."""
    reason: str
    """Why."""
    paused: str | None = None
    """Why it waits for a person; None: it does not."""
    findings: Mapping[str, Mapping[str, float | str | None]] = field(default_factory=dict)
    """By metric: ``value``, ``limit`` and ``verdict`` of the stage before, where it has them the ends ``low`` and
    ``high`` of its interval, and ``frames_needed`` where frames are wanting."""
    comparisons: tuple[Mapping[str, float | str | None], ...] = ()
    """Of the stage before: figures of the candidate minus those of the active version, with their intervals."""
    report: str | None = None
    """``model/id`` of the page below ``/reports``; None before the trial is over, and when there is no page."""
