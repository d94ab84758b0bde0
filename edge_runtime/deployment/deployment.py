"""Puts generations into the engine slot and takes them out again, and remembers on disk which one is active.

Whatever fails on the way to a new generation leaves the active one as it is; taking one back works even when the
disk does not. ``rollout`` says which steps are legal, ``recalibration`` when to take them. One thread.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from calibration.stats.heap import trim_heap
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.model_state import ModelState, Patched
from edge_runtime.deployment.rollout import Rollout, Step
from edge_runtime.errors import EngineError, StateError
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.engines.base import Engine, close_on_error
from edge_runtime.system.priority import low_priority

log = structlog.get_logger()

KEPT_PATCHES = 8
FREEING_S = 2.0
"""Longest wait for the batch that still runs on the old engine."""
PAUSE_S = 0.25
"""Longest wait for a pause between two batches: a camera slower than four frames a second is met seldom anyway."""

BuildEngine = Callable[[Patched | None], Engine]
"""A warm engine that answered golden pictures as it must: of a patched model, or of the base (None).

Raises EngineError, BundleError.
"""


@dataclass(frozen=True, slots=True)
class Opened:
    """A generation that is not active: its engine is warm and answered the golden pictures as it must."""

    generation: Generation
    engine: Engine


class Deployment:
    """The active and the previous generation of one model."""

    def __init__(
        self, rollout: Rollout, slot: EngineSlot, model_state: ModelState, build_engine: BuildEngine
    ) -> None:
        self._rollout, self._slot = rollout, slot
        self._model_state, self._build_engine = model_state, build_engine
        self._is_record_stale = False
        self._record_problem: str | None = None

    @property
    def state(self) -> Rollout:
        """The active and the previous generation."""
        return self._rollout

    @property
    def is_patched(self) -> bool:
        """Whether a patch is active."""
        return self._rollout.active.patch is not None

    def is_patched_by(self, cause: str) -> bool:
        """Whether the active patch was made for this cause."""
        patch_id = self._rollout.active.patch
        return patch_id is not None and self._model_state.read_cause(patch_id) == cause

    @property
    def failures_in_a_row(self) -> int:
        """Engine failures since the last answer."""
        return self._slot.failures_in_a_row

    def activate(self, patch_id: str) -> Generation:
        """Build, check, record, swap.

        Raises:
            EngineError: the patched model does not run.
            StateError: it cannot be read, or the record cannot be written.
        """
        return self.put_in(self.open(patch_id))

    def open(self, patch_id: str) -> Opened:
        """Build and check; the caller puts it in, or closes its engine.

        Raises:
            IllegalStep: it is the active one.
            EngineError: the patched model does not run.
            StateError: it cannot be read.
        """
        generation = Generation(self._rollout.active.bundle, patch_id)
        self._rollout.after(Step.ACTIVATE, generation)
        return Opened(generation, self._open_engine(generation))

    def put_in(self, opened: Opened) -> Generation:
        """Record and swap; where that fails, the engine is closed.

        Raises:
            IllegalStep: it is the active one.
            StateError: the record cannot be written.
        """
        with close_on_error(opened.engine):
            activated = self._rollout.after(Step.ACTIVATE, opened.generation)
            self._model_state.record(activated)
        self._swap(opened.generation, opened.engine)
        self._rollout, self._is_record_stale = activated, False
        return opened.generation

    def prune(self, spare: Collection[str]) -> None:
        """Remove the oldest patches; the active one, the one before and those in ``spare`` stay."""
        known = (self._rollout.active, self._rollout.previous)
        spared = {one.patch for one in known if one is not None and one.patch is not None}
        self._model_state.prune(KEPT_PATCHES, spared | set(spare))

    def take_back(self, step: Step) -> tuple[Generation, Generation]:
        """Return to the base (``TO_BASE``) or the previous generation (``ROLL_BACK``); gives (from, to).

        When the previous generation is no longer usable, the base takes over.

        Raises:
            IllegalStep: the base is active already; nothing was changed.
            BundleError, EngineError: not even the base can be built (its files are gone); nothing was changed.
        """
        target = self._rollout.after(step)
        try:
            engine = self._open_engine(target.active)
        except (EngineError, StateError) as err:
            if target.active.patch is None:
                raise
            log.error("previous generation not usable, back to the base", reason=str(err))
            target = self._rollout.after(Step.TO_BASE)
            engine = self._open_engine(target.active)
        before = self._swap(target.active, engine)
        self._rollout, self._is_record_stale = target, True
        self.record_again()
        return before, target.active

    def _swap(self, generation: Generation, engine: Engine) -> Generation:
        self._slot.wait_for_pause(PAUSE_S)  # then the old engine is freed in this thread, not in a call
        before = self._slot.swap(generation, engine)
        self._slot.wait_for_freeing(FREEING_S)
        trim_heap()
        return before

    def record_again(self) -> None:
        """Write the record when the disk refused it; a full disk must not keep a bad patch, nor bring it back later."""
        if not self._is_record_stale:
            return
        try:
            self._model_state.record(self._rollout)
        except StateError as err:
            if self._record_problem is None:
                log.error("active generation not recorded, trying again", reason=str(err))
            self._record_problem = str(err)
        else:
            self._is_record_stale, self._record_problem = False, None

    def _open_engine(self, generation: Generation) -> Engine:
        """A warm engine, built while live frames go on.

        ONNX Runtime holds the interpreter's lock for the first 3 ms of a session and for the 2 ms of its end: an
        inference that ends meanwhile waits for its answer, so both happen in a pause.
        """
        patch_id = generation.patch
        with low_priority():
            patched = None if patch_id is None else self._model_state.read_patched(patch_id)
            self._slot.wait_for_pause(PAUSE_S)
            return self._build_engine(patched)
