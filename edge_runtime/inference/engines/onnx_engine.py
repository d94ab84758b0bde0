"""ONNX Runtime behind the engine port: the only file of the daemon that imports onnxruntime.

One session is shared by all streams of a model: measured, two threads on one session with one thread inside each
call give 193 fps where a session each gives no more and costs twice the memory. Spinning is off: it spends 3.6
times the CPU at 10 fps for no latency a camera would notice. Concurrent calls share the session's threads: it gets as
many as the plan has, less the callers' own.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from calibration.errors import ModelError
from calibration.targets.int8_arithmetic import does_this_cpu_cut
from calibration.targets.onnx.int8_weights import EXACT_SUMS, needs_exact_sums
from calibration.targets.safe_form.decide import safe_onnx
from edge_runtime.errors import EngineError, EngineMissing
from edge_runtime.inference.engines.base import EngineLibrary, EngineSettings, Outputs, TensorSpec
from edge_runtime.inference.engines.batches import (
    blank_input,
    require_batch_axis,
    run_in_parts,
    to_input,
    to_one_line,
)
from edge_runtime.inference.engines.parts import InputPart, make_feed
from edge_runtime.inference.engines.threads import ThreadPlan

ORT_FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    MemoryError,
    ValueError,
    TypeError,
    *(kind for kind in vars(ort_errors).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)
_NO_DEVICES = ("Azure",)
"""Providers that compute elsewhere."""
_PROVIDER, _CPU = "ExecutionProvider", "CPUExecutionProvider"
_SPELLINGS = {
    "cpu": "CPU", "cuda": "CUDA", "tensorrt": "Tensorrt", "openvino": "OpenVINO", "xnnpack": "Xnnpack", "acl": "ACL",
    "armnn": "ArmNN", "directml": "Dml", "coreml": "CoreML", "qnn": "QNN", "rocm": "ROCM", "migraphx": "MIGraphX",
}  # fmt: skip
_ON_CPU, _ALONE = EngineSettings(), ThreadPlan(1, 1, "one call at a time")
_QUIET = 4  # fatal only: every failure reaches the caller as an exception with the same words


class OnnxEngine:
    """An ONNX model in memory."""

    def __init__(
        self,
        model: bytes,
        threads: ThreadPlan = _ALONE,
        settings: EngineSettings = _ON_CPU,
        parts: Sequence[InputPart] = (),
    ) -> None:
        """Build the session for a complete ONNX file; nothing has run yet.

        Weights in other files are not reachable from here. ``parts`` are those of a model with several inputs.

        Raises:
            EngineError: not a model ONNX Runtime can run, no such device, or not the inputs that are fed.
        """
        try:
            safe = safe_onnx(model).data
        except ModelError as err:
            raise EngineError(str(err)) from err
        options, is_exact = _options(threads, settings), does_this_cpu_cut() and needs_exact_sums(safe)
        if is_exact:
            options.add_session_config_entry(*EXACT_SUMS)
        self._session: Any = _session(safe, options, settings.devices)
        self._feed = make_feed([_spec(node) for node in self._session.get_inputs()], parts)
        self.input = self._feed.input
        self.outputs = tuple(_spec(node) for node in self._session.get_outputs())
        self._names = [node.name for node in self.outputs]
        found = (name.removesuffix(_PROVIDER) for name in onnxruntime.get_available_providers())
        devices = tuple(name for name in found if name not in _NO_DEVICES)
        self.library = EngineLibrary("onnxruntime", onnxruntime.__version__, devices)
        on = ", ".join(name.removesuffix(_PROVIDER) for name in self._session.get_providers())
        exact = ", exact int8 kernels: 8-bit weights and no VNNI" if is_exact else ""
        self.runs_on = (
            f"onnxruntime {onnxruntime.__version__} {on}, intra {threads.intra}, inter 1, no spinning{exact}"
        )

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run one batch (N, ...); see :class:`edge_runtime.inference.engines.base.Engine`."""
        return run_in_parts(self._run, to_input(batch, self.input), self.input.shape[0])

    def warm_up(self) -> None:
        """Run once on zeros; a dynamic picture size is left to the first real frame."""
        blank = blank_input(self.input)
        if blank is not None:
            self.infer(blank)

    def close(self) -> None:
        """Free the model; calls after this raise EngineError."""
        self._session = None

    def _run(self, value: NDArray[Any]) -> Outputs:
        session = self._session
        if session is None:
            raise EngineError("the engine is closed")
        try:
            arrays = session.run(self._names, self._feed.share_out(value))
        except ORT_FAILURES as err:
            raise EngineError(
                f"ONNX Runtime failed on a batch of shape {value.shape}: {to_one_line(err)}"
            ) from err
        return require_batch_axis(dict(zip(self._names, arrays, strict=True)), len(value))


def _options(plan: ThreadPlan, settings: EngineSettings) -> Any:
    options = onnxruntime.SessionOptions()
    own = plan.workers * (plan.intra - 1)  # every caller brings one thread more
    options.intra_op_num_threads = own + 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(
        "session.load_model_format", "ONNX"
    )  # by its bytes it may be of ORT's format
    options.log_severity_level = _QUIET
    if settings.pin_threads and own > 0:
        options.add_session_config_entry("session.intra_op_thread_affinities", _affinities(plan, own))
    return options


def _session(model: bytes, options: Any, devices: Sequence[str]) -> Any:
    """A session on the first of ``devices`` that is there and works.

    ONNX Runtime itself goes on with the CPU when a provider's libraries are missing, and only logs it: a box that was
    sold with an accelerator would run on its CPU for years. So the configured device is compared with the session's.
    Its Python session would also move to the CPU when a device is lost in the middle of a call, and print that.
    """
    known, problems = onnxruntime.get_available_providers(), list[str]()
    for device in devices:
        provider = provider_of(device)
        if provider not in known:
            problems.append(f"{device} is not in this onnxruntime")
            continue
        try:
            session = onnxruntime.InferenceSession(model, options, providers=[provider], enable_fallback=0)
        except ORT_FAILURES as err:
            if provider == _CPU:
                raise EngineError(f"ONNX Runtime refuses the model: {to_one_line(err)}") from err
            problems.append(f"{device}: {to_one_line(err)}")
            continue
        if provider in session.get_providers():
            return session
        problems.append(f"{device} does not start; its libraries or driver are missing")
    have = ", ".join(name.removesuffix(_PROVIDER) for name in known)
    raise EngineMissing(
        f"no device of {', '.join(devices)} for the model: {'; '.join(problems)}. It has {have}; "
        "install the onnxruntime package for the device, or write a fall-back behind it, such as [CUDA, CPU]"
    )


def provider_of(device: str) -> str:
    """The execution provider's name: CUDA is CUDAExecutionProvider, TensorRT TensorrtExecutionProvider."""
    return _SPELLINGS.get(device.lower(), device) + _PROVIDER


def _affinities(plan: ThreadPlan, own: int) -> str:
    """A CPU each for the ``own`` threads of the session, as ONNX Runtime writes it (CPUs count from 1).

    The first CPU of each worker is its caller's; without CPUs in the plan they are those this process may use.
    """
    cpus = plan.cpus or tuple(sorted(os.sched_getaffinity(0)))
    places = [
        cpus[(worker * plan.intra + i) % len(cpus)]
        for worker in range(plan.workers)
        for i in range(1, plan.intra)
    ]
    assert len(places) == own
    return ";".join(str(cpu + 1) for cpu in places)


def _spec(node: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return TensorSpec(node.name, node.type.removeprefix("tensor(").removesuffix(")"), shape)
