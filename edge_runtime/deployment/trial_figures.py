"""What both arms of a trial did in this stage; fed by inference workers and the shadow, read by the rollout."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_runtime.datatypes import Frame, Sample
from edge_runtime.deployment.disagreements import Disagreements
from edge_runtime.deployment.rollout_policy.agreement import agreement
from edge_runtime.deployment.rollout_policy.figures import ArmFigures, ArmSummary
from edge_runtime.deployment.rollout_policy.pairs import PairFigures, PairSummary
from edge_runtime.deployment.shadow import Shadowed
from edge_runtime.inference.postprocess.postprocessor import Answer


@dataclass(frozen=True, slots=True)
class BothArms:
    """Summaries of one moment."""

    candidate: ArmSummary
    active: ArmSummary
    latest: ArmSummary | None = None
    """Of the candidate's last whole window; None before the first one."""
    pairs: PairSummary = field(default_factory=PairSummary)
    """Of the frames that both answered, in shadow."""


class TrialFigures:
    """A :class:`edge_runtime.inference.trial.TrialWatch`; any thread may call it."""

    def __init__(self, disagreements: Disagreements) -> None:
        self.disagreements = disagreements
        """Of the shadow; they are kept for the whole trial."""
        self._lock = threading.Lock()
        self._candidate, self._active, self._window = ArmFigures(), ArmFigures(), ArmFigures()
        self._pairs = PairFigures()
        self._latest: ArmSummary | None = None
        self._window_frames, self._in_window = 1, 0
        self.show: Callable[[Shadowed], None] | None = None
        """Called with every frame that the active model answered: the shadow; None while there is none."""

    def begin_stage(self, window_frames: int, *, keep_active: bool = False) -> None:
        """Forget what was counted: every stage is judged by itself.

        In a long stage what begins late would drown in what was before, so the candidate is counted in windows of so
        many frames as well.
        """
        with self._lock:
            self._candidate, self._window, self._pairs = ArmFigures(), ArmFigures(), PairFigures()
            self._window_frames, self._latest, self._in_window = window_frames, None, 0
            if not keep_active:
                self._active = ArmFigures()

    def summaries(self) -> BothArms:
        """What was counted since the stage began."""
        with self._lock:
            summaries = self._candidate.summary(), self._active.summary()
            return BothArms(*summaries, self._latest, self._pairs.summary())

    def note_candidate(self, sample: Sample, answer: Answer, latency_ms: float) -> None:
        """It answered a frame that was published."""
        with self._lock:
            self._note(answer, latency_ms, sample.stream)

    def note_failure(self, reason: str) -> None:
        """The candidate did not answer a frame."""
        with self._lock:
            self._candidate.note_failure(reason)
            self._window.note_failure(reason)
            self._end_window()

    def note_active(self, frame: Frame, sample: Sample, answer: Answer, latency_ms: float) -> None:
        """The active model answered a frame that was published."""
        with self._lock:
            self._active.note_answer(answer, latency_ms, stream=sample.stream)
        show = self.show
        if show is not None:
            show(Shadowed(frame, sample, answer))

    def note_shadow(self, shadowed: Shadowed, answer: Answer, latency_ms: float) -> None:
        """The candidate answered the copy of a frame."""
        value = agreement(shadowed.answer, answer)
        with self._lock:
            if value is not None:
                self._candidate.note_agreement(value)
                self._window.note_agreement(value)
            self._pairs.note(shadowed.answer, answer)
            self._note(answer, latency_ms, shadowed.sample.stream)
        if value is not None:
            self.disagreements.add(shadowed.sample, shadowed.answer, answer, value)

    def _note(self, answer: Answer, latency_ms: float, stream: str) -> None:
        self._candidate.note_answer(answer, latency_ms, stream=stream)
        self._window.note_answer(answer, latency_ms, stream=stream)
        self._end_window()

    def _end_window(self) -> None:
        self._in_window += 1
        if self._in_window >= self._window_frames:
            self._latest, self._window, self._in_window = self._window.summary(), ArmFigures(), 0
