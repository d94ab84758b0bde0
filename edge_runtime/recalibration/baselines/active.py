"""The baselines of one model at work: those that can be used, the one in use, and the states that are watched for.

One thread calls all of this, except ``scores``.
"""

from collections.abc import Mapping
from pathlib import Path

import structlog

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import DEFAULT_NAME, BaselineFacts
from calibration.errors import CalibrationError
from calibration.targets import model_files
from edge_runtime.config import DriftConfig
from edge_runtime.deployment.deployment import KEPT_PATCHES
from edge_runtime.errors import EngineError, StateError
from edge_runtime.messaging.events import BaselineScore
from edge_runtime.recalibration.baselines.store import BaselineStore, InUse
from edge_runtime.recalibration.context import ModelContext
from edge_runtime.recalibration.drift.baseline_selector import KnownBaselines
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.healthy_scores import SCORES_FILE, read_scores
from edge_runtime.recalibration.task import Cause

log = structlog.get_logger()

MOST_KNOWN_DRIFTS = KEPT_PATCHES
"""The newest accepted patches whose drifts are recognised; opening one takes as long as opening a baseline."""


class ActiveBaselines:
    """The healthy states of the site, and which of them is in use."""

    def __init__(self, context: ModelContext, watch: DriftWatch, drift: DriftConfig) -> None:
        self._model_state, self._identity, self._watch = context.model_state, context.identity, watch
        self._drift, self._wall_clock = drift, context.wall_clock
        self._threshold = context.threshold
        self._model_state.adopt_single_baseline()
        self.store = BaselineStore(self._model_state.baselines)
        self.usable: Mapping[str, Baseline] = {}
        """By name, without their pictures."""
        self.problems: Mapping[str, str] = {}
        """By name, why the others cannot be used."""
        self.blocked: str | None = None
        """Why there is no watch although something was recorded here; None when nothing was, or it is watched.

        Nothing is recorded in its place without a command: what the camera shows now may be the drift.
        """
        self._in_use = self.store.read_in_use()
        self.reopen(drift)

    # ---- which one ------------------------------------------------------------------------------------------

    @property
    def in_use(self) -> Baseline | None:
        """The baseline drift is measured against and patches are made from, without its pictures."""
        name = self._watch.in_use
        return None if name is None else self.usable.get(name)

    @property
    def in_use_name(self) -> str | None:
        """Its name; where nothing is watched, of the one that was last in use."""
        return self._watch.in_use or self._in_use.name

    @property
    def in_use_path(self) -> Path:
        """Its file."""
        return self.store.path(self._watch.in_use or DEFAULT_NAME)

    @property
    def suspended_patch(self) -> str | None:
        """The patch that was active when the baseline in use was last in use."""
        baseline = self.in_use
        return None if baseline is None else self._in_use.suspended.get(baseline.id)

    def scores(self) -> dict[str, BaselineScore]:
        """How each usable baseline fits what the camera shows; safe from any thread."""
        in_use, scores, now_wall_s = self._watch.in_use, self._watch.scores(), self._wall_clock()
        found = {}
        for name, baseline in self.usable.items():
            score, threshold = scores.get(name, (None, None))
            found[name] = BaselineScore(
                in_use=name == in_use,
                is_expired=baseline.facts.is_expired(now_wall_s),
                score=None if score is None else round(score, 4),
                threshold=None if threshold is None else round(threshold, 4),
            )
        return found

    def why_no_patch(self) -> str | None:
        """Why no patch can be made now, in words for an operator; None when one can."""
        baseline = self.in_use
        if baseline is None:
            return "there is no baseline yet: send 'commission' while the site is healthy"
        if baseline.facts.is_expired(self._wall_clock()):
            return (
                f"the baseline {baseline.name!r} has expired: look at the site, then approve it (edge-runtime "
                "baseline approve) if it is as healthy as it was, or send 'commission' to record another"
            )
        return None

    def note_switch(self, before: Baseline | None, suspended: str | None) -> None:
        """Remember over a restart which baseline is in use, and the patch that is suspended with the one before."""
        self._draw_threshold()
        now, patches = self.in_use, dict(self._in_use.suspended)
        if before is not None:
            patches.pop(before.id, None)
            if suspended is not None:
                patches[before.id] = suspended
        if now is not None:
            patches.pop(now.id, None)
        usable = self._usable_ids()
        kept = {baseline: patch for baseline, patch in patches.items() if baseline in usable}
        self._in_use = InUse(None if now is None else now.name, kept)
        try:
            self.store.note_in_use(self._in_use)
        except StateError as err:
            log.error("baseline in use not recorded; a restart chooses by the scores again", reason=str(err))

    # ---- files ----------------------------------------------------------------------------------------------

    def reopen(self, drift: DriftConfig, in_use: str | None = None) -> None:
        """Watch anew: with other settings, other baselines, or ``in_use`` as the one to begin with."""
        try:
            self._reopen(drift, in_use)
        finally:
            self._draw_threshold()

    def _draw_threshold(self) -> None:
        if self._threshold is not None:
            baseline = self.in_use
            self._threshold.draw(() if baseline is None else self.store.read_scores(baseline))

    def _reopen(self, drift: DriftConfig, in_use: str | None) -> None:
        wanted = in_use or self.in_use_name
        self._watch.close()
        self._drift, self._signature = drift, self.store.compute_signature()
        self.usable, misfits, damaged = self.store.load(self._identity)
        self.problems = {**misfits, **damaged}
        self.blocked = None
        for name, problem in self.problems.items():
            log.error("baseline not usable", path=str(self.store.path(name)), reason=problem)
        usable = self.usable
        if not usable:
            self.blocked = next((f"baseline {name}: {problem}" for name, problem in damaged.items()), None)
            return
        newest = max(usable, key=lambda name: usable[name].created_wall_s)
        first = wanted if wanted is not None and wanted in usable else newest
        probe = self._model_state.probe_path(self._identity.model_sha256)
        try:
            self._watch.open(KnownBaselines(usable, first, self._known_drifts()), probe, drift)
        except (CalibrationError, EngineError, OSError) as err:
            self.blocked = f"baseline {first}: {err}"
            log.error("baselines not usable, commission again", in_use=first, reason=str(err))

    def refresh(self) -> None:
        """Watch anew if the files have changed, e.g. because one was copied to the folder."""
        if self.store.compute_signature() != self._signature:
            self.reopen(self._drift)

    def follow_patches(self) -> None:
        """Watch for the drifts of the patches that are there now: a new one was made, old ones may be gone."""
        self._watch.follow_drifts(self._known_drifts())

    def take(self, folder: Path) -> Baseline:
        """Store a commissioning job's baseline in place of an earlier one of its name, and use it.

        Raises:
            CalibrationError: the file is damaged.
            StateError, OSError: the disk refuses.
        """
        baseline = Baseline.load(folder / "baseline.safetensors")
        self._model_state.put_probe(baseline.model_sha256, model_files.read_named(folder, "probe"))
        self.store.put(baseline)
        if self._threshold is not None:
            self.store.put_scores(baseline, read_scores(folder / SCORES_FILE, baseline.id))
        self.reopen(self._drift, in_use=baseline.name)
        return baseline

    def note_facts(self, name: str, facts: BaselineFacts) -> Baseline:
        """Store other facts about a baseline; its figures stay.

        Raises:
            CalibrationError: it cannot be read.
            StateError: the disk refuses.
        """
        stored = self.store.note_facts(name, facts)
        self.usable = {**self.usable, name: stored}
        self._signature = self.store.compute_signature()
        return stored

    def remove(self, name: str) -> None:
        """Delete a baseline.

        Raises:
            StateError: the disk refuses.
        """
        self.store.remove(name)
        self.reopen(self._drift)

    def _usable_ids(self) -> set[str]:
        return {baseline.id for baseline in self.usable.values()}

    def _known_drifts(self) -> dict[str, Baseline]:
        """By patch, the drift that it was accepted for.

        Of the newest patches that may still be used, and of those that an operator took back after the newest of them:
        they must be recognised after a restart too, or they would be made again.
        """
        usable, found, has_newer = self._usable_ids(), dict[str, Baseline](), False
        for patch_id in reversed(self._model_state.list_patch_ids()):
            withdrawal = self._model_state.read_withdrawal(patch_id)
            counts = withdrawal is None or (withdrawal == Cause.COMMAND and not has_newer)
            if counts and self._model_state.read_baseline_id(patch_id) in usable:
                has_newer |= withdrawal is None
                path = self._model_state.observed_path(patch_id)
                try:
                    found[patch_id] = Baseline.load(path)
                except CalibrationError as err:
                    if path.exists():  # a patch of a reference folder, or of an earlier version, has none
                        log.error("the drift of a patch is not recognised", patch=patch_id, reason=str(err))
            if len(found) == MOST_KNOWN_DRIFTS:
                break
        return found
