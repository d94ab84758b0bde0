"""The way of newer versions of one model: found, opened, tried beside the active one, promoted or refused.

One thread does all of it; commands and status come from others. ``rollout_policy`` decides what follows, ``trial_run``
has what a stage means for the frames. Until a version is ACTIVE the one before stays loaded, so that going back
is one assignment; then the main thread opens it as the model's own (``hand_over``), with all that belongs to it.
``versions.json`` changes by one rename, before the engines do: whenever the process ends, one version is active.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from edge_runtime.config import RolloutConfig
from edge_runtime.deployment.kept_pointers import KeptPointers
from edge_runtime.deployment.reports import FOLDERS, forget_thumbnails
from edge_runtime.deployment.rollout import IllegalStep
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
from edge_runtime.deployment.rollout_status import RolloutStatus
from edge_runtime.deployment.trial_figures import BothArms
from edge_runtime.deployment.trial_record import TrialRecord
from edge_runtime.deployment.trial_run import Candidate, TrialRun
from edge_runtime.deployment.version_pointers import VERSIONS_FILE
from edge_runtime.errors import CommandError, EdgeRuntimeError, OpeningStopped
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.messaging.events import Fact, RolloutMoved
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

TICK_S = 0.1
LOOK_EVERY_S = 5.0
_MEASURED = frozenset({Stage.SHADOW, Stage.CANARY, Stage.WATCHED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPorts:
    """What a rollout asks of its surroundings."""

    find_newest: Callable[[int, frozenset[int]], int | None]
    """The newest installed version above this one that is none of those; None when there is none. May raise OSError."""
    find_problem: Callable[[], str | None] = lambda: None
    """Why a newer version was passed over by the last look, such as one that is half copied; None: none was."""
    open_candidate: Callable[[int, Callable[[], bool]], Candidate]
    """Verify, open and self-test a version; asks the function whether to stop. Raises EdgeRuntimeError."""
    hand_over: Callable[[], None]
    """Ask the main thread to open the version that is active by ``versions.json``."""
    emit: Callable[[Fact], None]
    """Takes what has happened."""
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


class VersionRollout:
    """Versions of one model, beside the pipeline that answers."""

    def __init__(
        self,
        model: str,
        plan: RolloutConfig,
        *,
        bundle: str,
        version: int,
        pipeline: Pipeline,
        folder: Path,
        ports: RolloutPorts,
        crashes: Crashes,
        keeps_pictures: bool = False,
    ) -> None:
        """Nothing runs yet.

        Args:
            model: Its name in the configuration.
            plan: Stages and limits.
            bundle: Name and version of what answers.
            version: Its number.
            pipeline: Of the model.
            folder: Of the model below the state directory.
            ports: Its surroundings.
            crashes: The account of unexpected failures.
            keeps_pictures: Whether frames may be kept that both versions answered differently.
        """
        self._keeps_pictures = keeps_pictures
        self._model, self._plan, self._bundle, self._version = model, plan, bundle, version
        self._pipeline, self._crashes, self._ports = pipeline, crashes, ports
        self._folder, self._history = folder, RolloutHistory(folder)
        self._lock = threading.RLock()
        """Guards what follows. Held for a step, never while a version is opened."""
        self._pointers = KeptPointers(folder / VERSIONS_FILE, model, version)
        self._trial: Trial | None = None
        self._run_of_trial: TrialRun | None = None
        self._record: TrialRecord | None = None
        self._verdict: RolloutVerdict | None = None
        self._looking_problem: str | None = None
        self._looked_at_s, self._has_begun, self._is_over = float("-inf"), False, False
        self._thread = SupervisedThread(f"rollout-{model}", self._loop, crashes, is_vital=False)

    # ---- called from other threads -------------------------------------------------------------------------

    def start(self) -> None:
        """The model answers: its version has started for good."""
        self.begin()
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End; a version that was on its way begins again at the next start, and was not the reason for this end."""
        self._thread.stop()
        self._thread.join(timeout_s)
        with self._lock:
            if not self._has_begun:
                self._pointers.forget_start()
            elif not self._is_over and self._trial is not None and self._trial.stage is not Stage.ACTIVE:
                self._pointers.clear_starts(self._trial.version)
            self._end_trial()
            # The thread may still open a version: another rollout has the pointers from now on.
            self._is_over = True

    def reconfigure(self, plan: RolloutConfig, *, keeps_pictures: bool) -> None:
        """Use other limits from the next look on; a stage under way keeps how it takes frames.

        Where no picture may be kept any more, those of this trial and of earlier ones go.
        """
        with self._lock:
            self._plan, self._keeps_pictures = plan, keeps_pictures
            if self._run_of_trial is not None:
                self._run_of_trial.figures.disagreements.set_pictures(are_kept=keeps_pictures)
        if not keeps_pictures:
            forget_thumbnails(self._folder / FOLDERS["t"])

    def command(self, command: Command) -> dict[str, Any]:
        """What a person decided; gives the status after it.

        Raises:
            CommandError: no version is on its way, or it cannot be done now.
        """
        with self._lock:
            if self._trial is None or self._is_over:
                raise CommandError("no version is on its way; install a newer one with 'bundle install'")
            try:
                after = after_command(self._trial, command, self._ports.clock())
            except IllegalStep as err:
                raise CommandError(str(err)) from err
            self._go_on(after, f"by command: {command}")
            return asdict(self.status())

    def retry(self, version: int) -> dict[str, Any]:
        """Try a refused version again.

        Raises:
            CommandError: it was not refused, or the disk does not take that.
        """
        with self._lock:
            if self._is_over:
                raise CommandError("the model is being opened again; try it once more in a moment")
            if version not in self._pointers.now.refused:
                listed = ", ".join(map(str, sorted(self._pointers.now.refused))) or "none"
                raise CommandError(f"version {version} was not refused; refused are: {listed}")
            if not self._pointers.allow(version):
                raise CommandError(f"it cannot be noted: {self._pointers.problem}")
            self._looked_at_s = float("-inf")
            return asdict(self.status())

    @property
    def is_handing_over(self) -> bool:
        """Whether the main thread has still to open the version that passed."""
        with self._lock:
            return not self._is_over and self._trial is not None and self._trial.stage is Stage.ACTIVE

    @property
    def on_its_way(self) -> str | None:
        """Name of the version that is tried or is being handed over; None while there is none."""
        trial = self._trial  # read without the lock, which is held while a shadow ends
        return None if trial is None else self._name(trial.version)

    def has_passed(self, manifest_sha256: str) -> bool:
        """Whether the bundle with this manifest is the one that passed, and not another one in its folder."""
        with self._lock:
            run = self._run_of_trial
            return (
                self.is_handing_over and run is not None and run.candidate.manifest_sha256 == manifest_sha256
            )

    def hand_over_failed(self, reason: str) -> None:
        """The main thread could not open the version that passed: it is refused, the one before stays."""
        with self._lock:
            if self._trial is not None and self._trial.stage is Stage.ACTIVE:
                self._pointers.demote()
                refused = replace(self._trial, stage=Stage.REFUSED, refused=reason)
                self._go_on(refused, reason)

    def history(self) -> list[dict[str, Any]]:
        """Every step that is kept, oldest first."""
        with self._lock:
            return self._history.steps()

    def status(self) -> RolloutStatus:
        """For people and machines."""
        with self._lock:
            trial, run, verdict = self._trial, self._run_of_trial, self._verdict
            both = None if run is None else run.summaries()
            return RolloutStatus(
                active=self._version,
                previous=self._pointers.now.previous,
                candidate=None if trial is None else trial.version,
                stage=None if trial is None else str(trial.stage),
                stage_s=None if trial is None else round(self._ports.clock() - trial.since_s, 1),
                paused=None if trial is None else trial.paused,
                verdict=None if verdict is None else verdict.text,
                findings=() if verdict is None else verdict.findings,
                figures={} if both is None else {"candidate": both.candidate, "active": both.active},
                comparisons=() if trial is None else self._compare(trial.stage, both),
                refused={str(version): why for version, why in sorted(self._pointers.now.refused.items())},
                problem=self._pointers.problem or self._looking_problem,
            )

    # ---- its own thread ------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note which version answers. Public for tests, which need no thread."""
        with self._lock:
            self._has_begun = True
            self._pointers.begin()

    def tick(self) -> None:
        """One round. Public for tests, which need no thread."""
        with self._crashes.contain(self._thread.name) as round_:
            self._advance()
        if round_.error is not None:
            self._take_back(f"failed unexpectedly: {round_.error!r}")

    def _advance(self) -> None:
        version = self._look()
        if version is not None:
            self._open(version)
        with self._lock:
            trial, run = self._trial, self._run_of_trial
            if self._is_over or trial is None or run is None:
                return
            if trial.stage is Stage.STAGED:
                self._leave_staged(trial)
                return
            if trial.stage not in _MEASURED:
                return
            now_s = self._ports.clock()
            self._verdict = run.judge(trial.stage, self._plan, now_s - trial.since_s)
            after = after_verdict(trial, self._verdict, self._plan, now_s)
            if after != trial:
                self._go_on(after, self._verdict.text)

    def _take_back(self, reason: str) -> None:
        """After a failure that nobody foresaw: nothing goes on unjudged, and no version waits behind it."""
        with self._lock:
            trial = self._trial
            if trial is None or self._is_over:
                return
            if trial.stage is Stage.ACTIVE:  # noted on the disk, and perhaps not said
                self._ports.hand_over()
                return
            refused = replace(trial, stage=Stage.REFUSED, paused=None, refused=reason)
            self._end_trial()
            self._pointers.refuse(trial.version, reason)
            self._trial = self._verdict = None
            self._say(trial, refused, reason, None)

    def _loop(self) -> None:
        while not self._thread.stopping.wait(TICK_S):
            self.tick()
            self._thread.succeeded()

    def _look(self) -> int | None:
        """A version to begin with, now and then."""
        with self._lock:
            now_s = self._ports.clock()
            if self._is_over or self._trial is not None or now_s - self._looked_at_s < LOOK_EVERY_S:
                return None
            self._looked_at_s = now_s
            refused = frozenset(self._pointers.now.refused)
        found, problem = None, None
        try:
            found = self._ports.find_newest(self._version, refused)
            problem = self._ports.find_problem()
        except OSError as err:
            problem = f"the installed versions cannot be read: {err.strerror}"
        with self._lock:
            self._looking_problem = problem
        return found

    def _open(self, version: int) -> None:
        """Begin with a version, from its note on the disk to its first stage."""
        with self._lock:
            if self._is_over:
                return
            starts, now_s = self._pointers.now.starts.get(version, 0), self._ports.clock()
            staged = after_restart(Trial(version, Stage.STAGED, now_s), starts, now_s)
            if not self._pointers.try_version(version):
                return
            self._trial, self._verdict = Trial(version, Stage.STAGED, now_s), None
            self._record = TrialRecord(
                self._model,
                self._name(version),
                self._bundle,
                self._folder,
                now_s=now_s,
                now_wall_s=self._ports.wall_clock(),
            )
            if staged.stage is Stage.REFUSED:
                self._go_on(staged, staged.refused or "")
                return
            self._say(None, self._trial, "a newer version is installed", None)
        problem, candidate = None, None
        try:
            candidate = self._ports.open_candidate(version, self._thread.stopping.is_set)
        except OpeningStopped:
            return
        except EdgeRuntimeError as err:
            problem = str(err)
        with self._lock:
            if self._is_over or self._trial is None or self._trial.stage is not Stage.STAGED:
                # stopped or aborted meanwhile
                if candidate is not None:
                    candidate.arm.slot.retire()
                return
            if candidate is not None:
                candidate.disagreements.set_pictures(are_kept=self._keeps_pictures)
                self._run_of_trial = TrialRun(self._model, candidate, self._pipeline, self._crashes)
            self._leave_staged(self._trial, problem)

    def _leave_staged(self, trial: Trial, problem: str | None = None) -> None:
        """Go on with an opened version, or refuse it.

        Where no stage before the watch compares, the active version answers alone until it can be compared with.
        """
        run, now_s = self._run_of_trial, self._ports.clock()
        after = after_opening(trial, self._plan, now_s, problem)
        is_in_time = now_s - trial.since_s < self._plan.canary.longest_s
        if (
            after.stage is Stage.WATCHED
            and run is not None
            and is_in_time
            and not run.knows_active(self._plan)
        ):
            seen, wanted = run.summaries().active.frames, length_of(self._plan, Stage.WATCHED).frames
            text = f"opened; {seen} of {wanted} frames of the active version, to compare with"
            self._verdict = RolloutVerdict(VerdictKind.RUNNING, (), text)
            return
        self._go_on(after, problem or "opened and self-tested")

    # ---- steps, with the lock held --------------------------------------------------------------------------

    def _go_on(self, after: Trial, reason: str) -> None:
        """Carry out what was decided."""
        before, run = self._trial, self._run_of_trial
        assert before is not None
        both = None if run is None else run.summaries()  # of the stage that ends
        if after.stage is before.stage:  # paused or resumed
            self._trial = after
            self._say(before, after, reason, both)
            return
        if after.stage is Stage.ACTIVE:
            if not self._pointers.promote(after.version):
                return  # it stays watched until the disk takes it
        elif after.stage is Stage.REFUSED:
            self._end_trial()
            self._pointers.refuse(after.version, after.refused or "refused")
        elif run is not None:
            run.enter(after.stage, self._plan)
        self._trial = after
        report = self._write_down(before, after, reason, both, run)
        self._say(before, after, reason, both, report)
        self._verdict = None
        if after.stage is Stage.REFUSED:
            self._trial = None
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
            before.stage, reason, self._verdict, both, compared, now_s=now_s, now_wall_s=now_wall_s
        )
        if after.stage not in (Stage.ACTIVE, Stage.REFUSED):
            return None
        shots = () if run is None else run.figures.disagreements.worst()
        return record.leave_report(is_promoted=after.stage is Stage.ACTIVE, reason=reason, shots=shots)

    def _compare(self, stage: Stage, both: BothArms | None) -> tuple[Comparison, ...]:
        if both is None:
            return ()
        are_alike = not self._plan.canary.streams
        return compare(stage, both.candidate, both.active, both.pairs, are_scenes_alike=are_alike)

    def _end_trial(self) -> None:
        run, self._run_of_trial = self._run_of_trial, None
        if run is not None:
            run.end()

    def _name(self, version: int) -> str:
        return f"{self._bundle.rpartition('/')[0]}/{version}"

    def _say(
        self,
        before: Trial | None,
        after: Trial,
        reason: str,
        both: BothArms | None,
        report: str | None = None,
    ) -> None:
        """Tell subscribers and the history."""
        verdict = self._verdict
        stage = after.stage if before is None else before.stage
        moved = RolloutMoved(
            self._name(after.version),
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
