"""An OpenVINO IR in memory: its constants, consumers and input.

Rewire at single inputs (``replace_source_output``), so that a constant which two layers share stays for the other one.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.model_input import INPUTS, ModelInput, guess_channel_axis, move_channels_second

_INPUT_TYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "u8": np.dtype(np.uint8),
}

_ASKS_FOR_SHAPE_ONLY = "ShapeOf"


@dataclass(slots=True)
class IrGraph:
    """One model in memory; what the methods rewire changes ``model``."""

    name: str
    model: Any
    """``openvino.Model``."""
    input: ModelInput
    _constant: dict[str, bool] = field(default_factory=dict)

    @property
    def nodes(self) -> list[Any]:
        """All nodes in topological order."""
        return list(self.model.get_ordered_ops())

    @property
    def parameter(self) -> Any:
        """The input's node."""
        return self.model.get_parameters()[0]

    def is_constant(self, output: Any) -> bool:
        """Whether nothing that ``output`` is computed from depends on the input."""
        pending = [output.get_node()]
        while pending:
            node = pending[-1]
            key = node.get_name()
            sources = [value.get_node() for value in node.input_values()]
            unknown = [source for source in sources if source.get_name() not in self._constant]
            if unknown and key not in self._constant:
                pending += unknown
                continue
            kind = node.get_type_name()
            holds = kind == "Constant" or (bool(sources) and kind != "ReadValue")
            self._constant[key] = holds and all(self._constant[s.get_name()] for s in sources)
            pending.pop()
        return self._constant[output.get_node().get_name()]


def parse(name: str, safe: ModelFiles) -> IrGraph:
    """Read an IR from its two files, in their safe form.

    Raises:
        ModelError: not an IR, cut short, or an input that is not one tensor of samples.
    """
    try:
        model = ov.Core().read_model(safe.data, safe.weights or b"")
    except RuntimeError as err:
        lines = [line.strip() for line in str(err).splitlines() if line.strip()] or ["no reason given"]
        found = f"OpenVINO cannot read it ({lines[-1]})"
        fix = "Check that the .xml and the .bin belong together and are whole; save it again with openvino.save_model."
        raise ModelError(name, found, "an OpenVINO IR", fix) from err
    _settle_ranks(model)
    return IrGraph(name, model, _find_input(name, model))


def _settle_ranks(model: Any) -> None:
    """Replace questions for the number of dimensions by the answer, so that a bias built on them is a constant.

    The ONNX reader writes a bias as Reshape(bias, [1, C, 1, 1]) with the ones counted from the rank of the layer's
    output. A rank, unlike a shape, stays whatever the batch becomes.
    """
    for node in model.get_ordered_ops():
        source = node.input_value(0) if node.get_type_name() == _ASKS_FOR_SHAPE_ONLY else None
        if source is None or source.get_partial_shape().is_dynamic:
            continue
        if source.get_node().get_type_name() in (_ASKS_FOR_SHAPE_ONLY, "Constant"):
            kind = node.output(0).get_element_type().to_dtype()
            answer = ops.constant(np.asarray(shape_of(source), kind))
            node.output(0).replace(answer.output(0))


def serialize(model: Any) -> tuple[bytes, bytes]:
    """The two files of a model: xml and weights. Constants keep their types (no compression)."""
    with tempfile.TemporaryDirectory(prefix="calibration-ir-") as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def shape_of(output: Any) -> tuple[int, ...]:
    """The static shape of ``output``."""
    return tuple(int(n) for n in output.get_shape())


def element_type(output: Any) -> str:
    """OpenVINO's name of the type of ``output``, e.g. ``f32``."""
    return str(output.get_element_type().get_type_name())


def value(output: Any) -> NDArray[Any]:
    """The value of a constant subgraph, as a copy."""
    node = output.get_node()
    if node.get_type_name() == "Constant":
        return np.array(node.data)
    model = ov.Model([output], [], "constant")
    result = ov.Tensor(output.get_element_type(), ov.Shape([]))
    if not model.evaluate([result], []):
        raise RuntimeError(f"{node.get_friendly_name()} cannot be evaluated")
    return np.array(result.data)


def readers(output: Any) -> list[Any]:
    """The inputs that read the values of ``output``; those that only ask for its shape do not count."""
    targets = output.get_target_inputs()
    return [t for t in targets if t.get_node().get_type_name() != _ASKS_FOR_SHAPE_ONLY]


def only_reader(output: Any) -> Any | None:
    """The one input that reads ``output``, if exactly one does."""
    found = readers(output)
    return found[0] if len(found) == 1 else None


def is_model_output(output: Any) -> bool:
    """Whether ``output`` is an output of the model."""
    return any(target.get_node().get_type_name() == "Result" for target in output.get_target_inputs())


def inner_models(node: Any) -> Iterator[Any]:
    """Bodies of Loop, TensorIterator and If."""
    match node.get_type_name():
        case "Loop" | "TensorIterator":
            yield node.get_function()
        case "If":
            yield from (node.get_function(i) for i in range(2))


def _find_input(name: str, model: Any) -> ModelInput:
    parameters = model.get_parameters()
    if len(parameters) != 1:
        names = ", ".join(parameter.get_friendly_name() for parameter in parameters)
        found = f"{len(parameters)} inputs: {names}"
        raise ModelError(name, found, INPUTS, "Convert the part of the model that takes it alone.")
    parameter = parameters[0]
    label, partial = parameter.get_friendly_name(), parameter.get_partial_shape()
    kind = element_type(parameter)
    if kind not in _INPUT_TYPES or partial.rank.is_dynamic:
        found = f"input {label!r} is {kind} {partial}"
        raise ModelError(name, found, INPUTS, "Convert it again like that.")
    dims = [None if dim.is_dynamic else int(dim.get_length()) for dim in partial]
    if len(dims) < 2:
        fix = "Convert it again with a batch axis."
        raise ModelError(name, f"input {label!r} has shape {partial}", INPUTS, fix)
    axis = guess_channel_axis(dims)
    return ModelInput(label, move_channels_second(dims, axis), axis, _INPUT_TYPES[kind])
