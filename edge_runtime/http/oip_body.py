"""The body of an inference request over HTTP: JSON, and behind it the binary data of inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.http.request_body import MOST_VALUES, decode_base64, load_json
from edge_runtime.serving.oip_request import Request, RequestInput, find_limit, validate
from edge_runtime.serving.oip_tensors import BinaryData, TensorData, require_count
from edge_runtime.serving.predictions import ServedModel
from edge_runtime.serving.refusals import Refusal

MOST_JSON_NUMBERS = 4_000_000
"""Each takes 32 bytes of memory while it is read; more of them come in binary."""


def load_body(
    body: bytes, header_bytes: int | None, model: ServedModel
) -> tuple[Request, Sequence[TensorData]]:
    """The request, and the data of each of its inputs.

    Args:
        body: Of the request.
        header_bytes: Length of the JSON in it, where binary data follow.
        model: That is asked.

    Raises:
        Refusal: it is no such request.
    """
    size = len(body) if header_bytes is None else header_bytes
    if size > len(body):
        raise Refusal(400, f"Inference-Header-Content-Length is {size}; the body has {len(body)} bytes")
    shape = model.pipeline.preprocessor.spec.tensor_shape
    numbers = min(find_limit(model) * prod(shape), MOST_JSON_NUMBERS)
    request = validate(load_json(body[:size], 2 * numbers + MOST_VALUES))
    return request, _find_data(request.inputs, memoryview(body)[size:])


@dataclass(frozen=True, slots=True)
class JsonData:
    """Implements ``TensorData``: values in JSON, where elements of BYTES are Base64."""

    data: Any
    is_base64: bool = False

    def read_floats(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """See ``TensorData``."""
        count = prod(shape)
        if not _holds_numbers(self.data, len(shape)):
            raise Refusal(400, "data: expected numbers, flat or nested as the shape")
        try:
            found = np.asarray(self.data)
        except ValueError as err:
            raise Refusal(
                400, "data: lists of different lengths; expected numbers, flat or nested as the shape"
            ) from err
        if found.size != count or (found.ndim > 1 and found.shape != tuple(shape)):
            raise Refusal(
                400, f"data of shape {list(found.shape)}; expected {list(shape)}, or {count} numbers"
            )
        with np.errstate(over="ignore"):  # beyond float32: infinity, which preprocessing refuses
            return found.astype(np.float32).reshape(shape)

    def read_elements(self, count: int) -> list[bytes]:
        """See ``TensorData``."""
        if not self.is_base64:
            raise Refusal(400, 'BYTES in JSON: expected Base64, and "parameters": {"content_type": "base64"}')
        data = self.data
        flat = data[0] if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list) else data
        if not isinstance(flat, list) or not all(isinstance(one, str) for one in flat):
            raise Refusal(400, "data: expected texts in Base64")
        return require_count([decode_base64(one) for one in flat[: count + 1]], count)


def _holds_numbers(data: Any, most_axes: int) -> bool:
    """Whether these are lists of numbers alone. An array of texts would have the room of the longest for each one."""
    if not isinstance(data, list) or most_axes < 1:
        return False
    kinds = set(map(type, data))
    return kinds <= {int, float} or (
        kinds == {list} and all(_holds_numbers(one, most_axes - 1) for one in data)
    )


def _find_data(inputs: Sequence[RequestInput], after: memoryview) -> list[TensorData]:
    """The data of each input; those in binary follow each other."""
    found = list[TensorData]()
    for one in inputs:
        size = _find_binary_size(one)
        if size is None:
            found.append(JsonData(one.data, one.parameters.get("content_type") == "base64"))
            continue
        if size > len(after):
            raise Refusal(400, f"input {one.name}: binary_data_size is {size}; {len(after)} bytes are left")
        found.append(BinaryData(after[:size]))
        after = after[size:]
    if len(after):
        raise Refusal(400, f"{len(after)} bytes follow that belong to no input")
    return found


def _find_binary_size(given: RequestInput) -> int | None:
    """None: the data are in the JSON."""
    size = given.parameters.get("binary_data_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise Refusal(400, f"input {given.name}: binary_data_size is not a number of bytes")
    return size
