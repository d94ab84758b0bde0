"""An inference request of the Open Inference Protocol: what it asks for, checked against the model.

The one input takes either prepared tensors, FP32 as the engine takes them, or BYTES: encoded pictures, which are
prepared as those of a camera are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from edge_runtime.http.oip_tensors import read_bytes, read_floats
from edge_runtime.http.predictions import Input, ServedModel
from edge_runtime.http.refusals import Refusal
from edge_runtime.http.request_body import MOST_VALUES, load_json

MOST_JSON_NUMBERS = 4_000_000
"""Each takes 32 bytes of memory while it is read; more of them come in binary."""
MOST_OUTPUTS = 1_000

Text = Annotated[str, Field(max_length=1_000)]
Parameters = dict[str, Any]


class _Input(BaseModel, strict=True):
    name: Text
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=16)]
    datatype: Text
    parameters: Parameters = {}
    data: Any = None

    def find_binary_size(self) -> int | None:
        """None: the data are in the JSON."""
        size = self.parameters.get("binary_data_size")
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
            raise Refusal(400, f"input {self.name}: binary_data_size is not a number of bytes")
        return size


class _Output(BaseModel, strict=True):
    name: Text
    parameters: Parameters = {}


class Request(BaseModel, strict=True):
    """What may stand in the JSON; keys beyond these mean nothing here."""

    id: Text | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[_Input], Field(min_length=1, max_length=16)]
    outputs: Annotated[list[_Output], Field(max_length=MOST_OUTPUTS)] = []


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output that the caller wants."""

    name: str
    is_binary: bool
    classes: int = 0
    """So many best classes in place of the numbers; 0: the numbers."""


@dataclass(eq=False)
class InferQuestion:
    """A request, read in the thread that prepares pictures: its JSON may be long.

    Args:
        body: Of the request.
        header_bytes: Length of the JSON in it, where binary data follow.
        check_picture: Refuses pictures that are too large.
    """

    body: bytes
    header_bytes: int | None
    check_picture: Callable[[bytes], None]
    id: str | None = field(default=None, init=False)
    outputs: tuple[WantedOutput, ...] = field(default=(), init=False)

    def read(self, model: ServedModel) -> Sequence[Input]:
        """The inputs; afterwards ``id`` and ``outputs`` are known.

        Raises:
            Refusal: it is no such request, or one for another model.
        """
        spec, limit = model.pipeline.preprocessor.spec, model.pipeline.scheduler.policy.request_limit
        size = len(self.body) if self.header_bytes is None else self.header_bytes
        if size > len(self.body):
            raise Refusal(
                400, f"Inference-Header-Content-Length is {size}; the body has {len(self.body)} bytes"
            )
        numbers = min(limit * prod(spec.tensor_shape), MOST_JSON_NUMBERS)
        request = _validate(load_json(self.body[:size], 2 * numbers + MOST_VALUES))
        engine = model.pipeline.slot.engine
        self.id = request.id
        self.outputs = _find_outputs(request, [one.name for one in engine.outputs])
        (given,), binary = request.inputs[:1], _find_binary(request.inputs, memoryview(self.body)[size:])
        if len(request.inputs) != 1 or given.name != engine.input.name:
            names = ", ".join(one.name for one in request.inputs)
            raise Refusal(400, f"inputs: {names}; expected one: {engine.input.name}")
        return self._read_input(given, binary[0], spec.tensor_shape, limit)

    def _read_input(
        self, given: _Input, binary: memoryview | None, sample_shape: tuple[int, ...], limit: int
    ) -> Sequence[Input]:
        if given.datatype == "BYTES":
            count = _check_count(prod(given.shape), limit)
            is_base64 = given.parameters.get("content_type") == "base64"
            pictures = read_bytes(count, given.data, binary, is_base64=is_base64)
            for picture in pictures:
                self.check_picture(picture)
            return pictures
        if given.datatype != "FP32":
            raise Refusal(
                400, f"input {given.name}: {given.datatype}; expected FP32, or BYTES with encoded pictures"
            )
        if len(given.shape) != 4 or tuple(given.shape[1:]) != sample_shape:
            raise Refusal(400, f"input {given.name}: shape {given.shape}; expected {[-1, *sample_shape]}")
        _check_count(given.shape[0], limit)
        return list(np.ascontiguousarray(read_floats(given.shape, given.data, binary)))


def _validate(found: Any) -> Request:
    try:
        return Request.model_validate(found)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "request"
        raise Refusal(400, f"{where}: {first['msg']}") from err


def _check_count(count: int, limit: int) -> int:
    if not 1 <= count <= limit:
        raise Refusal(400, f"{count} pictures in one request; expected 1 to {limit} (http.predict.queue)")
    return count


def _find_binary(inputs: Sequence[_Input], after: memoryview) -> list[memoryview | None]:
    """The binary data of each input, which follow each other."""
    found = list[memoryview | None]()
    for one in inputs:
        size = one.find_binary_size()
        if size is not None and size > len(after):
            raise Refusal(400, f"input {one.name}: binary_data_size is {size}; {len(after)} bytes are left")
        found.append(None if size is None else after[:size])
        after = after[size or 0 :]
    if len(after):
        raise Refusal(400, f"{len(after)} bytes follow that belong to no input")
    return found


def _find_outputs(request: Request, known: Sequence[str]) -> tuple[WantedOutput, ...]:
    is_binary = _flag(request.parameters, "binary_data_output", False)
    if not request.outputs:
        return tuple(WantedOutput(name, is_binary) for name in known)
    unknown = [one.name for one in request.outputs if one.name not in known]
    if unknown:
        raise Refusal(400, f"no output {unknown[0]!r}; this model has: {', '.join(known)}")
    if len({one.name for one in request.outputs}) < len(request.outputs):  # each time takes its memory again
        raise Refusal(400, "outputs: one is named more than once")
    return tuple(
        WantedOutput(one.name, _flag(one.parameters, "binary_data", is_binary), _count(one.parameters))
        for one in request.outputs
    )


def _flag(parameters: Mapping[str, Any], name: str, otherwise: bool) -> bool:
    value = parameters.get(name, otherwise)
    if not isinstance(value, bool):
        raise Refusal(400, f"{name}: expected true or false")
    return value


def _count(parameters: Mapping[str, Any]) -> int:
    value = parameters.get("classification", 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_OUTPUTS:
        raise Refusal(400, f"classification: expected a number up to {MOST_OUTPUTS}")
    return value
