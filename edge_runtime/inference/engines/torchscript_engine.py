"""TorchScript behind the engine port: the only file of the daemon that imports torch, and only when a model needs it.

The usual mistakes are made impossible here: evaluation mode and inference mode always hold. The module is frozen and
put into channels-last order where its answers stay those of the file as it is: 0.6 to 0.7 of that one's time
(EfficientNet-Lite0, one thread; ``optimize_for_inference`` gained nothing more). The threads inside a call are set at
each call: torch keeps the number per calling thread, and two models in one process may differ.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibration.errors import ModelError
from calibration.targets.torchscript import program
from edge_runtime.errors import EngineError, EngineMismatch, EngineMissing
from edge_runtime.inference.engines.base import EngineLibrary, EngineSettings, Outputs, TensorSpec
from edge_runtime.inference.engines.batches import require_batch_axis, run_in_parts, to_input
from edge_runtime.inference.engines.parts import InputPart, make_feed
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.system.bfloat16 import does_this_cpu_multiply_bfloat16

_WARM_UP_RUNS = 3
"""The first two runs of a module profile it, the third runs what was compiled from that."""
_PARITY = 5e-3
"""What other kernels may change, for they add in another order: 1e-6 in float32, 1e-3 in TF32 (CUDA's default)."""
_AUTOCAST = {
    ("cuda", "f16"): torch.float16,
    ("cuda", "bf16"): torch.bfloat16,
    ("cpu", "bf16"): torch.bfloat16,
}
"""By device and precision. Without f16 on a CPU: EfficientNet-Lite0 takes 20 times as long on one that has AVX-512."""


class TorchScriptEngine:
    """A frozen module in evaluation mode."""

    def __init__(
        self,
        model: bytes,
        sample_shape: Sequence[int],
        threads: ThreadPlan,
        settings: EngineSettings,
        parts: Sequence[InputPart] = (),
    ) -> None:
        """Load, freeze and find out what the module answers.

        ``sample_shape`` is that of a prepared sample, without the batch axis: such files do not say it themselves.
        ``parts`` are those of a model with several inputs, by the names of the arguments of ``forward``.

        Raises:
            EngineError: not a module torch can run, no such device, or it does not take such samples.
        """
        self._threads = max(1, threads.intra)
        count = torch.cuda.device_count()
        self._device = choose_device(settings.devices, count)
        devices = ("CPU", *(f"CUDA:{number}" for number in range(count)))
        self.library = EngineLibrary("torch", torch.__version__, devices)
        self._autocast = _choose_autocast(self._device.type, settings.precision)
        try:
            module = program.load("model", model).to(self._device)
        except ModelError as err:
            raise EngineError(str(err)) from err
        self._feed = make_feed(_describe_inputs(module, sample_shape, parts), parts)
        zeros = self._to_tensors(np.zeros((1, *sample_shape), np.float32))
        with self._running():
            self._module, self._memory_format, is_frozen = _optimise(module, zeros)
            one = self._answer(zeros, 1)
        if not one:
            raise EngineError(
                "no output of the model is a tensor with a batch axis; wrap it so that forward gives some"
            )
        self._names = list(one)
        fixed = None if self._takes_two(zeros) else 1
        self.input = replace(self._feed.input, shape=(fixed, *sample_shape))
        self.outputs = tuple(TensorSpec(n, str(a.dtype), (fixed, *a.shape[1:])) for n, a in one.items())
        facts = [f"torch {torch.__version__} {self._device}", f"intra {self._threads}"]
        facts += [f"precision {settings.precision}"] * (self._autocast is not None)
        facts += ["frozen"] * is_frozen + ["channels last"] * (self._memory_format is not None)
        self.runs_on = ", ".join(facts)

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run one batch (N, ...); see :class:`edge_runtime.inference.engines.base.Engine`."""
        return run_in_parts(self._run, to_input(batch, self.input), self.input.shape[0])

    def warm_up(self) -> None:
        """Run on zeros until the executor has settled."""
        zeros = np.zeros((1, *(size or 1 for size in self.input.shape[1:])), np.float32)
        for _ in range(_WARM_UP_RUNS):
            self.infer(zeros)

    def close(self) -> None:
        """Free the model; calls after this raise EngineError."""
        self._module = None

    def _run(self, value: NDArray[Any]) -> Outputs:
        with self._running():
            outputs = self._answer(self._to_tensors(value), len(value))
        missing = [name for name in self._names if name not in outputs]
        if missing:
            raise EngineError(
                f"output {', '.join(missing)} has no batch axis of {len(value)}; export it with one"
            )
        return require_batch_axis({name: outputs[name] for name in self._names}, len(value))

    def _to_tensors(self, value: NDArray[Any]) -> list[torch.Tensor]:
        """The arguments of ``forward`` for a batch, in their order."""
        found = list[torch.Tensor]()
        for array in self._feed.share_out(value).values():
            # torch refuses to share read-only memory; what comes from a batch is never read-only
            x = torch.from_numpy(array if array.flags.writeable else array.copy())
            if self._device.type == "cuda":
                x = x.pin_memory().to(self._device, non_blocking=True)
            found.append(x)
        return found

    def _answer(self, given: Sequence[torch.Tensor], frames: int) -> Outputs:
        """The outputs by name, those of autocast in float32 as they are without it."""
        module = self._module
        if module is None:
            raise EngineError("the engine is closed")
        if self._memory_format is not None:
            given = [x.contiguous(memory_format=self._memory_format) for x in given]
        if self._autocast is None:
            return program.name_outputs(_on_cpu(module(*given)), frames)
        with torch.autocast(self._device.type, dtype=self._autocast):
            outputs = program.name_outputs(_on_cpu(module(*given)), frames)
        return {name: _widen(array) for name, array in outputs.items()}

    def _takes_two(self, zeros: Sequence[torch.Tensor]) -> bool:
        """Whether the batch axis is free: a traced module may have the size it was traced with built in."""
        try:
            with self._running():
                found = self._answer([torch.cat([x, x]) for x in zeros], 2)
        except EngineError:
            return False
        return all(name in found for name in self._names)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Inference mode, this engine's threads (torch keeps both per thread), and torch's errors translated."""
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode():
                yield
        except program.TORCH_FAILURES as err:  # torch's own traceback comes first, the reason last
            reason = str(err).strip().rsplit("\n", 1)[-1].strip()
            raise EngineError(f"torch failed: {reason[:500]}") from err


def _choose_autocast(device: str, precision: str) -> torch.dtype | None:
    is_emulated = device == "cpu" and not does_this_cpu_multiply_bfloat16()
    return None if is_emulated else _AUTOCAST.get((device, precision))


def choose_device(wanted: Sequence[str], cuda_devices: int) -> torch.device:
    """The first of ``wanted`` (CPU, CUDA, CUDA:1) that is there.

    Raises:
        EngineError: none of them is, or it is no device of torch's.
    """
    for name in wanted:
        family, _, index = name.lower().partition(":")
        if family not in ("cpu", "cuda") or not (index or "0").isdigit():
            raise EngineMismatch(
                f"device {name!r} for a TorchScript model; expected CPU, CUDA or CUDA:<number>"
            )
        if family == "cpu" or int(index or 0) < cuda_devices:
            return torch.device(name.lower())
    raise EngineMissing(
        f"no device of {', '.join(wanted)} for torch: it sees {cuda_devices} CUDA devices. "
        "Install its driver and a CUDA build of torch, or write a fall-back behind it, such as [CUDA, CPU]"
    )


def _describe_inputs(
    module: Any, sample_shape: Sequence[int], parts: Sequence[InputPart]
) -> list[TensorSpec]:
    """The inputs of a module: of several the arguments of ``forward`` without a default, of the shapes they are given.

    A module of one input is fed whatever its argument is called; one that needs more fails when it runs.
    """
    if not parts:
        return [TensorSpec("input", "float", (None, *sample_shape))]
    shapes = {part.name: part.shape for part in parts}
    arguments = module.forward.schema.arguments[1:]  # behind self
    needed = [one.name for one in arguments if one.name in shapes or not one.has_default_value()]
    return [TensorSpec(name, "float", (None, *shapes.get(name, ()))) for name in needed]


def _optimise(module: Any, zeros: Sequence[torch.Tensor]) -> tuple[Any, torch.memory_format | None, bool]:
    """The fastest form that answers as the file does: the module, the memory order it is fed in, whether it is frozen.

    A module may read memory as it lies (``as_strided``), and then answers something else in another order, without an
    error. So each form is compared with the file as it is, once, on noise: to zeros nearly all of them answer alike.
    """
    is_frozen_file = not hasattr(module, "training")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # at every step: TorchScript is
        try:
            frozen = module if is_frozen_file else torch.jit.freeze(module)
        except program.TORCH_FAILURES:  # a few constructs cannot be frozen
            frozen = module
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(x.shape, generator=generator).to(x.device) for x in zeros]
    try:
        expected = _outputs_of(module(*noise))
    except program.TORCH_FAILURES:  # it refuses noise: nothing to compare by
        return module, None, is_frozen_file
    is_frozen = is_frozen_file or frozen is not module
    if all(x.ndim == 4 for x in zeros) and _answers_alike(frozen, noise, torch.channels_last, expected):
        return frozen, torch.channels_last, is_frozen
    if frozen is module or _answers_alike(frozen, noise, torch.contiguous_format, expected):
        return frozen, None, is_frozen
    return module, None, False


