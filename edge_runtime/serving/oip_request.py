"""An inference request of the Open Inference Protocol: what it asks for, checked against the model.

The one input takes either prepared tensors, FP32 as the engine takes them, or BYTES: encoded pictures or payloads of
sensors, one window each, which are prepared as those of a camera or a sensor are. A model with several inputs takes
each of them by name, FP32; or one input ``window`` that holds all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from edge_runtime.inference.engines.parts import InputPart, parts_of
from edge_runtime.serving.oip_tensors import TensorData
from edge_runtime.serving.predictions import Input, ServedModel
from edge_runtime.serving.refusals import Refusal

MOST_INPUTS = 16
MOST_OUTPUTS = 1_000

Text = Annotated[str, Field(max_length=1_000)]
Parameters = dict[str, Any]


class RequestInput(BaseModel, strict=True):
    """One input; ``data`` only where the request has them in its JSON."""

    name: Text
    shape: Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(max_length=16)]
    datatype: Text
    parameters: Parameters = {}
    data: Any = None


class RequestOutput(BaseModel, strict=True):
    """One output that is asked for."""

    name: Text
    parameters: Parameters = {}


class Request(BaseModel, strict=True):
    """What may stand in the JSON; keys beyond these mean nothing here."""

    id: Text | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[RequestInput], Field(min_length=1, max_length=MOST_INPUTS)]
    outputs: Annotated[list[RequestOutput], Field(max_length=MOST_OUTPUTS)] = []


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output that the caller wants."""

    name: str
    is_binary: bool
    """By the extension of HTTP."""
    classes: int = 0
    """So many best classes in place of the numbers; 0: the numbers."""


@dataclass(eq=False)
class InferQuestion:
    """A request, read in the thread that prepares inputs: it may be long.

    Args:
        load: Reads it, for a model: the request, and the data of each of its inputs. May raise ``Refusal``.
        check_size: Refuses pictures and windows that are too large.
    """

    load: Callable[[ServedModel], tuple[Request, Sequence[TensorData]]]
    check_size: Callable[[bytes], None]
    id: str | None = field(default=None, init=False)
    outputs: tuple[WantedOutput, ...] = field(default=(), init=False)

    def read(self, model: ServedModel) -> Sequence[Input]:
        """The inputs; afterwards ``id`` and ``outputs`` are known.

        Raises:
            Refusal: it is no such request, or one for another model.
        """
        request, data = self.load(model)
        engine = model.pipeline.slot.engine
        self.id = request.id
        self.outputs = _find_outputs(request, [one.name for one in engine.outputs])
        given, parts = request.inputs[0], parts_of(model.pipeline.preprocessor.spec)
        names = [one.name for one in request.inputs]
        if len(names) > 1 and sorted(names) == sorted(part.name for part in parts):
            return _read_parts(
                dict(zip(names, zip(request.inputs, data, strict=True), strict=True)), parts, model
            )
        if names != [engine.input.name]:
            several = f"{', '.join(part.name for part in parts)}; or " if parts else ""
            raise Refusal(400, f"inputs: {', '.join(names)}; expected {several}one: {engine.input.name}")
        return self._read_input(given, data[0], model)

    def _read_input(self, given: RequestInput, data: TensorData, model: ServedModel) -> Sequence[Input]:
        limit = find_limit(model)
        if given.datatype == "BYTES":
            elements = data.read_elements(_check_count(prod(given.shape), limit))
            for element in elements:
                self.check_size(element)
            return elements
        shape = model.pipeline.preprocessor.spec.tensor_shape
        return list(
            _read_floats(given, data, shape, limit, "FP32, or BYTES with encoded pictures or windows")
        )


def _read_parts(
    given: Mapping[str, tuple[RequestInput, TensorData]], parts: Sequence[InputPart], model: ServedModel
) -> Sequence[Input]:
    """The windows that hold several inputs, each of as many samples."""
    limit, shape = find_limit(model), model.pipeline.preprocessor.spec.tensor_shape
    found = {part: _read_floats(*given[part.name], part.shape, limit, "FP32") for part in parts}
    counts = {part.name: len(values) for part, values in found.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise Refusal(400, f"inputs of different numbers of windows: {listed}; expected one number")
    windows = np.zeros((next(iter(counts.values())), *shape), np.float32)
    for part, values in found.items():
        part.put(values, windows)
    return list(windows)


def _read_floats(
    given: RequestInput, data: TensorData, sample_shape: Sequence[int], limit: int, expected: str
) -> NDArray[np.float32]:
    """A tensor (N, ...) of at most ``limit`` samples of this shape; ``expected`` says which types are taken."""
    if given.datatype != "FP32":
        raise Refusal(400, f"input {given.name}: {given.datatype}; expected {expected}")
    if not given.shape or tuple(given.shape[1:]) != tuple(sample_shape):
        raise Refusal(400, f"input {given.name}: shape {given.shape}; expected {[-1, *sample_shape]}")
    _check_count(given.shape[0], limit)
    return np.ascontiguousarray(data.read_floats(given.shape))


def find_limit(model: ServedModel) -> int:
    """How many pictures or windows one request may hold."""
    return model.pipeline.scheduler.policy.request_limit


def validate(found: Any) -> Request:
    """A request from plain values.

    Raises:
        Refusal: it is none.
    """
    try:
        return Request.model_validate(found)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "request"
        raise Refusal(400, f"{where}: {first['msg']}") from err


def _check_count(count: int, limit: int) -> int:
    if not 1 <= count <= limit:
        raise Refusal(400, f"{count} inputs in one request; expected 1 to {limit} (http.predict.queue)")
    return count


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
