"""A patch that the gate accepted and that waits for a person: kept over restarts, approved, rejected or withdrawn.

One patch waits at a time; a newer one takes its place. It is withdrawn when its drift is over or another baseline is in
use, and its drift is not answered a second time while it waits.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from calibration.stats.regular_file import read_whole
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import LARGEST_NOTE_BYTES
from edge_runtime.errors import CommandError, EdgeRuntimeError
from edge_runtime.messaging.events import ProposalEnded, RecalibrationReport
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.baseline_selector import Change
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.patch_policy import PatchPolicy, is_same_drift
from edge_runtime.recalibration.task import Cause
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.autonomy import Autonomy

log = structlog.get_logger()

PROPOSAL_FILE = "proposal.json"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A patch that waits, in the names of ``/status``."""

    patch: str
    """Its id."""
    bundle: str
    """Name and version of the bundle that it is for."""
    candidate: str
    baseline_id: str
    cause: str
    """Of the recalibration that made it."""
    score: float | None
    """Of the drift that it would correct; None when there was none."""
    at_wall_s: float
    """Since when it waits, Unix seconds."""
    report: str | None
    """``model/id`` of the page below ``/reports``."""


_PROPOSAL = TypeAdapter(Proposal)


class Proposals:
    """Owned by the controller's thread; ``waiting`` may be read from any."""

    def __init__(
        self, context: ModelContext, policy: PatchPolicy, baselines: ActiveBaselines, watch: DriftWatch
    ) -> None:
        self._context, self._policy, self._baselines, self._watch = context, policy, baselines, watch
        self._path = context.model_state.folder / PROPOSAL_FILE
        self.waiting: Proposal | None = self._load()
        # Made under a drift that was not seen again since the watch began: it may have ended unnoticed.
        self._is_in_doubt = self.waiting is not None and self.waiting.cause == Cause.DRIFT

    def withdraw_foreign(self) -> None:
        """Say that a patch waits no longer which is for another version of the bundle than the one that answers now."""
        found, now = self._read(), self._context.identity.bundle
        if found is not None and found.bundle != now:
            self._end(found, "withdrawn", f"it is for {found.bundle}, and {now} answers now")

    @property
    def answers_drift(self) -> bool:
        """Whether a patch waits that would correct the drift of now: no other one is made meanwhile."""
        waiting, score = self.waiting, self._watch.drift_score
        return waiting is not None and (score is None or is_same_drift(score, waiting.score))

    def propose(self, patch_id: str, report: RecalibrationReport) -> None:
        """Have a patch wait that the gate accepted; one that waited before is withdrawn.

        Raises:
            StateError: the disk does not take the note of it.
        """
        proposal = Proposal(
            patch=patch_id,
            bundle=self._context.identity.bundle,
            candidate=report.candidate,
            baseline_id=report.baseline_id,
            cause=report.cause,
            score=self._watch.drift_score,
            at_wall_s=self._context.wall_clock(),
            report=report.report,
        )
        write_atomically(self._path, orjson.dumps(asdict(proposal)))
        before, self.waiting = self.waiting, proposal
        self._is_in_doubt = report.cause == Cause.DRIFT and proposal.score is None
        if before is not None and before.patch != patch_id:
            self._say(before, "withdrawn", f"a newer patch waits: {patch_id}")

    def approve(self, patch_id: str | None, reason: str = "command") -> Generation:
        """Use the patch that waits; ``patch_id`` must be its id, None takes it whatever it is.

        Raises:
            CommandError: none waits, another one does, or it cannot be used any more: then it waits no longer.
        """
        proposal = self._require(patch_id)
        try:
            generation = self._policy.reuse(proposal.patch, proposal.cause)
        except EdgeRuntimeError as err:
            self._end(proposal, "withdrawn", str(err))
            raise CommandError(f"patch {proposal.patch} cannot be used: {err}") from err
        self._end(proposal, "approved", reason, generation)
        self._baselines.follow_patches()
        return generation

    def reject(self, patch_id: str | None) -> str:
        """Never use the patch that waits; its drift stays as it is until a command. Gives its id.

        Raises:
            CommandError: none waits, or another one does.
        """
        proposal = self._require(patch_id)
        self._policy.leave_alone(proposal.patch)
        self._end(proposal, "rejected", "command")
        return proposal.patch

    def follow_drift(self, change: Change | None) -> None:
        """Draw the consequences of one look of the drift watch."""
        proposal = self.waiting
        if change == "alarm":
            self._is_in_doubt = False
        if proposal is None:
            return
        has_ended = (
            self._is_in_doubt and self._watch.is_quiet and not self._watch.is_nearer_to_drift(proposal.patch)
        )
        if change == "returned" or has_ended:
            self._end(proposal, "withdrawn", "the drift is over: the base fits again")

    def follow(self, autonomy: Autonomy) -> None:
        """Keep it only where it may still be used; with another autonomy it is used, or waits no longer."""
        proposal, baseline = self.waiting, self._baselines.in_use
        if proposal is None:
            return
        if autonomy == "observe":
            self._end(proposal, "withdrawn", "no patch is used any more: the autonomy is 'observe'")
        elif baseline is not None and baseline.id != proposal.baseline_id:
            self._end(proposal, "withdrawn", "another baseline is in use")
        elif autonomy == "auto" and baseline is not None and not self._is_in_doubt:
            try:
                self.approve(None, "accepted patches need no approval any more: the autonomy is 'auto'")
            except CommandError as err:
                log.error("patch that waited not used", model=self._context.model, reason=str(err))

    def _require(self, patch_id: str | None) -> Proposal:
        proposal = self.waiting
        if proposal is None:
            raise CommandError("no patch waits for a decision")
        if patch_id not in (None, proposal.patch):
            raise CommandError(f"patch {patch_id} does not wait for a decision; {proposal.patch} does")
        return proposal

    def _end(
        self,
        proposal: Proposal,
        outcome: Literal["approved", "rejected", "withdrawn"],
        reason: str,
        generation: Generation | None = None,
    ) -> None:
        self.waiting, self._is_in_doubt = None, False
        try:
            self._path.unlink(missing_ok=True)
        except OSError as err:
            log.error("note of a patch that waits not removed", path=str(self._path), reason=err.strerror)
        self._say(proposal, outcome, reason, generation)

    def _say(
        self,
        proposal: Proposal,
        outcome: Literal["approved", "rejected", "withdrawn"],
        reason: str,
        generation: Generation | None = None,
    ) -> None:
        self._context.emit(ProposalEnded(proposal.patch, outcome, reason, generation))

    def _load(self) -> Proposal | None:
        """That of an earlier run, where its patch is still there, is for this bundle and was not taken back."""
        found, model_state = self._read(), self._context.model_state
        if found is None:
            return None
        is_there = found.patch in model_state.list_patch_ids() and not model_state.is_withdrawn(found.patch)
        is_active = self._policy.active_patch == found.patch
        return found if is_there and not is_active and found.bundle == self._context.identity.bundle else None

    def _read(self) -> Proposal | None:
        try:
            return _PROPOSAL.validate_json(read_whole(self._path, LARGEST_NOTE_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as err:
            log.error("note of a patch that waits cannot be read: it waits no longer", reason=str(err))
            return None
