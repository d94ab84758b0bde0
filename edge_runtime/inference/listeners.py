"""Who is told of a pipeline's answers besides their receiver: the ports that its owner may fill."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from edge_runtime.datatypes import Generation, Rejected, Result, Sample
from edge_runtime.inference.postprocess.postprocessor import Answer


class Observer(Protocol):
    """Looks at answered samples (reservoir, drift); must return at once and never raise."""

    def offer(self, sample: Sample, result: Result) -> None:
        """A sample was answered with this result."""


class AnswerWatch(Protocol):
    """Counts what is answered; must return at once and never raise."""

    def note_answer(
        self, generation: Generation, arm: Literal["active", "candidate"], sample: Sample, answer: Answer
    ) -> None:
        """A sample was answered and published."""


class AnswerTap(Protocol):
    """Sees every answer that is published with the raw outputs behind it; must return at once and never raise."""

    def note_result(self, result: Result, outputs: Mapping[str, NDArray[Any]]) -> None:
        """A result; ``outputs``, without the batch axis, are overwritten afterwards."""

    def note_rejection(self, model: str, rejected: Rejected) -> None:
        """A frame that will have no result."""
