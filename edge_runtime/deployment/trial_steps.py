"""One version on its way: every step that was decided is carried out, noted on the disk, written down and said.

``rollout_policy`` decides what follows, ``trial_run`` has what a stage means for the frames. Which version is tried,
and when, is the matter of ``version_rollout``; it calls with its lock held.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edge_runtime.config import RolloutConfig
from edge_runtime.deployment.kept_pointers import KeptPointers
from edge_runtime.deployment.rollout_history import RolloutHistory
from edge_runtime.deployment.rollout_policy.comparison import Comparison, compare
from edge_runtime.deployment.rollout_policy.plan import Stage, length_of
from edge_runtime.deployment.rollout_policy.stages import (
    Command,
    Trial,
    after_command,
    after_opening,
    after_restart,
    after_verdict,
)
from edge_runtime.deployment.rollout_policy.verdict import RolloutVerdict, VerdictKind, as_fields
from edge_runtime.deployment.rollout_ports import RolloutPorts
from edge_runtime.deployment.trial_figures import BothArms
from edge_runtime.deployment.trial_record import TrialRecord
from edge_runtime.deployment.trial_run import Candidate, TrialRun
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.messaging.events import RolloutMoved
from edge_runtime.system.supervised_thread import Crashes

_MEASURED = frozenset({Stage.SHADOW, Stage.CANARY, Stage.WATCHED})


class TrialSteps:
    """The trial of one model at a time. Not safe by itself: its owner's lock is."""

    def __init__(
        self,
        model: str,
        plan: RolloutConfig,
        *,
        bundle: str,
        pipeline: Pipeline,
        folder: Path,
        pointers: KeptPointers,
        ports: RolloutPorts,
        crashes: Crashes,
    ) -> None:
        """No version is on its way; the arguments are those of :class:`VersionRollout`."""
        self._model, self._bundle, self._folder = model, bundle, folder
        self._pipeline, self._pointers = pipeline, pointers
        self._ports, self._crashes = ports, crashes
        self._history = RolloutHistory(folder)
        self._record: TrialRecord | None = None
        self.plan = plan
        """May be changed at any time; a stage under way keeps how it takes frames."""
        self.trial: Trial | None = None
        self.run: TrialRun | None = None
        """Once the version was opened."""
        self.verdict: RolloutVerdict | None = None

    def begin(self, version: int) -> bool:
        """A version is tried; whether it is to be opened now.

        It is not where the disk refuses the note of it, and where it took the process with it before.
        """
        starts, now_s = self._pointers.now.starts.get(version, 0), self._ports.clock()
        staged = after_restart(Trial(version, Stage.STAGED, now_s), starts, now_s)
        if not self._pointers.try_version(version):
            return False
        self.trial, self.verdict = Trial(version, Stage.STAGED, now_s), None
        self._record = TrialRecord(
            self._model,
            self.name(version),
            self._bundle,
            self._folder,
            now_s=now_s,
            now_wall_s=self._ports.wall_clock(),
        )
        if staged.stage is Stage.REFUSED:
            self._go_on(staged, staged.refused or "")
            return False
        self._say(None, self.trial, "a newer version is installed", None)
        return True

    def take_in(self, candidate: Candidate) -> None:
        """It was opened: try it next to the active version, and go on."""
        self.run = TrialRun(self._model, candidate, self._pipeline, self._crashes)
        self._leave_staged(self.run)

    def refuse_opening(self, problem: str) -> None:
        """It cannot be opened."""
        assert self.trial is not None
        self._go_on(after_opening(self.trial, self.plan, self._ports.clock(), problem), problem)

    def advance(self) -> None:
        """Judge it by the figures of now, and go on where they say so."""
        trial, run = self.trial, self.run
        if trial is None or run is None:
            return
        if trial.stage is Stage.STAGED:
            self._leave_staged(run)
        elif trial.stage in _MEASURED:
            now_s = self._ports.clock()
            self.verdict = run.judge(trial.stage, self.plan, now_s - trial.since_s)
            after = after_verdict(trial, self.verdict, self.plan, now_s)
            if after != trial:
                self._go_on(after, self.verdict.text)

    def obey(self, command: Command, by: str = "command") -> None:
        """What a person, or a time that a person has set, decided about the version that is on its way.

        Raises:
            IllegalStep: it cannot be done now.
        """
        assert self.trial is not None
        self._go_on(after_command(self.trial, command, self._ports.clock()), f"by {by}: {command}")

    def refuse_handed_over(self, reason: str) -> None:
        """The version that passed could not be opened as the model's own: the one before stays."""
        assert self.trial is not None
        self._pointers.demote()
        self._go_on(replace(self.trial, stage=Stage.REFUSED, refused=reason), reason)

    def take_back(self, reason: str) -> None:
        """After a failure that nobody foresaw: nothing goes on unjudged, and no version waits behind it."""
        trial = self.trial
        if trial is None:
            return
        if trial.stage is Stage.ACTIVE:  # noted on the disk, and perhaps not said
            self._ports.hand_over()
            return
        refused = replace(trial, stage=Stage.REFUSED, paused=None, refused=reason)
        self.end()
        self._pointers.refuse(trial.version, reason)
        self.trial = self.verdict = None
        self._say(trial, refused, reason, None)

    def end(self) -> None:
        """Take the candidate out of the pipeline; its pointers stay."""
        run, self.run = self.run, None
        if run is not None:
            run.end()

    def compare(self, both: BothArms | None) -> tuple[Comparison, ...]:
        """What both arms differ by in the stage of now."""
        return () if self.trial is None else self._compare(self.trial.stage, both)

    def history(self) -> list[dict[str, Any]]:
        """Every step that is kept, oldest first."""
        return self._history.steps()

    def name(self, version: int) -> str:
        """Of the bundle, with this version."""
        return f"{self._bundle.rpartition('/')[0]}/{version}"

    def _leave_staged(self, run: TrialRun) -> None:
        """Where no stage before the watch compares, the active version answers alone until it can be compared with."""
        trial, now_s = self.trial, self._ports.clock()
        assert trial is not None
        after = after_opening(trial, self.plan, now_s)
        is_late = now_s - trial.since_s >= self.plan.canary.longest_s
        if after.stage is not Stage.WATCHED or is_late or run.knows_active(self.plan):
            self._go_on(after, "opened and self-tested")
            return
        seen, wanted = run.summaries().active.frames, length_of(self.plan, Stage.WATCHED).frames
        text = f"opened; {seen} of {wanted} frames of the active version, to compare with"
        self.verdict = RolloutVerdict(VerdictKind.RUNNING, (), text)

    def _go_on(self, after: Trial, reason: str) -> None:
        """Carry out what was decided."""
        before, run = self.trial, self.run
        assert before is not None
        both = None if run is None else run.summaries()  # of the stage that ends
        if after.stage is before.stage:  # paused or resumed
            self.trial = after
            self._say(before, after, reason, both)
            return
        if after.stage is Stage.ACTIVE:
            if not self._pointers.promote(after.version):
                return  # it stays watched until the disk takes it
        elif after.stage is Stage.REFUSED:
            self.end()
            self._pointers.refuse(after.version, after.refused or "refused")
        elif run is not None:
            run.enter(after.stage, self.plan)
        self.trial = after
        report = self._write_down(before, after, reason, both, run)
        self._say(before, after, reason, both, report)
        self.verdict = None
        if after.stage is Stage.REFUSED:
            self.trial = None
        elif after.stage is Stage.ACTIVE:
            self._ports.hand_over()

    def _write_down(
        self, before: Trial, after: Trial, reason: str, both: BothArms | None, run: TrialRun | None
    ) -> str | None:
        """Note the stage that is over; gives the report of the trial when that is."""
        record = self._record
        if record is None:
            return None
        now_s, now_wall_s = self._ports.clock(), self._ports.wall_clock()
        compared = self._compare(before.stage, both)
        record.end_stage(
            before.stage, reason, self.verdict, both, compared, now_s=now_s, now_wall_s=now_wall_s
        )
        if after.stage not in (Stage.ACTIVE, Stage.REFUSED):
            return None
        shots = () if run is None else run.figures.disagreements.worst()
        return record.leave_report(is_promoted=after.stage is Stage.ACTIVE, reason=reason, shots=shots)

    def _compare(self, stage: Stage, both: BothArms | None) -> tuple[Comparison, ...]:
        if both is None:
            return ()
        are_alike = not self.plan.canary.streams
        return compare(stage, both.candidate, both.active, both.pairs, are_scenes_alike=are_alike)

    def _say(
        self,
        before: Trial | None,
        after: Trial,
        reason: str,
        both: BothArms | None,
        report: str | None = None,
    ) -> None:
        """Tell subscribers and the history."""
        verdict = self.verdict
        stage = after.stage if before is None else before.stage
        moved = RolloutMoved(
            self.name(after.version),
            self._bundle,
            str(stage),
            str(after.stage),
            reason,
            after.paused,
            as_fields(() if verdict is None else verdict.findings),
            tuple(asdict(one) for one in self._compare(stage, both)),
            report,
        )
        self._ports.emit(moved)
        self._history.add(
            {
                "at_wall_s": round(self._ports.wall_clock(), 3),
                **asdict(moved),
                "figures": None if both is None else asdict(both),
            }
        )
