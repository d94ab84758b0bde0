"""Pictures, windows and tensors that callers send, on their way through a model's pipeline, and the answers back.

One thread prepares them all: the server's own thread must stay free for probes of health, and a thread a request would
take the cores from the cameras. Starting it waits for the first request.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundles.verify import Bundle
from edge_runtime.datatypes import REQUESTS, Asked, Frame, Rejected, Result
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.messaging.encoding import encode_rejection, encode_result
from edge_runtime.serving.refusals import Refusal, ended, failed, full, no_model
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.redaction import PROCESS
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

STOP_S = 3.0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model, as callers meet it."""

    pipeline: Pipeline
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one picture."""

    answer: Result | Rejected
    payload: bytes
    """The same as JSON, as results and rejections are published."""
    outputs: Mapping[str, NDArray[Any]]
    """Raw arrays without the batch axis, owned by this; empty where they were not asked for."""


Input = bytes | NDArray[np.float32]
"""An encoded picture, the payload of a sensor, or a prepared tensor without the batch axis."""
Read = Callable[[ServedModel], Sequence[Input]]
"""Reads the inputs out of a request, for a model; may raise ``Refusal``. There is at least one."""


@dataclass(eq=False)
class _Question:
    """One request on its way."""

    model: str
    read: Read
    keeps_outputs: bool
    gives_up_at_s: float
    answered: Future[tuple[Answered, ...]] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[int, Answered] = {}
        self._expected = 0

    def expect(self, count: int) -> None:
        """There will be so many answers."""
        self._expected = count

    def note(self, index: int, answered: Answered) -> None:
        """One of them is here."""
        with self._lock:
            self._answers[index] = answered
            if len(self._answers) == self._expected and not self.answered.done():
                self.answered.set_result(tuple(self._answers[i] for i in range(self._expected)))

    def refuse(self, refusal: Refusal) -> None:
        """There will be no answer, or no further one."""
        with self._lock:
            if not self.answered.done():
                self.answered.set_exception(refusal)


@dataclass(frozen=True, slots=True)
class _Place:
    """An ``Asker``: one of the pictures of a request."""

    question: _Question
    index: int
    pipeline: Pipeline

    @property
    def gives_up_at_s(self) -> float:
        return self.question.gives_up_at_s

    def take(self, answer: Result | Rejected, outputs: Mapping[str, NDArray[Any]]) -> None:
        if isinstance(answer, Result):
            payload = encode_result(answer)
        else:
            answer = replace(answer, detail=PROCESS.text(answer.detail))
            payload = encode_rejection(answer, self.pipeline.device, self.pipeline.model)
        keeps = self.question.keeps_outputs
        kept = {name: np.array(one, order="C") for name, one in outputs.items()} if keeps else {}
        self.question.note(self.index, Answered(answer, payload, kept))


class Predictions:
    """Has the models that run answer requests; see the module.

    Args:
        models: Those that run now, by name.
        is_stopping: Whether the daemon ends.
        open_numbers: Opens the sequence numbers of the requests, at the first one.
        timeout_s: How long an answer may take.
        crashes: Counts what nobody foresaw; such a request is refused, and the next one served.
    """

    def __init__(
        self,
        models: Callable[[], Mapping[str, ServedModel]],
        is_stopping: Callable[[], bool],
        open_numbers: Callable[[], SequenceNumbers],
        timeout_s: float,
        crashes: Crashes,
    ) -> None:
        self.models, self._is_stopping, self.timeout_s = models, is_stopping, timeout_s
        self._open_numbers, self._crashes = open_numbers, crashes
        self._numbers: SequenceNumbers | None = None
        self._waiting: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._thread = SupervisedThread("predict", self._work, crashes, is_vital=False)
        self._has_started = False

    def find(self, name: str | None) -> tuple[str, ServedModel]:
        """A model by its name, or the only one.

        Raises:
            Refusal: there is none such, or none at all.
        """
        if self._is_stopping():
            raise ended()
        models = self.models()
        if name is None and len(models) == 1:
            name = next(iter(models))
        if name is None or name not in models:
            raise no_model(name, models)
        return name, models[name]

    def ask(self, model: str, read: Read, *, keeps_outputs: bool = False) -> Future[tuple[Answered, ...]]:
        """Have what ``read`` gives answered by a model; called by the server's thread alone, returns at once.

        The answer never comes where the inference hangs, so its caller must not wait longer than ``timeout_s``. It may
        also be a ``Refusal``.
        """
        question = _Question(model, read, keeps_outputs, time.monotonic() + self.timeout_s)
        question.answered.set_running_or_notify_cancel()
        if not self._has_started:
            self._has_started = True
            self._thread.start()
        self._waiting.put(question)
        return question.answered

    def stop(self) -> None:
        """End the thread; idempotent. What waits then is not answered."""
        self._thread.stop()
        self._waiting.put(None)
        self._thread.join(STOP_S)

    def _work(self) -> None:
        while not self._thread.stopping.is_set():
            question = self._waiting.get()
            if question is None:
                return
            with self._crashes.contain("predict", log_once=True) as contained:
                try:
                    self._put(question)
                except Refusal as refusal:
                    question.refuse(refusal.bare())
            if contained.error is not None:
                question.refuse(failed())
            del question, contained  # not kept while the next one is waited for
            self._thread.succeeded()

    def _put(self, question: _Question) -> None:
        if time.monotonic() >= question.gives_up_at_s:
            return
        _, model = self.find(question.model)
        inputs = question.read(model)
        question.expect(len(inputs))
        for index, one in enumerate(inputs):
            if time.monotonic() >= question.gives_up_at_s:  # others wait, and keep their bodies in memory
                return
            while True:
                frame = self._make_frame(one, _Place(question, index, model.pipeline))
                match model.pipeline.ask(frame):
                    case Asked.TAKEN:
                        break
                    case Asked.FULL:
                        raise full()
                    case Asked.ENDED:  # another version answers now, if any
                        before, (_, model) = model, self.find(question.model)
                        if model.pipeline is before.pipeline:
                            raise ended()

    def _make_frame(self, one: Input, place: _Place) -> Frame:
        if self._numbers is None:
            self._numbers = self._open_numbers()
        seq = self._numbers.next
        self._numbers.mark_used(seq)
        is_tensor = not isinstance(one, bytes)
        now_s, now_wall_s = time.monotonic(), time.time()
        return Frame(REQUESTS, seq, one, now_s, now_wall_s, None, is_tensor, asker=place)
