"""Puts generations into the engine slot and takes them out again, and remembers on disk which one is active.

Whatever fails on the way to a new generation leaves the active one as it is; taking one back works even when the
disk does not. Which steps are legal is ``rollout``'s business, *when* to take them ``recalibration``'s. One thread.
"""

from collections.abc import Callable

from edge_runtime.engine_slot import EngineSlot
from edge_runtime.engines.base import Engine
from edge_runtime.registry import Registry
from edge_runtime.rollout import Generation, Rollout, Step

KEPT_PATCHES = 8


class Generations:
    """The active and the previous generation of one model."""

    def __init__(
        self,
        rollout: Rollout,
        slot: EngineSlot,
        registry: Registry,
        build_engine: Callable[[bytes | None], Engine],
    ) -> None:
        """``build_engine`` gives a warm, checked engine for a patched model, or for the base (None)."""
        self._rollout, self._slot, self._registry, self._build_engine = rollout, slot, registry, build_engine

    @property
    def state(self) -> Rollout:
        """What is active now."""
        return self._rollout

    @property
    def is_patched(self) -> bool:
        """Whether a patch is active."""
        return self._rollout.active.patch is not None

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
        generation = Generation(self._rollout.active.bundle, patch_id)
        staged = self._rollout.after(Step.STAGE, generation)
        engine = self._build_engine(self._registry.patched_model(patch_id))
        activated = staged.after(Step.ACTIVATE)
        self._registry.record(activated)
        self._slot.swap(generation, engine)
        self._rollout = activated
        known = (activated.active, activated.previous)
        self._registry.prune(KEPT_PATCHES, {g.patch for g in known if g is not None and g.patch is not None})
        return generation

    def take_back(self, step: Step) -> tuple[Generation, Generation]:
        """Return to the base (``TO_BASE``) or the previous generation (``ROLL_BACK``); gives (from, to).

        Raises:
            IllegalStep: the base is active already; nothing was changed.
            StateError: done, but the record could not be written (disk full); the old record stands.
        """
        target = self._rollout.after(step)
        patch_id = target.active.patch
        engine = self._build_engine(None if patch_id is None else self._registry.patched_model(patch_id))
        before = self._slot.swap(target.active, engine)
        self._rollout = target
        self._registry.record(target)
        return before, target.active
