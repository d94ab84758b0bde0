"""A patch that the gate accepted and that waits for a person: kept over restarts, approved, rejected or withdrawn.

One patch waits at a time; a newer one takes its place. It is withdrawn when its drift is over or another baseline is in
use, and its drift is not answered a second time while it waits. The note of one that is approved stays on the disk
until its shadow has ended: where the daemon ends before, the patch waits again.
"""

from dataclasses import asdict, replace
from typing import Literal

import orjson
import structlog
from pydantic import ValidationError

from calibration.stats.regular_file import read_whole
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import LARGEST_NOTE_BYTES
from edge_runtime.errors import CommandError, EdgeRuntimeError, StateError
from edge_runtime.messaging.events import ProposalEnded
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.baseline_selector import Change
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.proposal import PendingPatch, Proposal
from edge_runtime.recalibration.trials import PatchTrials
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.autonomy import Autonomy
from edge_runtime.system.lazy_adapter import LazyAdapter

log = structlog.get_logger()

PROPOSAL_FILE = "proposal.json"
_PROPOSAL: LazyAdapter[Proposal] = LazyAdapter(Proposal)


class Proposals:
    """Owned by the controller's thread; ``waiting`` may be read from any."""

    def __init__(
        self,
        context: ModelContext,
        policy: PatchPolicy,
        baselines: ActiveBaselines,
        watch: DriftWatch,
        trials: PatchTrials,
    ) -> None:
        self._context, self._policy, self._baselines, self._watch = context, policy, baselines, watch
        self._trials = trials
        self._path = context.model_state.folder / PROPOSAL_FILE
        found = self._load()
        self._pending = None if found is None else PendingPatch(found, baselines, watch)
        self._tried: str | None = None
        """The approved patch in the shadow whose note is on the disk."""

    @property
    def waiting(self) -> Proposal | None:
        """The patch that waits; None when none does."""
        pending = self._pending
        return None if pending is None else pending.proposal

    def withdraw_foreign(self) -> None:
        """Say that a patch waits no longer which is for another version of the bundle than the one that answers now."""
        found, now = self._read(), self._context.identity.bundle
        if found is not None and found.bundle != now:
            self._end(found, "withdrawn", f"it is for {found.bundle}, and {now} answers now")

    @property
    def answers_drift(self) -> bool:
        """Whether a patch waits that would correct the drift of now: no other one is made meanwhile."""
        return self._pending is not None and self._pending.answers_drift

    def propose(self, proposal: Proposal) -> None:
        """Have a patch wait that the gate accepted; one that waited before is withdrawn.

        Raises:
            StateError: the disk does not take the note of it.
        """
        self._note(proposal)
        self._tried = None
        before, self._pending = self.waiting, PendingPatch(proposal, self._baselines, self._watch)
        if before is not None and before.patch != proposal.patch:
            self._say(before, "withdrawn", f"a newer patch waits: {proposal.patch}")

    def withdraw(self, reason: str) -> None:
        """Have the patch wait no longer, if one does."""
        if self._pending is not None:
            self._end(self._pending.proposal, "withdrawn", reason)

    def approve(self, patch_id: str | None, reason: str = "command") -> Generation | None:
        """Use the patch that waits; ``patch_id`` must be its id, None takes it whatever it is.

        Gives None where it goes into the shadow first.

        Raises:
            CommandError: none waits, another one does, the disk does not take the note of it, or it cannot be used any
                more: then it waits no longer.
        """
        proposal = self._require(patch_id)
        is_active = proposal.patch == self._policy.active_patch  # by a roll-back
        if self._trials.is_on and proposal.shadow is None and not is_active:
            self._try(proposal, reason)
            return None
        try:
            generation = self._policy.reuse(proposal.patch, proposal.cause)
        except EdgeRuntimeError as err:
            self._end(proposal, "withdrawn", str(err))
            raise CommandError(f"patch {proposal.patch} cannot be used: {err}") from err
        self._end(proposal, "approved", reason, generation)
        self._baselines.follow_patches()
        return generation

    def _try(self, proposal: Proposal, reason: str) -> None:
        try:
            self._note(replace(proposal, is_begun=True))
        except StateError as err:
            raise CommandError(f"patch {proposal.patch} goes on waiting: {err}") from err
        self._pending, self._tried = None, proposal.patch
        self._say(proposal, "approved", f"{reason}; it is tried in the shadow first")
        self._trials.begin(proposal)

    def reject(self, patch_id: str | None) -> str:
        """Never use the patch that waits or is in the shadow; its drift stays as it is until a command. Gives its id.

        Raises:
            CommandError: none waits, or another one does.
        """
        is_waiting = self.waiting is not None and patch_id in (None, self.waiting.patch)
        if not is_waiting and self._trials.patch is not None and patch_id in (None, self._trials.patch):
            return self._trials.reject()
        proposal = self._require(patch_id)
        self._policy.leave_alone(proposal.patch)
        self._end(proposal, "rejected", "command")
        return proposal.patch

    def follow_drift(self, change: Change | None) -> None:
        """Draw the consequences of one look of the drift watch."""
        reason = None if self._pending is None else self._pending.follow_drift(change)
        if reason is not None:
            self.withdraw(reason)

    def follow(self, autonomy: Autonomy) -> None:
        """Keep it only where it may still be used; with another autonomy it is used, or waits no longer."""
        if self._tried is not None and self._tried != self._trials.patch:
            self._tried = None
            self._forget_note()
        pending = self._pending
        if pending is None:
            return
        reason, proposal = pending.find_misfit(autonomy), pending.proposal
        was_tried = proposal.is_begun or proposal.shadow is not None
        asks_person = autonomy != "auto" or (was_tried and self._trials.is_on)
        if reason is not None:
            self.withdraw(reason)
        elif not asks_person and self._baselines.in_use is not None and not pending.is_in_doubt:
            try:
                self.approve(None, "accepted patches need no approval any more: the autonomy is 'auto'")
            except CommandError as err:
                log.error("patch that waited not used", model=self._context.model, reason=str(err))
                self.withdraw(str(err))

    def _require(self, patch_id: str | None) -> Proposal:
        proposal, tried = self.waiting, self._trials.patch
        if tried is not None and patch_id in (None, tried) and (proposal is None or patch_id == tried):
            how = "it becomes active by itself when it has passed; 'reject-patch' ends that"
            raise CommandError(f"patch {tried} is in the shadow: {how}")
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
        self._pending = None
        self._forget_note()
        self._say(proposal, outcome, reason, generation)

    def _note(self, proposal: Proposal) -> None:
        write_atomically(self._path, orjson.dumps(asdict(proposal)))

    def _forget_note(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as err:
            log.error("note of a patch that waits not removed", path=str(self._path), reason=err.strerror)

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
            data = read_whole(self._path, LARGEST_NOTE_BYTES)
            return _PROPOSAL.adapter.validate_json(data)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as err:
            log.error("note of a patch that waits cannot be read: it waits no longer", reason=str(err))
            return None
