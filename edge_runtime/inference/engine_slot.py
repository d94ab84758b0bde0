"""The place an engine sits in; swapping it is one reference assignment between two batches.

A batch that is running keeps the engine it started with, so a swap drops no frame and never mixes generations.
The old engine is freed by the last batch that used it. Whether to swap is decided in ``deployment.rollout``.
"""

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Generation
from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import Engine, Outputs


@dataclass(slots=True)
class EngineLease:
    """An engine together with the name of what it is."""

    generation: Generation
    engine: Engine
    users: int = 0
    failures_in_a_row: int = 0
    is_retired: bool = False
    is_closed: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()
        self.is_closed.set()


@dataclass(slots=True)
class SwapCount:
    """Shared by the slots that follow each other."""

    swaps: int = 0


class EngineSlot:
    """Runs batches on the active engine."""

    def __init__(self, generation: Generation, engine: Engine) -> None:
        self._lock = threading.Lock()
        self._has_paused = threading.Condition(self._lock)
        self._lease = EngineLease(generation, engine)
        self._retired: EngineLease | None = None
        self._running = self._pauses = 0
        self._swaps = SwapCount()

    @property
    def generation(self) -> Generation:
        """The generation that answers the next batch."""
        return self._lease.generation

    @property
    def engine(self) -> Engine:
        """The engine that answers the next batch."""
        return self._lease.engine

    @property
    def failures_in_a_row(self) -> int:
        """Failures of the active engine since its last answer; a batch that ends on an older one does not count."""
        return self._lease.failures_in_a_row

    @property
    def swaps(self) -> int:
        """How often an engine was put in; also into the slots that this one replaces."""
        return self._swaps.swaps

    def continue_count(self, before: "EngineSlot") -> None:
        """Go on with the count of the slot that this one replaces. Of the two, one at a time may swap."""
        self._swaps = before._swaps

    def acquire(self) -> EngineLease:
        """The active engine, kept open until :meth:`release`.

        Called when a batch is taken, not when it runs: of two workers the one with the earlier batch may run later.
        """
        with self._lock:
            self._lease.users += 1
            self._running += 1
            return self._lease

    def release(self, lease: EngineLease) -> None:
        """The batch is done; the last one frees an engine that was taken out."""
        with self._lock:
            lease.users -= 1
            is_last = lease.is_retired and lease.users == 0
            self._running -= 1
            if self._running == 0:
                self._pauses += 1
                self._has_paused.notify_all()
        if is_last:
            lease.close()

    def infer(self, lease: EngineLease, batch: NDArray[np.float32]) -> Outputs:
        """Run a batch (N, ...) on the engine of a lease.

        Raises:
            EngineError: the engine failed; its ``failures_in_a_row`` was counted up.
        """
        try:
            outputs = lease.engine.infer(batch)
        except EngineError:
            lease.failures_in_a_row += 1
            raise
        lease.failures_in_a_row = 0
        return outputs

    def swap(self, generation: Generation, engine: Engine) -> Generation:
        """Put another (warm) engine in; returns the generation that was replaced."""
        with self._lock:
            old, self._lease = self._lease, EngineLease(generation, engine)
            self._swaps.swaps += 1
            old.is_retired = True
            self._retired = old
            is_idle = old.users == 0
        if is_idle:
            old.close()
        return old.generation

    def wait_for_pause(self, timeout_s: float) -> bool:
        """Wait until the last running batch has ended; False when none did in time, at once where none ever ran.

        Right after a batch there is the most time until the next one: work that holds the GIL disturbs frames least.
        """
        with self._has_paused:
            before = self._pauses
            return before > 0 and self._has_paused.wait_for(lambda: self._pauses > before, timeout_s)

    def wait_for_freeing(self, timeout_s: float) -> bool:
        """Wait until the last batch has freed the engine that was taken out last; False when it has not in time."""
        with self._lock:
            retired, self._retired = self._retired, None
        return retired is None or retired.is_closed.wait(timeout_s)

    def retire(self) -> None:
        """Free the engine once the last batch that runs on it is done; none may be taken after this."""
        with self._lock:
            self._lease.is_retired = True
            is_idle = self._lease.users == 0
        if is_idle:
            self._lease.close()

    def close(self) -> None:
        """Free the engine; the slot must not be used again."""
        self._lease.close()
