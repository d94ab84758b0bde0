"""How often the demo's live answers are those of an undrifted run: the figure that shows whether a patch helped.

The conveyor can show any frame with and without its drift, so the comparison is exact: the base model's answer on the
undrifted picture is the reference. Only for ``demo:conveyor`` streams, and only after a run.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_runtime.datatypes import Result

KEPT_ANSWERS = 50_000
CompareTop = Callable[[int, bool], int | None]
"""(sequence number, drifted) -> class the *base* model gives, None for a rejected picture."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One published classification."""

    seq: int
    is_patched: bool
    top: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Shares of drifted frames answered as in the undrifted run, 0..1; None where there were no such frames."""

    stream: str
    before_frames: int
    before: float | None
    after_frames: int
    after: float | None
    without: float | None
    """What the base model, without the patch, gives on the very frames of ``after``."""


class AnswerLog:
    """Remembers the answers of the demo streams."""

    def __init__(self, streams: frozenset[str]) -> None:
        self._answers: dict[str, deque[Answer]] = {stream: deque(maxlen=KEPT_ANSWERS) for stream in streams}

    def add(self, result: Result) -> None:
        """Remember a result if it belongs to a demo stream; called by the inference worker."""
        answers = self._answers.get(result.stream)
        if answers is not None and result.top:
            answers.append(Answer(result.seq, "+" in result.generation, result.top[0].index))

    def of(self, stream: str) -> list[Answer]:
        """Everything remembered of a stream."""
        return list(self._answers[stream])


def measure_agreement(
    stream: str,
    answers: Sequence[Answer],
    is_drifted: Callable[[int], bool],
    base_top: CompareTop,
    most: int,
    rng: np.random.Generator,
) -> Agreement:
    """Compare up to ``most`` drifted frames of each phase with the undrifted run."""
    drifted = [answer for answer in answers if is_drifted(answer.seq)]
    before = _some([answer for answer in drifted if not answer.is_patched], most, rng)
    after = _some([answer for answer in drifted if answer.is_patched], most, rng)
    healthy = {answer.seq: base_top(answer.seq, False) for answer in (*before, *after)}
    return Agreement(
        stream=stream,
        before_frames=len(before),
        before=_share([answer.top == healthy[answer.seq] for answer in before]),
        after_frames=len(after),
        after=_share([answer.top == healthy[answer.seq] for answer in after]),
        without=_share([base_top(answer.seq, True) == healthy[answer.seq] for answer in after]),
    )


def _some(answers: list[Answer], most: int, rng: np.random.Generator) -> list[Answer]:
    if len(answers) <= most:
        return answers
    return [answers[i] for i in sorted(rng.choice(len(answers), most, replace=False))]


def _share(hits: list[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
