"""A model with several inputs takes one array all the same: a prepared window (channels, samples), shared out here.

Pure numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import TensorSpec
from edge_runtime.inference.engines.batches import INPUT_TYPES, require_one_input, to_input
from edge_runtime.inference.specs import PreprocessSpec, SignalInput, SignalSpec
from edge_runtime.inference.specs.signal_inputs import find_layout, shape_in

WHOLE = "window"
"""Name of the array that holds all parts."""
_KEY = "preprocess.inputs"


class PartMisfit(EngineError):
    """The inputs that a bundle names are not those of its model.

    Args:
        found: The difference.
        fix: Which key to change.
    """

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(f"{found}: {fix}")
        self.found, self.fix = found, fix


@dataclass(frozen=True, slots=True)
class InputPart:
    """One of several inputs of a model: some channels of a window."""

    said: SignalInput
    rows: tuple[int, ...]
    """Of the window, in the order of the input."""
    length: int
    """Samples of the window."""

    @property
    def name(self) -> str:
        """As the model calls it."""
        return self.said.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the batch axis."""
        return shape_in(self.said.layout, len(self.rows), self.length)

    def take(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The input (N, ...) of windows (N, C, T), float32 both."""
        rows: NDArray[np.float32] = windows[:, list(self.rows)]
        match self.said.layout:
            case "nct":
                return rows
            case "ntc":
                return rows.transpose(0, 2, 1)
        if self.said.reduce == "mean":
            means: NDArray[np.float64] = rows.mean(-1, np.float64)
            return means.astype(np.float32)
        return rows[..., -1]

    def put(self, values: NDArray[np.float32], windows: NDArray[np.float32]) -> None:
        """Write an input (N, ...) into windows (N, C, T), so that :meth:`take` gives it back."""
        match self.said.layout:
            case "nct":
                rows = values
            case "ntc":
                rows = values.transpose(0, 2, 1)
            case _:
                rows = values[..., np.newaxis]
        windows[:, list(self.rows)] = rows


def parts_of(spec: PreprocessSpec) -> tuple[InputPart, ...]:
    """The parts that a window is shared out in; () for a model with one input."""
    if not isinstance(spec, SignalSpec):
        return ()
    rows = {channel.name: row for row, channel in enumerate(spec.channels)}
    return tuple(
        InputPart(one, tuple(rows[name] for name in one.channels), spec.length) for one in spec.inputs
    )


@dataclass(frozen=True, slots=True)
class Feed:
    """How an engine gives its model a batch."""

    input: TensorSpec
    """Of the batch: the model's one input, or the windows that hold all."""
    tensors: tuple[TensorSpec, ...]
    """The model's inputs in its own order."""
    parts: tuple[InputPart, ...] = ()
    """Which parts of the batch they take, in that order; () where it is the one input."""

    def share_out(self, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The model's inputs by name, in its order, of a batch that ``to_input`` gave."""
        if not self.parts:
            return {self.input.name: batch}
        pairs = zip(self.parts, self.tensors, strict=True)
        return {part.name: to_input(part.take(batch), tensor) for part, tensor in pairs}


def make_feed(tensors: Sequence[TensorSpec], parts: Sequence[InputPart]) -> Feed:
    """How the inputs of a model are fed.

    Args:
        tensors: The model's inputs, in its order.
        parts: As the bundle says; () for a model with one input.

    Raises:
        PartMisfit: they do not fit each other.
        EngineError: without parts, the model has not one input.
    """
    if not parts:
        return Feed(require_one_input(tensors), tuple(tensors))
    named = {part.name: part for part in parts}
    _check_names([one.name for one in tensors], list(named))
    for one in tensors:
        _check_tensor(one, named[one.name])
    count, ordered = sum(len(part.rows) for part in parts), tuple(named[one.name] for one in tensors)
    whole = TensorSpec(WHOLE, "float", (_find_batch(tensors), count, parts[0].length))
    return Feed(whole, tuple(tensors), ordered)


def _find_batch(tensors: Sequence[TensorSpec]) -> int | None:
    """The fixed size of the batch axis; None: it is open."""
    fixed = sorted({one.shape[0] for one in tensors if one.shape[0] is not None})
    if len(fixed) > 1:
        found = f"the model's inputs take batches of {' and '.join(map(str, fixed))}"
        raise PartMisfit(found, "export them with one size, or an open one")
    return fixed[0] if fixed else None


def _check_names(found: Sequence[str], named: Sequence[str]) -> None:
    unnamed = ", ".join(sorted(set(found) - set(named)))
    unknown = ", ".join(sorted(set(named) - set(found)))
    changes = [f"name {unnamed} there with its channels"] if unnamed else []
    changes += [f"take {unknown} out of it"] if unknown else []
    if changes:
        words = f"{_KEY} names {', '.join(named)}, and the model's inputs are {', '.join(found)}"
        raise PartMisfit(words, " and ".join(changes))


def _check_tensor(tensor: TensorSpec, part: InputPart) -> None:
    if tensor.dtype not in INPUT_TYPES:
        raise PartMisfit(f"input {tensor.name} is {tensor.dtype}", "export it as float32, float16 or uint8")
    sizes = tensor.shape[1:]
    if len(sizes) == len(part.shape) and all(
        size in (None, own) for size, own in zip(sizes, part.shape, strict=True)
    ):
        return
    listed = ", ".join("any" if size is None else str(size) for size in sizes)
    found = f"input {tensor.name} gets {part.shape} ({part.said.layout}) but takes ({listed})"
    raise PartMisfit(found, _advise(sizes, part))


def _advise(sizes: Sequence[int | None], part: InputPart) -> str:
    """Which key to change, by the layout whose number of channels fits."""
    own, count = part.said.layout, len(part.rows)
    found = find_layout(sizes, count, own)
    if found is None:
        return "only inputs (N, C, T), (N, T, C) and (N, F) can be fed"
    layout, channels, length = found
    changes = [] if layout == own else [f"layout: {layout} for it under {_KEY}"]
    if channels not in (None, count):
        changes.append(f"{channels} channels for it under {_KEY} ({count} are there)")
    if length not in (None, part.length):
        changes.append(f"length: {length} under preprocess")
    return f"set {' and '.join(changes)}"
