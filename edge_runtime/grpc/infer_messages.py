"""An inference request and its answer as messages.

Inputs come raw, as the binary data of HTTP, or as the typed contents of a message; outputs are always raw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.grpc.messages import find_message
from edge_runtime.serving.oip_answer import InferAnswer
from edge_runtime.serving.oip_request import MOST_INPUTS, MOST_OUTPUTS, Request, validate
from edge_runtime.serving.oip_tensors import BinaryData, TensorData, require_count
from edge_runtime.serving.refusals import Refusal

MOST_PARAMETERS = 100


@dataclass(frozen=True, slots=True)
class TypedData:
    """Implements ``TensorData``: the typed contents of an input."""

    contents: Any

    def read_floats(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """See ``TensorData``."""
        numbers, count = self.contents.fp32_contents, prod(shape)
        if len(numbers) != count:
            raise Refusal(400, f"fp32_contents: {len(numbers)} numbers; shape {list(shape)} has {count}")
        return np.fromiter(numbers, np.float32, count).reshape(shape)

    def read_elements(self, count: int) -> list[bytes]:
        """See ``TensorData``."""
        return require_count(list(islice(self.contents.bytes_contents, count + 1)), count)


def read_request(message: Any) -> tuple[Request, Sequence[TensorData]]:
    """The request in a ``ModelInferRequest``, and the data of each of its inputs.

    Raises:
        Refusal: it is no such request.
    """
    # One more than may be, of each: a message can hold millions, and validation refuses them all the same.
    inputs = message.inputs[: MOST_INPUTS + 1]
    request = validate(
        {
            "id": message.id or None,
            "parameters": _read_parameters(message.parameters),
            "inputs": [
                {
                    "name": one.name,
                    "datatype": one.datatype,
                    "shape": one.shape[:_MOST_AXES],
                    "parameters": _read_parameters(one.parameters),
                }
                for one in inputs
            ],
            "outputs": [
                {"name": one.name, "parameters": _read_parameters(one.parameters)}
                for one in message.outputs[: MOST_OUTPUTS + 1]
            ],
        }
    )
    raw = message.raw_input_contents
    if not raw:
        return request, [TypedData(one.contents) for one in inputs]
    if len(raw) != len(inputs) or any(one.HasField("contents") for one in inputs):
        raise Refusal(
            400,
            f"{len(raw)} raw_input_contents for {len(inputs)} inputs; expected one for each, or contents in each",
        )
    return request, [BinaryData(memoryview(one)) for one in raw]


_MOST_AXES = 17
"""One more than a request may have."""


def _read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    if len(parameters) > MOST_PARAMETERS:
        raise Refusal(400, f"{len(parameters)} parameters; expected at most {MOST_PARAMETERS}")
    found = {}
    for name, value in parameters.items():
        kind = value.WhichOneof("parameter_choice")
        found[name] = None if kind is None else getattr(value, kind)
    return found


def encode_answer(model: str, request_id: str | None, answer: InferAnswer) -> bytes:
    """A ``ModelInferResponse``."""
    message = find_message("ModelInferResponse")(
        model_name=model, model_version=answer.version, id=request_id or ""
    )
    message.parameters["generation"].string_param = answer.generation
    for one in answer.outputs:
        message.outputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
        message.raw_output_contents.append(one.pack())
    encoded: bytes = message.SerializeToString()
    return encoded
