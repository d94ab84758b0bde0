"""OpenVINO behind the engine port: the only file of the daemon that imports openvino. Runs IR and ONNX files.

Precision is pinned: the default is bfloat16 on some CPUs, and the logits of EfficientNet-Lite0 differ by 0.6 there.
Each concurrent call has its own inference request; outputs are copied, because a request writes the next ones
over them. On a CPU each has its own compiled model too, with one stream: OpenVINO 2026.4 builds the streams of one
side by side, and int8 models with depthwise convolutions came out wrong in 1 to 12 of 12 compilations (by half of the
spread of their outputs, in every call; with one stream never). It costs 8 MiB a call of EfficientNet-Lite0, at the same
speed.

Threads are never bound to CPUs. OpenVINO has no option for the CPUs: its own pinning puts the threads of every model on
the same first CPUs (two models with a thread each on two cores: 150 calls/s instead of 340), keeping them apart
(``ENABLE_CPU_RESERVATION``) refuses a second model while the first one runs, and without pinning it still replaces a
caller's mask by the process's inside a call. A mask of the whole process (``CPUAffinity=`` of the unit) is kept.
"""

import io
import queue
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.frontend import FrontEndManager

from calibration.errors import ModelError
from calibration.targets.base import ModelFiles
from calibration.targets.int8_arithmetic import does_this_cpu_cut
from calibration.targets.openvino.int8_weights import IN_FLOAT, needs_float
from calibration.targets.safe_form.decide import SafeModel, make_safe
from edge_runtime.errors import EngineError, EngineMissing
from edge_runtime.inference.engines.base import EngineLibrary, EngineSettings, Outputs, TensorSpec
from edge_runtime.inference.engines.batches import (
    blank_input,
    require_batch_axis,
    run_in_parts,
    to_input,
    to_one_line,
)
from edge_runtime.inference.engines.parts import Feed, InputPart, make_feed
from edge_runtime.inference.engines.threads import ThreadPlan

_TYPES = {"f32": "float", "f16": "float16", "u8": "uint8"}
_PRECISION = "INFERENCE_PRECISION_HINT"
_FACTS = {_PRECISION: "precision", "NUM_STREAMS": "streams", "INFERENCE_NUM_THREADS": "threads"}
_FAILURES = (RuntimeError, ValueError, TypeError, MemoryError)


