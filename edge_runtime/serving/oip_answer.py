"""The answer to an inference request of the Open Inference Protocol, before a transport writes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.datatypes import Rejected
from edge_runtime.serving.oip_request import WantedOutput
from edge_runtime.serving.oip_tensors import DATATYPES, classify, pack_array, pack_texts
from edge_runtime.serving.predict_service import code_of
from edge_runtime.serving.predictions import Answered, ServedModel
from edge_runtime.serving.refusals import Refusal


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output for all pictures of a request."""

    name: str
    datatype: str
    shape: list[int]
    values: NDArray[Any] | list[str]
    """Numbers, or the texts of classes."""

    def pack(self) -> bytes:
        """The values as binary data."""
        return pack_texts(self.values) if isinstance(self.values, list) else pack_array(self.values)


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """What became of a request."""

    generation: str
    """That answered: MODEL/VERSION, and perhaps +PATCH."""
    outputs: tuple[OutputTensor, ...]

    @property
    def version(self) -> str:
        """Of the bundle."""
        return self.generation.partition("+")[0].rpartition("/")[2]


def make_answer(
    wanted: Sequence[WantedOutput], answers: Sequence[Answered], model: ServedModel
) -> InferAnswer:
    """All answers of one request as one.

    Args:
        wanted: The outputs, which the model has.
        answers: One for each picture, in their order.
        model: That they were sent to.

    Raises:
        Refusal: a picture has no result, or the results do not fit together.
    """
    generations = list[str]()
    for index, one in enumerate(answers):
        if isinstance(one.answer, Rejected):
            where = f"input {index}: " if len(answers) > 1 else ""
            raise Refusal(code_of(one), f"{where}{one.answer.reason}: {one.answer.detail}")
        generations.append(one.answer.generation)
    arrays = [one.outputs for one in answers]
    outputs = (_make_output(one, arrays, model.bundle.labels) for one in wanted)
    return InferAnswer(generations[0], tuple(outputs))


def _make_output(
    wanted: WantedOutput, arrays: Sequence[Mapping[str, NDArray[Any]]], labels: Sequence[str]
) -> OutputTensor:
    name = wanted.name
    if not all(name in one for one in arrays):
        raise Refusal(503, "the model was replaced meanwhile; try again")
    each = [one[name] for one in arrays]
    if len({one.shape for one in each}) > 1:
        raise Refusal(400, f"output {name} has another shape for each input; send one at a time")
    values = np.stack(each)
    datatype = DATATYPES.get(values.dtype.name)
    if datatype is None:
        raise Refusal(500, f"output {name} is of type {values.dtype}, which the protocol does not have")
    if not wanted.classes:
        return OutputTensor(name, datatype, list(values.shape), values)
    texts = [text for one in each for text in classify(one, wanted.classes, labels)]
    return OutputTensor(name, "BYTES", [len(each), len(texts) // len(each)], texts)
