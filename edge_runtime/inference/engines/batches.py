"""The steps of every engine around one call: check the batch, give it the model's type, cut it for a fixed batch axis.

Pure numpy.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EngineError
from edge_runtime.inference.engines.base import Outputs, TensorSpec

INPUT_TYPES: dict[str, type[Any]] = {"float": np.float32, "float16": np.float16, "uint8": np.uint8}
"""Input dtypes by the name they have in a :class:`TensorSpec`."""


def require_one_input(specs: Sequence[TensorSpec]) -> TensorSpec:
    """The one input of a model.

    Raises:
        EngineError: there are more or none, or it is of another type.
    """
    if len(specs) != 1 or specs[0].dtype not in INPUT_TYPES or len(specs[0].shape) < 2:
        found = ", ".join(f"{spec.name} {spec.dtype} {spec.shape}" for spec in specs) or "none"
        raise EngineError(
            f"model inputs: {found}; expected one float32, float16 or uint8 input with a batch axis, or several "
            "of windows, named under preprocess.inputs"
        )
    return specs[0]


def blank_input(expected: TensorSpec) -> NDArray[np.float32] | None:
    """A batch of one input of zeros; None where the model leaves the size open to the first real frame."""
    sizes = [size for size in expected.shape[1:] if size is not None]
    return np.zeros((1, *sizes), np.float32) if len(sizes) == len(expected.shape) - 1 else None


def to_input(batch: NDArray[np.float32], expected: TensorSpec) -> NDArray[Any]:
    """The batch in the model's own type, contiguous; uint8 is rounded and kept within 0..255.

    Raises:
        EngineError: not of the model's shape, or empty.
    """
    is_fitting = batch.ndim == len(expected.shape) and all(
        size in (None, actual) for size, actual in zip(expected.shape[1:], batch.shape[1:], strict=True)
    )
    if not is_fitting or len(batch) == 0:
        raise EngineError(f"batch of shape {batch.shape}; the model takes {expected.shape}")
    if expected.dtype == "uint8":
        return np.ascontiguousarray(np.clip(np.rint(batch), 0, 255), np.uint8)
    return np.ascontiguousarray(batch, INPUT_TYPES[expected.dtype])


def run_in_parts(
    run: Callable[[NDArray[Any]], Outputs], value: NDArray[Any], fixed_batch: int | None
) -> Outputs:
    """Run ``value`` (N, ...) on a model that takes batches of exactly ``fixed_batch``; None takes any.

    The last part is filled up with its last sample, and what was answered to that is left out.

    Raises:
        EngineError: an output has another size for one part than for the other, as of models that answer until they
            are done.
    """
    if fixed_batch is None or fixed_batch == len(value):
        return run(value)
    parts = [
        _run_padded(run, value[at : at + fixed_batch], fixed_batch)
        for at in range(0, len(value), fixed_batch)
    ]
    return {name: _join(name, [part[name] for part in parts]) for name in parts[0]}


def require_batch_axis(outputs: Outputs, size: int) -> Outputs:
    """The outputs, if the first axis of each is the batch.

    Raises:
        EngineError: one is not.
    """
    for name, array in outputs.items():
        if not isinstance(array, np.ndarray) or array.ndim < 1 or len(array) != size:
            raise EngineError(f"output {name} has no batch axis of {size}; export it with one")
    return outputs


def to_one_line(err: BaseException) -> str:
    """The words of a runtime, short enough for a log."""
    return " ".join(str(err).split())[:500]


def _join(name: str, answers: list[NDArray[Any]]) -> NDArray[Any]:
    sizes = sorted({array.shape[1:] for array in answers})
    if len(sizes) > 1:
        raise EngineError(
            f"output {name} has the size {sizes[0]} for one input and {sizes[-1]} for another; expected one size for "
            "all. Export the model with outputs that are padded to a fixed size"
        )
    return np.concatenate(answers)


def _run_padded(run: Callable[[NDArray[Any]], Outputs], part: NDArray[Any], size: int) -> Outputs:
    missing = size - len(part)
    full = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
    return {name: array[: len(part)] for name, array in run(full).items()}
