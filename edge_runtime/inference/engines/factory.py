"""From a model's files to a warm engine: the one place that knows which engine a format gets.

Frameworks are imported only when a model asks for them: torch alone takes 1.4 s and 218 MiB.
"""

import importlib
from collections.abc import Sequence
from dataclasses import replace

from calibration.targets.base import ModelFiles
from edge_runtime.errors import EngineMismatch, EngineMissing
from edge_runtime.inference.engines.base import Engine, EngineSettings, close_on_error
from edge_runtime.inference.engines.parts import InputPart
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.system.model_formats import RUNTIMES, ModelFormat, Runtime

DEFAULTS = EngineSettings()


def place_threads(plan: ThreadPlan, model_format: ModelFormat, settings: EngineSettings) -> ThreadPlan:
    """The plan as its runtime keeps it: one for OpenVINO, which places its threads itself, names no CPUs.

    Measured (2026.4): its stream threads are its own, and a caller's mask is replaced while it is inside a call.
    """
    if choose_runtime(model_format, settings) != "openvino":
        return plan
    note = "; not bound: OpenVINO places its threads itself" if settings.pin_threads else ""
    return replace(plan, cpus=(), why=plan.why + note)


def open_engine(
    model: ModelFiles,
    model_format: ModelFormat,
    sample_shape: Sequence[int],
    threads: ThreadPlan,
    settings: EngineSettings = DEFAULTS,
    parts: Sequence[InputPart] = (),
) -> Engine:
    """A warm engine for samples of ``sample_shape``, which has no batch axis.

    ``parts`` says which parts of a sample the inputs of a model with several take.

    Raises:
        EngineError: the runtime refuses the model, is not installed, does not fit the format, or has no such device;
            or ``parts`` are not those of the model.
    """
    runtime = choose_runtime(model_format, settings)
    _require_library(runtime, model_format)
    engine = _build(runtime, model, sample_shape, threads, settings, parts)
    with close_on_error(engine):
        engine.warm_up()
    return engine


def choose_runtime(model_format: ModelFormat, settings: EngineSettings) -> Runtime:
    """The runtime for a format: the configured one, or the first that can run it.

    Raises:
        EngineMismatch: the configured one cannot.
    """
    fitting = RUNTIMES[model_format]
    if settings.runtime == "auto":
        return fitting[0]
    if settings.runtime not in fitting:
        raise EngineMismatch(
            f"runtime {settings.runtime} cannot run a model of format {model_format}; expected {' or '.join(fitting)}"
        )
    return settings.runtime


def _require_library(runtime: Runtime, model_format: ModelFormat) -> None:
    """Load the library of a runtime; one that was built for another system is as good as none.

    Raises:
        EngineMissing: it is not there or cannot be loaded.
    """
    extra = "edge-runtime" if runtime == "onnxruntime" else f"edge-runtime[{runtime}]"
    try:
        importlib.import_module(runtime)
    except ModuleNotFoundError as err:
        if err.name != runtime:
            raise EngineMissing(f"{runtime} cannot be loaded: {err}; pip install '{extra}'") from err
        found = f"the model is {model_format} and {runtime} is not installed"
        raise EngineMissing(f"{found}: pip install '{extra}'") from err
    except (ImportError, OSError) as err:
        raise EngineMissing(f"{runtime} cannot be loaded: {err}; see edge-runtime doctor") from err


def _build(
    runtime: Runtime,
    model: ModelFiles,
    sample_shape: Sequence[int],
    threads: ThreadPlan,
    settings: EngineSettings,
    parts: Sequence[InputPart],
) -> Engine:
    match runtime:
        case "openvino":
            from edge_runtime.inference.engines.openvino_engine import OpenVinoEngine

            return OpenVinoEngine(model, threads, settings, parts)
        case "torch":
            from edge_runtime.inference.engines.torchscript_engine import TorchScriptEngine

            return TorchScriptEngine(model.data, sample_shape, threads, settings, parts)
        case _:
            from edge_runtime.inference.engines.onnx_engine import OnnxEngine

            return OnnxEngine(model.data, threads, settings, parts)
