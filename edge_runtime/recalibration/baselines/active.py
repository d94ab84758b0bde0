"""The baselines of one model at work: those on the shelf, the one in use, and the watch that compares live frames.

Puts finished baselines on the shelf, opens the watch on all that belong to this bundle, remembers which one is in use,
and obeys the commands that list, bless, expire and remove them. Which *generation* follows from a baseline or a drift
is ``patch_policy``'s business, when to record one the side loop's, which owns this and calls it from its one thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import DEFAULT_NAME, BaselineFacts, require_name
from calibration.errors import CalibrationError
from calibration.targets import model_files
from edge_runtime.config import CommissionConfig, DriftConfig
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.errors import CommandError, EngineError, StateError
from edge_runtime.messaging.events import BaselineScore
from edge_runtime.recalibration.baselines.store import MOST, BaselineStore, Identity, InUse, Loaded
from edge_runtime.recalibration.drift.baseline_selector import KnownBaselines
from edge_runtime.recalibration.drift.monitor import LiveDriftMonitor
from edge_runtime.recalibration.reference.reservoir import Kept
from edge_runtime.recalibration.task import Approval, Cause, Kind, Task, TaskRequest

log = structlog.get_logger()

MOST_KNOWN_DRIFTS = 4
"""The newest accepted patches whose drifts are recognised; opening one takes as long as opening a baseline."""

OpenWatch = Callable[[KnownBaselines, Path, DriftConfig], LiveDriftMonitor]
"""(states, probe model's file, settings) -> the watch. Raises CalibrationError, EngineError, OSError."""


class Baselines:
    """What the site looks like when it is healthy."""

    def __init__(
        self,
        model_state: ModelState,
        identity: Identity,
        open_watch: OpenWatch | None,
        drift: DriftConfig,
        wall_clock: Callable[[], float],
    ) -> None:
        """``open_watch`` None looks after the files only: for the command line."""
        self._model_state, self._identity, self._open_watch = model_state, identity, open_watch
        self._drift, self._wall_clock = drift, wall_clock
        self._files = BaselineStore(model_state.baselines)
        model_state.adopt_single_baseline()
        self._loaded, self._signature = Loaded({}, {}), self._files.signature()
        self._in_use = self._files.in_use()
        self.watch: LiveDriftMonitor | None = None
        """None while nothing usable was commissioned."""
        self.reopen(drift)

    # ---- which one ------------------------------------------------------------------------------------------

    @property
    def in_use(self) -> Baseline | None:
        """The baseline drift is measured against and patches are made from, without its samples."""
        return None if self.watch is None else self._loaded.usable.get(self.watch.in_use)

    @property
    def is_any(self) -> bool:
        """Whether something usable was commissioned, even if it cannot be watched just now."""
        return bool(self._loaded.usable)

    @property
    def in_use_path(self) -> Path:
        """Its file."""
        return self._files.path(DEFAULT_NAME if self.watch is None else self.watch.in_use)

    @property
    def parked(self) -> str | None:
        """The patch that was active when the baseline in use was last in use."""
        baseline = self.in_use
        return None if baseline is None else self._in_use.parked.get(baseline.id)

    def why_no_patch(self) -> str | None:
        """Why no patch can be made now, in words for an operator; None when one can."""
        baseline = self.in_use
        if baseline is None:
            return "there is no baseline yet: send 'commission' while the site is healthy"
        if baseline.facts.is_expired(self._wall_clock()):
            return (
                f"the baseline {baseline.name!r} has expired: look at the site, then send 'bless' if it is as healthy "
                "as it was, or 'commission' to record another"
            )
        return None

    def note_switch(self, before: Baseline | None, parked_patch: str | None) -> None:
        """Remember over a restart that another baseline is in use, and which patch waits for the one before."""
        parked = {
            key: value for key, value in self._in_use.parked.items() if before is None or key != before.id
        }
        if before is not None and parked_patch is not None:
            parked[before.id] = parked_patch
        now = self.in_use
        if now is not None:
            parked.pop(now.id, None)
        self._note(InUse(None if now is None else now.name, parked))

    def _note(self, in_use: InUse) -> None:
        known = {baseline.id for baseline in self._loaded.usable.values()}
        self._in_use = replace(in_use, parked={k: v for k, v in in_use.parked.items() if k in known})
        try:
            self._files.note_in_use(self._in_use)
        except StateError as err:
            log.error(
                "baseline in use not recorded; after a restart it is found again by itself", reason=str(err)
            )

    # ---- opening --------------------------------------------------------------------------------------------

    def reopen(self, drift: DriftConfig, in_use: str | None = None) -> None:
        """Watch anew: with other settings, other baselines, or ``in_use`` as the one to begin with."""
        wanted = in_use or (self.watch.in_use if self.watch is not None else self._in_use.name)
        self.close()
        self._drift, self._signature = drift, self._files.signature()
        self._loaded = self._files.load(self._identity)
        for name, problem in self._loaded.problems.items():
            log.error("baseline not usable", path=str(self._files.path(name)), reason=problem)
        usable = self._loaded.usable
        if usable and self._open_watch is not None:
            newest = max(usable, key=lambda name: usable[name].created_wall_s)
            first = wanted if wanted is not None and wanted in usable else newest
            self._open(KnownBaselines(usable, first, self._known_drifts()))

    def _open(self, known: KnownBaselines) -> None:
        assert self._open_watch is not None
        probe = self._model_state.probe(self._identity.model_sha256)
        try:
            self.watch = self._open_watch(known, probe, self._drift)
        except (CalibrationError, EngineError, OSError) as err:
            log.error("baselines not usable, commission again", in_use=known.in_use, reason=str(err))

    def _known_drifts(self) -> dict[str, Baseline]:
        """What the camera showed when the newest patches were accepted that may still be used."""
        valid = {baseline.id for baseline in self._loaded.usable.values()}
        found = dict[str, Baseline]()
        for patch_id in reversed(self._model_state.patch_ids()):
            if self._model_state.baseline_of(patch_id) in valid and not self._model_state.is_withdrawn(
                patch_id
            ):
                try:
                    found[patch_id] = Baseline.load(self._model_state.observed(patch_id))
                except CalibrationError:
                    continue  # made before what was observed was kept
            if len(found) == MOST_KNOWN_DRIFTS:
                break
        return found

    def known_patch(self) -> str | None:
        """The patch accepted earlier for the drift that is seen now, if it may be used with the baseline in use."""
        patch_id = None if self.watch is None else self.watch.known_drift
        baseline = self.in_use
        if patch_id is None or baseline is None or self._model_state.is_withdrawn(patch_id):
            return None
        return patch_id if self._model_state.baseline_of(patch_id) == baseline.id else None

    def take(self, folder: Path) -> Baseline:
        """Put a commissioning job's baseline on the shelf, in place of an earlier one of its name, and use it.

        Raises:
            CalibrationError: the file is damaged.
            StateError, OSError: the disk refuses.
        """
        baseline = Baseline.load(folder / "baseline.safetensors")
        self._model_state.put_probe(baseline.model_sha256, model_files.read_named(folder, "probe"))
        self._files.put(baseline)
        self.reopen(self._drift, in_use=baseline.name)
        return baseline

    def close(self) -> None:
        """Free the watch."""
        if self.watch is not None:
            self.watch.close()
        self.watch = None

    # ---- for people -----------------------------------------------------------------------------------------

    def obey(self, asked: TaskRequest) -> dict[str, Any]:
        """List, bless, expire or remove.

        Raises:
            CommandError: there is no such baseline.
            StateError: the disk refuses.
        """
        match asked.verb:
            case "bless":
                return self.bless(asked.approval)
            case "expire":
                return self.expire(asked.approval.name)
            case "remove":
                return self.remove(asked.approval.name)
            case _:
                return self.listed()

    def require_room(self, name: str) -> None:
        """Refuse a name, or one baseline too many, before frames are collected for it.

        Raises:
            CommandError: it cannot be a name, or there are ``MOST`` others already.
        """
        try:
            require_name(name)
        except CalibrationError as err:
            raise CommandError(str(err)) from err
        if len(set(self._files.names()) | {name}) > MOST:
            raise CommandError(
                f"there are {MOST} baselines already; remove one first: {', '.join(self._files.names())}"
            )

    def listed(self) -> dict[str, Any]:
        """All baselines with their facts; files that were copied to the shelf by hand are found here."""
        if self._files.signature() != self._signature:
            self.reopen(self._drift)
        now_wall_s = self._wall_clock()
        scores = {} if self.watch is None else self.watch.scores()
        known = {
            name: {**_described(baseline, now_wall_s), "score": score, "threshold": threshold}
            for name, baseline in self._loaded.usable.items()
            for score, threshold in [_round_score(scores.get(name))]
        }
        return {
            "in_use": self._in_use.name if self.watch is None else self.watch.in_use,
            "baselines": known,
            "problems": dict(self._loaded.problems),
        }

    def scores(self) -> dict[str, BaselineScore]:
        """How each usable baseline fits what the camera shows; safe from any thread."""
        watch, now_wall_s = self.watch, self._wall_clock()
        scores = {} if watch is None else watch.scores()
        return {
            name: BaselineScore(
                in_use=watch is not None and watch.in_use == name,
                is_expired=baseline.facts.is_expired(now_wall_s),
                score=score,
                threshold=threshold,
            )
            for name, baseline in dict(self._loaded.usable).items()
            for score, threshold in [_round_score(scores.get(name))]
        }

    def bless(self, approval: Approval) -> dict[str, Any]:
        """Say anew that the site is as healthy as the baseline shows it; no frame is needed.

        Raises:
            CommandError: there is no such baseline.
            StateError: the disk refuses.
        """
        known = self._named(approval.name)
        return self._store(
            known, known.facts.blessed(Cause.COMMAND, self._wall_clock(), approval.expires_days)
        )

    def expire(self, name: str | None) -> dict[str, Any]:
        """Make no more patches from a baseline; drift is still measured against it.

        Raises:
            CommandError: there is no such baseline.
            StateError: the disk refuses.
        """
        known = self._named(name)
        return self._store(known, known.facts.ended(self._wall_clock()))

    def remove(self, name: str | None) -> dict[str, Any]:
        """Forget a baseline for good, also one that cannot be used.

        Raises:
            CommandError: no name was given, or there is no such baseline.
            StateError: the disk refuses.
        """
        if name is None or name not in self._files.names():
            raise CommandError(self._unknown(name))
        self._files.remove(name)
        self.reopen(self._drift)
        return self.listed()

    def _store(self, known: Baseline, facts: BaselineFacts) -> dict[str, Any]:
        try:
            stored = self._files.note_facts(known.name, facts)
        except CalibrationError as err:
            raise CommandError(str(err)) from err
        self._loaded = replace(self._loaded, usable={**self._loaded.usable, known.name: stored})
        self._signature = self._files.signature()
        return _described(stored, self._wall_clock())

    def _named(self, name: str | None) -> Baseline:
        known = self.in_use if name is None else self._loaded.usable.get(name)
        if known is None:
            raise CommandError(self._unknown(name))
        return known

    def _unknown(self, name: str | None) -> str:
        there = ", ".join(self._files.names()) or "none yet; send 'commission'"
        return f"no usable baseline {name!r}; there are: {there}" if name else f"name a baseline: {there}"


def commissioned_facts(
    task: Task, settings: CommissionConfig, identity: Identity, kept: Sequence[Kept], at_wall_s: float
) -> BaselineFacts | None:
    """What is known about the baseline that a commissioning will make; None for another task.

    Args:
        task: With the blessing.
        settings: What counts where the blessing says nothing.
        identity: Of the bundle.
        kept: The frames, in the order in which they were captured.
        at_wall_s: Unix time of now.
    """
    if task.kind is not Kind.COMMISSION:
        return None
    times = [frame.at_s for frame in kept]
    period_s = (max(times) - min(times)) / (len(times) - 1) if len(times) > 1 else None
    days = task.approval.expires_days
    return BaselineFacts(
        name=task.approval.name or settings.name,
        preprocessing=identity.preprocessing,
        bundle=identity.bundle,
        streams=tuple(sorted({frame.stream for frame in kept})),
        sample_period_s=period_s,
    ).blessed(task.cause, at_wall_s, settings.expires_days if days is None else days)


def _described(baseline: Baseline, now_wall_s: float) -> dict[str, Any]:
    """Its facts but for the number of its samples: pictures stay in the store, and here it would always be 0."""
    facts = baseline.describe(now_wall_s)
    del facts["witness"]
    return facts


def _round_score(score: tuple[float, float] | None) -> tuple[float | None, float | None]:
    return (None, None) if score is None else (round(score[0], 4), round(score[1], 4))
