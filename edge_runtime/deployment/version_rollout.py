"""The way of newer versions of one model: found, opened, tried next to the active one, promoted or refused.

One thread does all of it; commands and status come from others. ``trial_steps`` carries out what is decided. Until a
version is ACTIVE the one before stays loaded, so that going back is one assignment; then the main thread opens it as
the model's own (``hand_over``), with all that belongs to it.
``versions.json`` changes by one rename, before the engines do: whenever the process ends, one version is active.
"""

import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_runtime.config import RolloutConfig
from edge_runtime.deployment.kept_pointers import KeptPointers
from edge_runtime.deployment.reports import FOLDERS, forget_thumbnails
from edge_runtime.deployment.rollout import IllegalStep
from edge_runtime.deployment.rollout_policy.plan import Stage
from edge_runtime.deployment.rollout_policy.stages import ASKS, Command, Trial
from edge_runtime.deployment.rollout_ports import RolloutPorts
from edge_runtime.deployment.rollout_status import RolloutStatus
from edge_runtime.deployment.trial_steps import TrialSteps
from edge_runtime.deployment.version_pointers import VERSIONS_FILE
from edge_runtime.errors import CommandError, EdgeRuntimeError, OpeningStopped
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.system.due_time import DueTime
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

TICK_S = 0.1
LOOK_EVERY_S = 5.0


class VersionRollout:
    """Versions of one model, and the pipeline that answers."""

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
        self._version, self._folder, self._ports, self._crashes = version, folder, ports, crashes
        self._keeps_pictures = keeps_pictures
        self._lock = threading.RLock()
        """Guards what follows. Held for a step, never while a version is opened."""
        self._pointers = KeptPointers(folder / VERSIONS_FILE, model, bundle.rpartition("/")[0], version)
        self._steps = TrialSteps(
            model,
            plan,
            bundle=bundle,
            pipeline=pipeline,
            folder=folder,
            pointers=self._pointers,
            ports=ports,
            crashes=crashes,
        )
        self._looking_problem: str | None = None
        self._promotion = DueTime(ports.find_due_wall_s)
        """When the candidate that waits is promoted."""
        self._newer: frozenset[int] = frozenset()
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
            self._steps.end()
            # The thread may still open a version: another rollout has the pointers from now on.
            self._is_over = True

    def reconfigure(self, plan: RolloutConfig, *, keeps_pictures: bool) -> None:
        """Use other limits from the next look on; a stage under way keeps how it takes frames.

        Where no picture may be kept any more, those of this trial and of earlier ones go.
        """
        with self._lock:
            self._steps.plan, self._keeps_pictures = plan, keeps_pictures
            if self._steps.run is not None:
                self._steps.run.figures.disagreements.set_pictures(are_kept=keeps_pictures)
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
                self._steps.obey(command)
            except IllegalStep as err:
                raise CommandError(str(err)) from err
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
        return None if trial is None else self._steps.name(trial.version)

    @property
    def stage(self) -> tuple[int, Stage, bool] | None:
        """The version on its way, its stage, and whether it waits for a person; None while there is none."""
        trial = self._trial  # without the lock, as above
        return None if trial is None else (trial.version, trial.stage, trial.paused is not None)

    @property
    def refused(self) -> frozenset[int]:
        """Versions that are not tried."""
        return frozenset(self._pointers.now.refused)

    def has_passed(self, manifest_sha256: str) -> bool:
        """Whether the bundle with this manifest is the one that passed, and not another one in its folder."""
        with self._lock:
            run = self._steps.run
            return (
                self.is_handing_over and run is not None and run.candidate.manifest_sha256 == manifest_sha256
            )

    def hand_over_failed(self, reason: str) -> None:
        """The main thread could not open the version that passed: it is refused, the one before stays."""
        with self._lock:
            if self._trial is not None and self._trial.stage is Stage.ACTIVE:
                self._steps.refuse_handed_over(reason)

    def history(self) -> list[dict[str, Any]]:
        """Every step that is kept, oldest first."""
        with self._lock:
            return self._steps.history()

    def status(self) -> RolloutStatus:
        """For people and machines."""
        with self._lock:
            trial, run, verdict = self._trial, self._steps.run, self._steps.verdict
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
                comparisons=self._steps.compare(both),
                refused={str(version): why for version, why in sorted(self._pointers.now.refused.items())},
                waiting=() if trial is None else tuple(sorted(self._newer - {trial.version})),
                problem=self._pointers.problem or self._looking_problem,
                promotes_at=self._describe_promotion(),
            )

    def _describe_promotion(self) -> str | None:
        due_wall_s = self._promotion.due_wall_s
        return None if due_wall_s is None else format_rfc3339(due_wall_s)

    @property
    def _trial(self) -> Trial | None:
        return self._steps.trial

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
            if not self._is_over:
                self._steps.advance()
                self._promote_in_time()

    def _promote_in_time(self) -> None:
        """A candidate that passed and waits answers everything once the time for that has come."""
        trial, line = self._trial, self._steps.plan.promote_at
        if trial is None or trial.paused != ASKS:
            self._promotion.forget()
        elif self._promotion.look(line, self._ports.clock(), self._ports.wall_clock()) is not None:
            self._promotion.forget()
            self._steps.obey(Command.PROMOTE, "promote_at")

    def _take_back(self, reason: str) -> None:
        with self._lock:
            if not self._is_over:
                self._steps.take_back(reason)

    def _loop(self) -> None:
        while not self._thread.stopping.wait(TICK_S):
            self.tick()
            self._thread.succeeded()

    def _look(self) -> int | None:
        """A version to begin with, now and then; while one is on its way those that wait behind it are only noted."""
        with self._lock:
            now_s = self._ports.clock()
            if self._is_over or now_s - self._looked_at_s < LOOK_EVERY_S:
                return None
            self._looked_at_s = now_s
            refused, is_free = frozenset(self._pointers.now.refused), self._trial is None
        found, problem, newer = None, None, frozenset[int]()
        try:
            newer = self._ports.find_newer(self._version) - refused
            if is_free:
                found = self._ports.find_newest(self._version, refused)
                problem = self._ports.find_problem()
        except OSError as err:
            problem = f"the installed versions cannot be read: {err.strerror}"
        with self._lock:
            self._looking_problem, self._newer = problem, newer
        return found

    def _open(self, version: int) -> None:
        """Begin with a version, from its note on the disk to its first stage."""
        with self._lock:
            if self._is_over or not self._steps.begin(version):
                return
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
            elif candidate is None:
                self._steps.refuse_opening(problem or "")
            else:
                candidate.disagreements.set_pictures(are_kept=self._keeps_pictures)
                self._steps.take_in(candidate)