def _answers_alike(
    module: Any, given: Sequence[torch.Tensor], order: torch.memory_format, expected: dict[str, NDArray[Any]]
) -> bool:
    try:
        found = _outputs_of(module(*(x.contiguous(memory_format=order) for x in given)))
    except program.TORCH_FAILURES:  # a view of a tensor in plain order, for one
        return False
    return found.keys() == expected.keys() and all(
        _is_close(found[name], expected[name], _PARITY) for name in expected
    )


def _outputs_of(answer: Any) -> dict[str, NDArray[Any]]:
    return program.name_outputs(_on_cpu(answer), 1)


def _is_close(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> bool:
    """Whether two answers to one picture differ by at most ``tolerance``, RMS over that of the expected one."""
    if found.shape != expected.shape:
        return False
    a, b = found.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))  # infinities too
    error = np.where(same, 0.0, a - b)
    allowed = tolerance * np.sqrt(np.mean(np.square(b[np.isfinite(b)]))) if np.isfinite(b).any() else 0.0
    return bool(same.all() or np.sqrt(np.mean(np.square(error))) <= allowed)


def _widen(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _on_cpu(answer: Any) -> Any:
    match answer:
        case torch.Tensor():
            return answer.cpu()
        case Mapping():
            return {key: _on_cpu(value) for key, value in answer.items()}
        case list() | tuple():
            return [_on_cpu(value) for value in answer]
        case _:
            return answer
