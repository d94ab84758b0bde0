"""Times one engine as the daemon would use it: so many concurrent calls, pictures of so many streams.

Starts threads and reads clocks; decides nothing.
"""

import queue
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge_runtime.inference.engines.base import Engine, EngineSettings
from edge_runtime.inference.engines.threads import ThreadPlan, bind_this_thread

LEAST_BURSTS = 3


@dataclass(frozen=True, slots=True)
class Round:
    """The figures of one round."""

    answer_ms: float
    """From the moment when every stream has a new picture until a picture is answered: the mean over the streams,
    waiting for a free worker included; median of the round's bursts."""
    frames_per_s: float
    """Flat out: every stream has its next picture ready at once."""
    cpu_ms: float
    """Processor time of a picture, flat out, all threads together."""


class TimedEngine:
    """An engine and the threads that call it; a context manager that closes both."""

    def __init__(
        self,
        engine: Engine,
        plan: ThreadPlan,
        settings: EngineSettings,
        samples: Sequence[NDArray[np.float32]],
        streams: int,
    ) -> None:
        """``samples``: prepared pictures, (C, H, W) or (H, W, C), at least one; streams: 1 or more."""
        self._engine, self._streams = engine, streams
        self._batches = [sample[np.newaxis] for sample in samples]
        self._callers = plan.workers  # a lone stream uses them all
        places: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
        for worker in range(self._callers):
            places.put(plan.cpus_of(worker) if settings.pin_threads else ())
        self._pool = ThreadPoolExecutor(self._callers, "tune", initializer=_bind_to_next, initargs=(places,))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown()
        self._engine.close()

    def round(self, length_s: float) -> Round:
        """Measure for about ``length_s``, half of it in bursts and half flat out.

        Raises:
            EngineError: the engine failed.
        """
        answer_ms = self._bursts(length_s / 2)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        end_s = began_s + length_s / 2
        callers = [self._pool.submit(self._run_until, end_s, at) for at in range(self._callers)]
        frames = sum(caller.result() for caller in callers)
        took_s, took_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        return Round(answer_ms, frames / took_s, 1e3 * took_cpu_s / frames)

    def _bursts(self, length_s: float) -> float:
        end_s, found = time.perf_counter() + length_s, list[float]()
        while len(found) < LEAST_BURSTS or time.perf_counter() < end_s:
            began_s = time.perf_counter()
            answered = [self._pool.submit(self._answer, at) for at in range(self._streams)]
            found.append(1e3 * statistics.fmean(one.result() - began_s for one in answered))
        return statistics.median(found)

    def _answer(self, at: int) -> float:
        """Run one picture; gives when it was answered."""
        self._engine.infer(self._batches[at % len(self._batches)])
        return time.perf_counter()

    def _run_until(self, end_s: float, first: int) -> int:
        frames = 0
        while frames == 0 or time.perf_counter() < end_s:
            self._answer(first + frames)
            frames += 1
        return frames


def _bind_to_next(places: "queue.SimpleQueue[tuple[int, ...]]") -> None:
    cpus = places.get()
    if cpus:
        bind_this_thread(cpus)
