"""From the configuration to one model's verified bundle and its warm, self-tested engine.

Every model passes these checks, in this order, before it sees a frame:

1. :func:`find_bundle` chooses the folder of the version.
2. ``bundles.verify.load_bundle`` checks the manifest and the SHA-256 of every file within a limit of size, and walks
   an ONNX file with a parser of ours: depth, no external data. Nothing of the model has run yet.
3. ``bundles.sandbox_check.check_in_sandbox`` opens a TorchScript file, which is a program, in a child process with
   limits. Other formats hold no code and skip this.
4. ``bundles.engine.open_bundle_engine`` hands the very bytes that were verified to the engine, which warms up.
5. ``bundles.self_test.self_test`` checks the input, then the answers to the golden pictures: repeated, in a batch,
   against the golden outputs, and as the postprocessing reads them.

``bundle verify`` and ``infer`` take the same steps without a configuration. A patched model skips
2 and 3 (its hash is in its report) and ends with ``self_test.check_patched`` instead of 5.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from calibration.targets.base import ModelFiles
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.manifest import MANIFEST_FILE
from edge_runtime.bundles.sandbox_check import check_in_sandbox
from edge_runtime.bundles.self_test import self_test
from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.config import Config, ModelConfig
from edge_runtime.errors import BundleError, ConfigError, EdgeRuntimeError, Problem
from edge_runtime.inference.engines.base import Engine, EngineSettings, close_on_error
from edge_runtime.inference.engines.factory import place_threads
from edge_runtime.inference.engines.threads import Preference, ThreadPlan, choose_threads
from edge_runtime.system.cpu_budget import CpuBudget, cpu_budget

VERSION = re.compile(r"[1-9][0-9]{0,8}")
_VIRTUAL = ("AUTO", "HETERO", "MULTI", "BATCH")
"""Devices of OpenVINO that are there everywhere and name others."""
_OTHER_NAMES = {"directml": "dml"}


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model as its bundle holds it, ready to answer."""

    bundle: Bundle
    model: ModelFiles
    """The bundle's model; kept, because going back to the base must not depend on the disk."""
    plan: ThreadPlan
    settings: EngineSettings
    engine: Engine
    self_test_difference: float | None = None
    """Largest difference from a golden output; None: not tested."""
    notes: tuple[str, ...] = ()
    """Settings of the configuration that have no effect, and a fall-back that was taken."""


@contextmanager
def name_model_in_errors(config: Config, name: str) -> Iterator[None]:
    """Add the model's key and its line in the file to every error that is raised inside."""
    try:
        yield
    except EdgeRuntimeError as err:
        err.where, err.line = f"models.{name}", config.line_of("models", name)
        raise


def open_bundle(config: Config, name: str) -> OpenedModel:
    """Verify a model's bundle, open its engine and test it; the steps are those of the module's text.

    Raises:
        BundleError: the bundle is damaged or unsafe, or the model does not give the golden answers.
        EngineError: the engine refuses it.
    """
    with name_model_in_errors(config, name):
        bundle = load_model_bundle(config, name)
        settings, budget = find_engine_settings(config, name), cpu_budget()
        plan = place_threads(plan_threads(config, name, budget), bundle.manifest.format, settings)
        model = bundle.model_files
        check_in_sandbox(bundle)
        engine = open_bundle_engine(bundle, plan, settings, model)
        with close_on_error(engine):
            tested = self_test(bundle, engine)
            notes = find_engine_notes(config.models[name], engine, plan, budget)
        return OpenedModel(bundle, model, plan, settings, engine, tested.worst, notes)


def load_model_bundle(config: Config, name: str) -> Bundle:
    """The verified bundle of a model.

    Raises:
        BundleError: there is none, or it is not as its manifest says.
    """
    return load_bundle(find_bundle(config.bundle_root(name), config.models[name].version))


def find_bundle(root: Path, version: str | int) -> Path:
    """The folder of one version below a bundle's root, or the root itself when it is one.

    Raises:
        BundleError: there is none, or the disk does not let us look.
    """
    try:
        if (root / MANIFEST_FILE).is_file():
            return root
        if not root.exists():
            fix = "Copy the bundle there, or correct the path or the name."
            raise BundleError(root, "this folder does not exist", "the folder of a bundle", fix)
        folders = list(root.glob("*/")) if root.is_dir() else []
    except OSError as err:
        found_instead = f"cannot be read: {err.strerror}"
        raise BundleError(root, found_instead, "a bundle folder", "Check the path.") from err
    found = {int(path.name): path for path in folders if VERSION.fullmatch(path.name)}
    if not found or (version != "latest" and version not in found):
        have = ", ".join(str(number) for number in sorted(found)) or "none"
        raise BundleError(root, f"versions there: {have}", f"version {version}", "Copy that version there.")
    return found[max(found) if version == "latest" else int(version)]


