"""Writes down one trial while it goes on, and leaves a report of it at its end.

A report that cannot be made never stands in the way of a version: it is logged and left out.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from edge_runtime.deployment.disagreements import Disagreement
from edge_runtime.deployment.reports import FOLDERS, Reports
from edge_runtime.deployment.rollout_policy.comparison import Comparison
from edge_runtime.deployment.rollout_policy.plan import Stage
from edge_runtime.deployment.rollout_policy.verdict import RolloutVerdict
from edge_runtime.deployment.trial_figures import BothArms
from edge_runtime.errors import StateError
from edge_runtime.messaging.encoding import encode_object
from edge_runtime.system.atomic_file import write_atomically
from edge_runtime.system.own_folder import make_folder, remove

if TYPE_CHECKING:
    from edge_runtime.deployment.trial_page import StageRecord, TrialOutcome

log = structlog.get_logger()


class TrialRecord:
    """The stages of one candidate. One thread at a time."""

    def __init__(
        self, model: str, candidate: str, active: str, folder: Path, *, now_s: float, now_wall_s: float
    ) -> None:
        """The trial begins, a version in STAGED, a patch in SHADOW.

        Args:
            model: Its name in the configuration.
            candidate: Name and version, or generation.
            active: Of what answers.
            folder: Of the model below the state directory.
            now_s: Monotonic time.
            now_wall_s: Unix time.
        """
        self._model, self._candidate, self._active, self._folder = model, candidate, active, folder
        self._stages: list[StageRecord] = []
        self._began_s, self._began_wall_s = now_s, now_wall_s

    def end_stage(
        self,
        stage: Stage,
        reason: str,
        verdict: RolloutVerdict | None,
        both: BothArms | None,
        comparisons: tuple[Comparison, ...] = (),
        *,
        now_s: float,
        now_wall_s: float,
    ) -> None:
        """A stage is over, another one or none begins."""
        from edge_runtime.deployment.trial_page import StageRecord

        self._stages.append(
            StageRecord(
                stage,
                self._began_wall_s,
                now_s - self._began_s,
                reason,
                () if verdict is None else verdict.findings,
                None if both is None else both.candidate,
                None if both is None else both.active,
                comparisons,
            )
        )
        self._began_s, self._began_wall_s = now_s, now_wall_s

    def leave_report(
        self,
        *,
        is_promoted: bool,
        reason: str,
        shots: Sequence[Disagreement],
        patch: str | None = None,
        waits: bool = False,
    ) -> str | None:
        """Write the report of the trial, which is over; gives ``model/id``, None when it cannot be kept."""
        # The page and its charts, after a trial and not at every start.
        from edge_runtime.deployment.trial_page import TrialOutcome, make_page

        outcome = TrialOutcome(
            self._model,
            self._candidate,
            self._active,
            is_promoted,
            reason,
            tuple(self._stages),
            patch,
            waits,
        )
        work = self._folder / FOLDERS["t"] / ".new"
        try:
            make_folder(work.parent, may_be_link=True)
            remove(work, below=self._folder)
            make_folder(work)
            write_atomically(work / "report.json", encode_object(_as_json(outcome, self._began_wall_s)))
            write_atomically(work / "report.html", make_page(outcome, shots).encode())
        except (OSError, StateError) as err:
            log.error("report of a trial not made", model=self._model, reason=str(err))
            return None
        report_id = Reports(self._folder).keep(work, "t")
        return None if report_id is None else f"{self._model}/{report_id}"


def _as_json(outcome: "TrialOutcome", at_wall_s: float) -> dict[str, Any]:
    """With the keys by which all reports are listed: ``at``, ``accepted``, ``candidate``, ``reasons``."""
    return {
        "at": at_wall_s,
        "accepted": outcome.is_promoted,
        "candidate": outcome.candidate,
        "active": outcome.active,
        "reasons": [outcome.reason],
        "stages": [asdict(one) for one in outcome.stages],
    }
