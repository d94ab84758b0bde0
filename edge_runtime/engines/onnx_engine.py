"""ONNX Runtime behind the engine port: the only file of the daemon that imports onnxruntime.

One session is shared by all streams of a model: measured, two threads on one session with one thread inside each
call give 193 fps where a session each gives no more and costs twice the memory. Spinning is off: it spends 3.6
times the CPU at 10 fps for no latency a camera would notice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edge_runtime.engines.base import Outputs, TensorSpec
from edge_runtime.engines.threads import ThreadPlan
from edge_runtime.errors import EngineError

_INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_ORT_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    TypeError,
    *(kind for kind in vars(ort_errors).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)
_QUIET = 4  # fatal only: every failure reaches the caller as an exception with the same words


class OnnxEngine:
    """An ONNX model in memory."""

    def __init__(
        self,
        model: bytes,
        threads: ThreadPlan | int = 1,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        """Build the session; nothing has run yet.

        Args:
            model: A complete ONNX file; weights in other files are not reachable from here.
            threads: Threads inside one call.
            providers: ONNX Runtime execution providers, best first.

        Raises:
            EngineError: not a model ONNX Runtime can run, or not one picture input.
        """
        self._intra = threads.intra if isinstance(threads, ThreadPlan) else threads
        try:
            self._session: Any = onnxruntime.InferenceSession(
                model, self._options(), providers=_available(providers)
            )
        except _ORT_FAILURES as err:
            raise EngineError(f"ONNX Runtime refuses the model: {_words(err)}") from err
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _INPUT_TYPES or len(inputs[0].shape) < 2:
            found = ", ".join(f"{node.name} {node.type} {node.shape}" for node in inputs) or "none"
            raise EngineError(
                f"model inputs: {found}; expected one float32, float16 or uint8 input with a batch axis"
            )
        self.input = _spec(inputs[0])
        self.outputs = tuple(_spec(node) for node in self._session.get_outputs())
        self._names = [node.name for node in self.outputs]
        self._dtype = _INPUT_TYPES[inputs[0].type]
        self._fixed_batch = self.input.shape[0]
        on = ", ".join(name.removesuffix("ExecutionProvider") for name in self._session.get_providers())
        self.runs_on = (
            f"onnxruntime {onnxruntime.__version__} {on}, intra {self._intra}, inter 1, no spinning"
        )

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run one batch (N, ...); see :class:`edge_runtime.engines.base.Engine`."""
        value = self._as_input(batch)
        if self._fixed_batch is None or self._fixed_batch == len(value):
            return self._run(value)
        parts = [
            self._padded_run(value[at : at + self._fixed_batch], self._fixed_batch)
            for at in range(0, len(value), self._fixed_batch)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._names}

    def warm_up(self) -> None:
        """Run once on zeros; a dynamic picture size is left to the first real frame."""
        shape = [1 if axis == 0 else size for axis, size in enumerate(self.input.shape)]
        if None not in shape:
            self.infer(np.zeros([size or 1 for size in shape], np.float32))

    def close(self) -> None:
        """Free the model; calls after this raise EngineError."""
        self._session = None

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._intra
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _QUIET
        return options

    def _live(self) -> Any:
        session = self._session
        if session is None:
            raise EngineError("the engine is closed")
        return session

    def _as_input(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        expected = self.input.shape
        is_fitting = batch.ndim == len(expected) and all(
            size in (None, actual) for size, actual in zip(expected[1:], batch.shape[1:], strict=True)
        )
        if not is_fitting or len(batch) == 0:
            raise EngineError(f"batch of shape {batch.shape}; the model takes {expected}")
        if self._dtype is np.uint8:
            return np.clip(np.rint(batch), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(batch, self._dtype)

    def _padded_run(self, part: NDArray[Any], size: int) -> Outputs:
        """Run at most ``size`` samples on a model with that fixed batch; the rest repeats the last one."""
        missing = size - len(part)
        full = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
        return {name: array[: len(part)] for name, array in self._run(full).items()}

    def _run(self, value: NDArray[Any]) -> Outputs:
        session = self._live()
        try:
            arrays = session.run(self._names, {self.input.name: value})
        except _ORT_FAILURES as err:
            raise EngineError(
                f"ONNX Runtime failed on a batch of shape {value.shape}: {_words(err)}"
            ) from err
        for name, array in zip(self._names, arrays, strict=True):
            if not isinstance(array, np.ndarray) or array.ndim < 1 or len(array) != len(value):
                raise EngineError(f"output {name} has no batch axis of {len(value)}; export it with one")
        return dict(zip(self._names, arrays, strict=True))


def _available(providers: Sequence[str]) -> list[str]:
    known = onnxruntime.get_available_providers()
    chosen = [name for name in providers if name in known]
    if not chosen:
        wanted = ", ".join(providers)
        raise EngineError(f"no execution provider of {wanted} in this onnxruntime; it has {', '.join(known)}")
    return chosen


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return TensorSpec(node.name, node.type.removeprefix("tensor(").removesuffix(")"), shape)


def _words(err: BaseException) -> str:
    return " ".join(str(err).split())[:500]
