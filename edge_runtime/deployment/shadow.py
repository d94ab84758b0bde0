"""A candidate in the shadow: it answers copies of frames that were answered, on spare time; nothing is published.

It looks at the newest frame only, begins when no live frame waits or runs, and rests after each one so that it uses no
more than its share of one CPU. Where the live frames leave no pause it does not run at all.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_runtime.datatypes import Frame, Rejected, Sample
from edge_runtime.errors import EngineError
from edge_runtime.inference.postprocess.postprocessor import Answer
from edge_runtime.inference.trial import Arm
from edge_runtime.system.priority import lower_this_thread
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

POLL_S = 0.25
"""Longest wait for a pause before it looks whether it is to end."""
FRESH_S = 2.0
"""A frame for which no pause came in this time is let go for a newer one."""
LONGEST_REST_S = 60.0


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A frame that the active model answered."""

    frame: Frame
    sample: Sample
    answer: Answer


class Shadow:
    """One thread around the engine of a candidate."""

    def __init__(
        self,
        name: str,
        arm: Arm,
        *,
        cpu: float,
        wait_for_pause: Callable[[float], bool],
        note_answer: Callable[[Shadowed, Answer, float], None],
        note_failure: Callable[[str], None],
        crashes: Crashes,
        is_prepared_alike: bool = False,
    ) -> None:
        """What it needs; nothing runs yet.

        Args:
            name: Of the model, for the thread.
            arm: The candidate.
            cpu: Share of one CPU that it may use, above 0 up to 1.
            wait_for_pause: Waits so many seconds until no live frame waits or runs; whether that came.
            note_answer: Given the frame, the candidate's answer, and the milliseconds for preparation and inference.
            note_failure: Given why the candidate could not answer.
            crashes: The account of unexpected failures.
            is_prepared_alike: The candidate takes the samples of the active model as they are.
        """
        self._arm, self._cpu, self._pause = arm, cpu, wait_for_pause
        self._note_answer, self._note_failure = note_answer, note_failure
        self._is_prepared_alike = is_prepared_alike
        self._newest: Shadowed | None = None
        self._has_frame = threading.Condition()
        self.thread = SupervisedThread(
            f"shadow-{name}",
            self._run,
            crashes,
            on_failure=lambda err: note_failure(f"failed unexpectedly: {err!r}"),
            is_vital=False,
        )

    def offer(self, shadowed: Shadowed) -> None:
        """Look at this frame if there is time; returns at once. An older one that waits is let go."""
        with self._has_frame:
            self._newest = shadowed
            self._has_frame.notify()

    def stop(self, timeout_s: float) -> bool:
        """End; False when an inference of the candidate does not come back in time."""
        self.thread.stop()
        with self._has_frame:
            self._has_frame.notify()
        return self.thread.join(timeout_s)

    def _run(self) -> None:
        lower_this_thread()
        while not self.thread.stopping.is_set():
            shadowed = self._take()
            if shadowed is not None and self._wait_for_pause():
                began_s = time.monotonic()
                self._answer(shadowed)
                used_s = (
                    time.monotonic() - began_s
                )  # of one thread; the CPU time of an engine's own is not known
                self.thread.stopping.wait(min(LONGEST_REST_S, used_s * (1 / self._cpu - 1)))
            self.thread.succeeded()

    def _take(self) -> Shadowed | None:
        with self._has_frame:
            if self._newest is None:
                self._has_frame.wait(timeout=0.5)
            newest, self._newest = self._newest, None
            return newest

    def _wait_for_pause(self) -> bool:
        deadline_s = time.monotonic() + FRESH_S
        while not self._pause(POLL_S):
            if self.thread.stopping.is_set() or time.monotonic() >= deadline_s:
                return False
        return not self.thread.stopping.is_set()

    def _answer(self, shadowed: Shadowed) -> None:
        began_s, arm, sample = time.monotonic(), self._arm, shadowed.sample
        if not self._is_prepared_alike:
            prepared = arm.preprocessor.prepare(shadowed.frame)
            if isinstance(prepared, Rejected):
                self._note_failure(f"{prepared.reason}: {prepared.detail}")
                return
            sample = prepared
        lease = arm.slot.acquire()
        try:
            outputs = arm.slot.infer(lease, sample.tensor[None])
        except EngineError as err:
            self._note_failure(str(err))
            return
        finally:
            arm.slot.release(lease)
        latency_ms = (time.monotonic() - began_s) * 1000
        if self._is_prepared_alike:
            latency_ms += sample.prepare_ms
        answer = arm.postprocessor.read(sample, {name: array[0] for name, array in outputs.items()})
        if isinstance(answer, Rejected):
            self._note_failure(f"{answer.reason}: {answer.detail}")
        else:
            self._note_answer(shadowed, answer, latency_ms)