class OpenVinoEngine:
    """A compiled model and its inference requests."""

    def __init__(
        self,
        model: ModelFiles,
        threads: ThreadPlan,
        settings: EngineSettings,
        parts: Sequence[InputPart] = (),
    ) -> None:
        """Read and compile an IR (both files) or one ONNX file; nothing has run yet.

        ``parts`` are those of a model with several inputs.

        Raises:
            EngineError: not a model OpenVINO can run, no such device, or not the inputs that are fed.
        """
        core = openvino.Core()
        try:
            network = _read(core, make_safe(model))
        except ModelError as err:
            raise EngineError(str(err)) from err
        except _FAILURES as err:
            raise EngineError(f"OpenVINO cannot read the model: {to_one_line(err)}") from err
        self._feed = _make_feed(network, parts)
        if settings.max_batch == 1 and self._feed.input.shape[0] is None:
            network, self._feed = _for_single_inputs(network, self._feed)
        self.input = self._feed.input
        self.outputs = tuple(_output(output) for output in network.outputs)
        self._names = [spec.name for spec in self.outputs]
        device = choose_device(settings.devices, core.available_devices)
        self.library = EngineLibrary("openvino", openvino.__version__, tuple(core.available_devices))
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        devices, calls = _devices_of(device, core.available_devices), max(1, threads.workers)
        is_inexact = (
            any(_is_part(one, "CPU") for one in devices) and does_this_cpu_cut() and needs_float(network)
        )
        more = IN_FLOAT if is_inexact else {}
        if all(_is_part(one, "CPU") for one in devices):
            alone = replace(threads, workers=1)
            compiled = [_compile(core, network, device, alone, settings, more) for _ in range(calls)]
        else:
            compiled = [_compile(core, network, device, threads, settings, more)] * calls
        for one in compiled:
            self._idle.put(one.create_infer_request())
        self._is_open = True
        at_once = f", {calls} at once" if calls > 1 else ""
        unbound = ", not bound to CPUs" if settings.pin_threads else ""
        in_float = ", int8 layers in float: 8-bit weights and no VNNI" if is_inexact else ""
        self.runs_on = _runs_on(compiled[0], device) + at_once + unbound + in_float

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run one batch (N, ...); see :class:`edge_runtime.inference.engines.base.Engine`."""
        return run_in_parts(self._run, to_input(batch, self.input), self.input.shape[0])

    def warm_up(self) -> None:
        """Run every request once on zeros; a dynamic picture size is left to the first real frame."""
        blank = blank_input(self.input)
        if blank is not None:
            for _ in range(self._idle.qsize()):  # the queue hands them out in turn
                self.infer(blank)

    def close(self) -> None:
        """Free the model; calls after this raise EngineError."""
        self._is_open = False
        while not self._idle.empty():
            self._idle.get_nowait()

    def _run(self, value: NDArray[Any]) -> Outputs:
        if not self._is_open:
            raise EngineError("the engine is closed")
        given = list(self._feed.share_out(value).values())  # held until the request has run
        request = self._idle.get()
        try:
            for at, array in enumerate(given):
                request.set_input_tensor(at, openvino.Tensor(array, shared_memory=True))
            request.infer()
            outputs = {
                name: np.array(request.get_output_tensor(at).data) for at, name in enumerate(self._names)
            }
        except _FAILURES as err:
            raise EngineError(
                f"OpenVINO failed on a batch of shape {value.shape}: {to_one_line(err)}"
            ) from err
        finally:
            self._idle.put(request)
        return require_batch_axis(outputs, len(value))


def _read(core: Any, model: SafeModel) -> Any:
    """The network. ``read_model`` tries every reader that OpenVINO has, so ONNX goes to its own."""
    if model.format == "onnx":
        reader = FrontEndManager().load_by_framework("onnx")
        return reader.convert(reader.load(io.BytesIO(model.files.data)))
    return core.read_model(model.files.data, model.files.weights or b"")


def choose_device(wanted: Sequence[str], available: Sequence[str]) -> str:
    """The first of ``wanted`` that can be had: ``GPU``, ``GPU.1``, ``AUTO``, ``AUTO:GPU,CPU``, ``AUTO:-GPU``.

    Raises:
        EngineError: none of them can.
    """
    for device in wanted:
        if _devices_of(device, available):
            return device
    raise EngineMissing(
        f"no device of {', '.join(wanted)} for OpenVINO; this box has {', '.join(available)}. "
        "Install the device's driver, or write a fall-back behind it, such as [GPU, CPU]"
    )


def _devices_of(device: str, available: Sequence[str]) -> list[str]:
    """The devices of a name, or of the parts of a virtual one (less those with a minus); [] if one is missing."""
    virtual, _, inside = device.partition(":")
    names = [part.split("(")[0].strip() for part in inside.split(",")] if inside else [virtual]
    excluded = [name[1:] for name in names if name.startswith("-")]
    left = [one for one in available if not any(_is_part(one, name) for name in excluded)]
    named = [name for name in names if not name.startswith("-") and name != "AUTO"]
    found = [[one for one in left if _is_part(one, name)] for name in named] if named else [left]
    return [one for group in found for one in group] if all(found) else []


def _is_part(device: str, name: str) -> bool:
    """Whether ``name`` (GPU.1, or GPU for all of them) includes ``device`` (GPU.1)."""
    return device == name or device.split(".", maxsplit=1)[0] == name


def _for_single_inputs(network: Any, free: Feed) -> tuple[Any, Feed]:
    """The model with its free batch axis fixed to 1, where it can be; as it was where not.

    Up to a fifth faster, and safer: with a free axis OpenVINO 2026.4 answers single pictures of an int8 SSDLite wrongly
    (scores off by 0.69), and batches rightly.
    """
    fixed = network.clone()
    try:
        fixed.reshape(
            {
                at: [1, *(-1 if size is None else size for size in one.shape[1:])]
                for at, one in enumerate(free.tensors)
            }
        )
    except _FAILURES:  # something inside needs another number
        return network, free
    return fixed, _make_feed(fixed, free.parts)


def _compile(
    core: Any,
    network: Any,
    device: str,
    threads: ThreadPlan,
    settings: EngineSettings,
    of_the_cpu: Mapping[str, Any],
) -> Any:
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY" if threads.workers == 1 else "THROUGHPUT"}
    if settings.precision != "device":
        options[_PRECISION] = settings.precision
    if any(_is_part(one, "CPU") for one in _devices_of(device, core.available_devices)):
        options |= _on_the_cpu(device, threads, of_the_cpu)
    if settings.cache_dir is not None:
        options["CACHE_DIR"] = str(settings.cache_dir)
    try:
        return core.compile_model(network, device, options)
    except _FAILURES as err:
        raise EngineError(f"OpenVINO cannot compile the model for {device}: {to_one_line(err)}") from err


def _on_the_cpu(device: str, threads: ThreadPlan, more: Mapping[str, Any]) -> dict[str, Any]:
    """The plan as options; a virtual device hands them on to the CPU, which would otherwise take every core."""
    plan: dict[str, Any] = {
        "NUM_STREAMS": threads.workers,
        "INFERENCE_NUM_THREADS": threads.intra * threads.workers,
        "ENABLE_CPU_PINNING": False,
        **more,
    }
    if threads.is_big_only:  # else it spreads one call over P and E cores
        plan["SCHEDULING_CORE_TYPE"] = "PCORE_ONLY"
    is_virtual = device.partition(":")[0] in ("AUTO", "MULTI", "HETERO")  # BATCH takes them as they are
    return {"DEVICE_PROPERTIES": {"CPU": plan}} if is_virtual else plan


def _runs_on(compiled: Any, device: str) -> str:
    """Of a virtual device the facts are those of the devices behind it."""
    version = openvino.get_version().split("-")[0]
    executing = list(_property(compiled, "EXECUTION_DEVICES") or [device])
    behind = _property(compiled, "DEVICE_PROPERTIES") or {}
    of_each = [_facts(behind.get(one, {})) for one in executing]
    own = _facts({name: _property(compiled, name) for name in _FACTS})
    if own or not any(of_each):
        return ", ".join([f"openvino {version} {', '.join(executing)}", *own])
    described = "; ".join(", ".join([one, *facts]) for one, facts in zip(executing, of_each, strict=True))
    return f"openvino {version} {described}"


def _facts(properties: Mapping[str, Any]) -> list[str]:
    found = ((name, word, properties.get(name)) for name, word in _FACTS.items())
    return [
        f"{word} {value.get_type_name() if name == _PRECISION else value}"
        for name, word, value in found
        if value is not None
    ]


def _property(compiled: Any, name: str) -> Any:
    try:
        return compiled.get_property(name)
    except RuntimeError:  # not every device has it
        return None


def _make_feed(network: Any, parts: Sequence[InputPart]) -> Feed:
    wanted = {part.name for part in parts}
    return make_feed([_spec(one, _name_input(one, wanted)) for one in network.inputs], parts)


def _name_input(port: Any, wanted: AbstractSet[str]) -> str:
    """The name that is asked for where it has that one, for it may have several."""
    names = port.get_names()
    asked = sorted(names & wanted)
    return str(asked[0] if asked else port.get_any_name()) if names else "input"


def _output(output: Any) -> TensorSpec:
    """By the name of its Result node where the file uses that, else by the shortest of its names."""
    names = sorted(output.get_names(), key=lambda name: (len(name), name))
    result = str(output.get_node().get_friendly_name())
    return _spec(output, result if result in names or not names else str(names[0]))


def _spec(port: Any, name: str) -> TensorSpec:
    kind, partial = port.get_element_type().get_type_name(), port.get_partial_shape()
    shape = tuple(None if dim.is_dynamic else int(dim.get_length()) for dim in partial)
    return TensorSpec(name, _TYPES.get(kind, kind), shape)