def plan_threads(
    config: Config,
    name: str,
    budget: CpuBudget,
    *,
    preference: int | Preference | None = None,
    streams: int | None = None,
) -> ThreadPlan:
    """Plan the threads of a model that shares the box with the other models of the configuration.

    ``preference`` is instead of the configured one, ``streams`` instead of the number of the model's cameras.
    """
    used = count_streams(config)
    before = list(config.models)[: list(config.models).index(name)]
    return choose_threads(
        budget,
        used[name] if streams is None else streams,
        config.models[name].threads if preference is None else preference,
        other_streams=used.total() - used[name],
        streams_before=sum(used[other] for other in before),
    )


def count_streams(config: Config) -> Counter[str]:
    """Enabled cameras by model."""
    return Counter(camera.model for camera in config.cameras.values() if camera.enabled)


def find_engine_settings(config: Config, name: str) -> EngineSettings:
    """The settings of a model's engine; its cache is in the state directory."""
    return make_engine_settings(config.models[name], config.state_dir / "cache" / "openvino")


def make_engine_settings(model: ModelConfig, cache_dir: Path | None = None) -> EngineSettings:
    """The settings of a model's engine; ``cache_dir`` is used if ``engine.cache`` is on."""
    engine = model.engine
    return EngineSettings(
        runtime=engine.runtime,
        devices=engine.devices,
        precision=engine.precision,
        pin_threads=engine.pin_threads,
        cache_dir=cache_dir if engine.cache else None,
        max_batch=model.batch.max_batch_size,
    )


def choose_model(config: Config, source: Path, wanted: str | None) -> str:
    """The model of a command: the named one, or the only one.

    Raises:
        ConfigError: there is no such model, or there are several.
    """
    names = ", ".join(config.models)
    if wanted is None and len(config.models) == 1:
        return next(iter(config.models))
    if wanted is None or wanted not in config.models:
        found = "no model named" if wanted is None else f"no model {wanted!r}"
        raise ConfigError(str(source), (Problem("models", None, found, f"--model with one of: {names}"),))
    return wanted


def find_engine_notes(
    model: ModelConfig, engine: Engine, plan: ThreadPlan, budget: CpuBudget
) -> tuple[str, ...]:
    """Settings without effect on this box and fall-backs that were taken: none is an error; a sentence for each."""
    runtime = engine.runs_on.partition(" ")[0]
    return (
        *_check_device(model, engine.runs_on),
        *_check_precision(model, runtime, engine.runs_on),
        *_check_rest(model, runtime, engine, plan, budget),
    )


def _check_device(model: ModelConfig, runs_on: str) -> Iterator[str]:
    if len(model.engine.devices) == 1:
        return
    used = next((device for device in model.engine.devices if is_on(device, runs_on)), "another device")
    if used != (first := model.engine.devices[0]):
        yield f"engine.devices: {first} is not there, its fall-back {used} is used"


def is_on(device: str, runs_on: str) -> bool:
    """Whether an engine's words say that it runs on a device: ``GPU.1``, ``CUDA:0``, ``AUTO:GPU,CPU`` (on any)."""
    family = re.split(r"[.:(]", device)[0]
    if family in _VIRTUAL:
        return True
    name = _OTHER_NAMES.get(family.lower(), family.lower())
    return name in re.split(r"[^a-z0-9]+", runs_on.lower())


def _check_precision(model: ModelConfig, runtime: str, runs_on: str) -> Iterator[str]:
    wanted = model.engine.precision
    if wanted not in ("f16", "bf16"):
        return
    if runtime == "openvino":
        if f"precision {wanted}" not in runs_on:
            yield f"engine.precision: {wanted} is not what this device calculates in"
    elif not (runtime == "torch" and wanted == "f16" and is_on("CUDA", runs_on)):
        yield f"engine.precision: {wanted} has no effect with {runtime}{' here' if runtime == 'torch' else ''}"


def _check_rest(
    model: ModelConfig, runtime: str, engine: Engine, plan: ThreadPlan, budget: CpuBudget
) -> Iterator[str]:
    if model.engine.cache and runtime != "openvino":
        yield f"engine.cache: has no effect with {runtime}, only with openvino"
    if model.engine.pin_threads and runtime == "openvino":
        yield "engine.pin_threads: has no effect with openvino, which places its threads itself"
    if plan.intra > budget.most_threads:
        yield f"threads: {plan.intra} in a call on {budget.cores:g} CPU(s): they wait for each other ({budget.source})"
    most = model.batch.max_batch_size
    if most > 1 and engine.input.shape[0] == 1:
        yield f"batch.max_batch_size: {most} saves nothing: the model takes one picture a call, they run one by one"
