"""An engine without a model, for tests of what surrounds engines: its answers, delays and failures are scripted.

Deterministic; a delay is a wait on an event that the test sets, never a sleep.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import EngineLibrary, Outputs, TensorSpec


def channel_means(batch: NDArray[np.float32]) -> Outputs:
    """Default answer: ``scores`` (N,C), the mean of each channel of an (N,C,H,W) batch."""
    return {"scores": batch.reshape(len(batch), batch.shape[1], -1).mean(axis=2)}


_IMAGE = TensorSpec("image", "float", (None, 3, 8, 8))
_SCORES = TensorSpec("scores", "float", (None, 3))


LIBRARY = EngineLibrary("onnxruntime", "0", ("CPU",))


@dataclass(slots=True)
class FakeEngine:
    """Answers ``answer(batch)``; fails while ``failures`` is above 0; waits for ``gate`` when there is one."""

    answer: Callable[[NDArray[np.float32]], Outputs] = channel_means
    input: TensorSpec = _IMAGE
    outputs: tuple[TensorSpec, ...] = (_SCORES,)
    library: EngineLibrary = LIBRARY
    failures: int = 0
    """Calls that fail before the next good one; -1 fails for ever."""
    gate: threading.Event | None = None
    """While not set, calls wait (a hanging engine)."""
    gate_timeout_s: float = 10.0
    batch_sizes: list[int] = field(default_factory=list)
    """Size of every batch so far."""
    is_warm: bool = False
    is_closed: bool = False

    @property
    def runs_on(self) -> str:
        """What really executes: nothing."""
        return "fake engine"

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Answer, fail or wait as scripted."""
        if self.is_closed:
            raise EngineError("the engine is closed")
        self.batch_sizes.append(len(batch))
        if self.gate is not None and not self.gate.wait(self.gate_timeout_s):
            raise EngineError(f"the gate was not opened within {self.gate_timeout_s} s")
        if self.failures != 0:
            self.failures -= 1 if self.failures > 0 else 0
            raise EngineError("scripted failure")
        return self.answer(batch)

    def warm_up(self) -> None:
        """Remember that it was called."""
        self.is_warm = True

    def close(self) -> None:
        """Refuse all further calls."""
        self.is_closed = True
