"""A patch that the gate accepted and that is not active: what is known of it, and whether it may still become so."""

from dataclasses import dataclass

from edge_runtime.messaging.events import RecalibrationReport
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.baseline_selector import Change
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.patch_policy import is_same_drift
from edge_runtime.recalibration.task import Cause
from edge_runtime.system.autonomy import Autonomy


@dataclass(frozen=True, slots=True)
class Proposal:
    """A patch that waits for a person or is in the shadow, in the names of ``/status``."""

    patch: str
    """Its id."""
    bundle: str
    """Name and version of the bundle that it is for."""
    candidate: str
    """As of the report."""
    baseline_id: str
    """Of the baseline that it was made from."""
    cause: str
    """Of the recalibration that made it."""
    score: float | None
    """Of the drift that it would correct; None when there was none."""
    at_wall_s: float
    """When it was accepted, Unix seconds."""
    report: str | None
    """``model/id`` of the page below ``/reports``."""
    shadow: str | None = None
    """Why its shadow came to no verdict, so that it becomes active without another one; None: it had none yet."""
    is_begun: bool = False
    """Whether a shadow of it began; where it waits none the less, the end of the daemon cut that short."""


def make_proposal(
    context: ModelContext, watch: DriftWatch, patch_id: str, report: RecalibrationReport
) -> Proposal:
    """Of a patch that the gate has just accepted."""
    return Proposal(
        patch=patch_id,
        bundle=context.identity.bundle,
        candidate=report.candidate,
        baseline_id=report.baseline_id,
        cause=report.cause,
        score=watch.drift_score,
        at_wall_s=context.wall_clock(),
        report=report.report,
    )


class PendingPatch:
    """Watches whether the reason for a patch lasts: its drift, and the baseline that it was made from."""

    def __init__(self, proposal: Proposal, baselines: ActiveBaselines, watch: DriftWatch) -> None:
        self.proposal = proposal
        self._baselines, self._watch = baselines, watch
        self.is_in_doubt = proposal.cause == Cause.DRIFT and watch.drift_score is None
        """Made under a drift that was not seen since: it may have ended unnoticed."""

    @property
    def answers_drift(self) -> bool:
        """Whether it would correct the drift of now: no other one is made meanwhile."""
        score = self._watch.drift_score
        return score is None or is_same_drift(score, self.proposal.score)

    def follow_drift(self, change: Change | None) -> str | None:
        """Draw the consequences of one look of the drift watch; gives why the patch is of no use any more."""
        if change == "alarm":
            self.is_in_doubt = False
        has_ended = (
            self.is_in_doubt
            and self._watch.is_quiet
            and not self._watch.is_nearer_to_drift(self.proposal.patch)
        )
        return "the drift is over: the base fits again" if change == "returned" or has_ended else None

    def find_misfit(self, autonomy: Autonomy) -> str | None:
        """Why it cannot be used any more, whatever the camera shows; None when it can."""
        baseline = self._baselines.in_use
        if autonomy == "observe":
            return "no patch is used any more: the autonomy is 'observe'"
        if baseline is not None and baseline.id != self.proposal.baseline_id:
            return "another baseline is in use"
        return None
