"""From a verified bundle to one model's runtime. Called by ``app``."""

import hashlib
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from cronsim import CronSim

from calibration import model_files
from calibration.targets.base import ModelFiles
from edge_runtime.bundle.first_try import try_in_child
from edge_runtime.bundle.opening import engine_of
from edge_runtime.bundle.self_test import self_test
from edge_runtime.bundle.verify import Bundle, load_bundle
from edge_runtime.config import Config, DriftConfig
from edge_runtime.delivery import Delivery
from edge_runtime.drift_watch import DriftWatch
from edge_runtime.engine_slot import EngineSlot
from edge_runtime.engines.base import Engine, EngineSettings
from edge_runtime.engines.opening import open_engine
from edge_runtime.engines.threads import CpuBudget, Preference, ThreadPlan, choose_threads, cpu_budget
from edge_runtime.errors import BundleError, EngineError, StateError
from edge_runtime.generations import BuildEngine, Generations
from edge_runtime.job_process import JobProcess
from edge_runtime.known_states import Known
from edge_runtime.manifest import MANIFEST_FILE
from edge_runtime.model_runtime import ModelRuntime
from edge_runtime.pipeline import Pipeline, PipelineParts
from edge_runtime.postprocess import Postprocessor
from edge_runtime.preprocess import Preprocessor
from edge_runtime.recalibration import SideLoop
from edge_runtime.registry import Registry
from edge_runtime.rollout import Generation, Rollout
from edge_runtime.schedule import BatchPolicy, Schedule
from edge_runtime.shelf import Identity
from edge_runtime.side_loop_parts import SideLoopParts
from edge_runtime.workers import Crashes, InferenceWorker

log = structlog.get_logger()

NO_AGE_LIMIT_S = 1e9
_PRIORITIES = {"low": -1, "high": 1}
VERSION = re.compile(r"[1-9][0-9]{0,8}")


def find_bundle(root: Path, version: str | int) -> Path:
    """The folder of one version below a bundle's root, or the root itself when it is one.

    Raises:
        BundleError: there is none, or the disk does not let us look.
    """
    try:
        if (root / MANIFEST_FILE).is_file():
            return root
        folders = list(root.glob("*/")) if root.is_dir() else []
    except OSError as err:
        raise BundleError(
            root, f"cannot be read: {err.strerror}", "a bundle folder", "Check the path."
        ) from err
    found = {int(path.name): path for path in folders if VERSION.fullmatch(path.name)}
    if not found or (version != "latest" and version not in found):
        have = ", ".join(str(number) for number in sorted(found)) or "none"
        raise BundleError(root, f"versions there: {have}", f"version {version}", "Copy the bundle there.")
    return found[max(found) if version == "latest" else int(version)]


def open_model(config: Config, name: str, *, delivery: Delivery, crashes: Crashes) -> ModelRuntime:
    """Load, self-test and wire one model; nothing runs yet.

    Raises:
        BundleError: damaged, unsafe, or it does not do what it promises.
        EngineError: the engine refuses it.
        StateError: its state cannot be read or written.
    """
    model = config.models[name]
    bundle = load_bundle(find_bundle(config.bundle_root(name), model.version))
    plan = thread_plan(config, name, cpu_budget())
    preprocessor = Preprocessor(bundle.manifest.preprocess)
    settings = engine_settings(config, name)
    base_model = bundle.model_files  # kept: going back to the base must not depend on the disk
    try_in_child(bundle)
    base = engine_of(bundle, plan, settings, base_model)
    self_test(bundle, base)
    build = partial(_build_engine, bundle, base_model, plan, settings)
    registry = Registry.open(config.state_dir, name)
    rollout, engine = _restored(registry, bundle, build, base)
    slot = EngineSlot(rollout.active, engine)
    side_loop = _open_side_loop(config, name, bundle, build, registry, rollout, slot, delivery)
    parts = PipelineParts(
        device=config.device,
        model=name,
        preprocessor=preprocessor,
        schedule=Schedule(batch_policy(config, name), plan.workers),
        slot=slot,
        postprocessor=Postprocessor(bundle.manifest, bundle.labels),
        deliver=delivery.result,
        observer=side_loop,
        on_engine_error=lambda err: log.error("inference failed", model=name, reason=str(err)),
        clock=time.monotonic,
    )
    pipeline = Pipeline(parts)
    workers = tuple(
        InferenceWorker(
            f"infer-{name}-{i}", pipeline, crashes, plan.cpus_of(i) if settings.pin_threads else ()
        )
        for i in range(plan.workers)
    )
    return ModelRuntime(name, bundle, plan, pipeline, workers, side_loop)


def thread_plan(
    config: Config,
    name: str,
    budget: CpuBudget,
    *,
    preference: int | Preference | None = None,
    streams: int | None = None,
) -> ThreadPlan:
    """Threads of a model beside the other models of the configuration.

    Args:
        config: The configuration.
        name: The model.
        budget: CPU of this process.
        preference: Instead of the configured one.
        streams: Instead of the number of the model's cameras.
    """
    used = Counter(camera.model for camera in config.cameras.values() if camera.enabled)
    before = list(config.models)[: list(config.models).index(name)]
    return choose_threads(
        budget,
        used[name] if streams is None else streams,
        config.models[name].threads if preference is None else preference,
        other_streams=used.total() - used[name],
        streams_before=sum(used[other] for other in before),
    )


def batch_policy(config: Config, name: str) -> BatchPolicy:
    """The schedule's limits from the configuration."""
    model = config.models[name]
    return BatchPolicy(
        max_batch_size=model.batch.max_batch_size,
        max_queue_delay_s=model.batch.max_queue_delay_ms / 1000,
        max_age_s=NO_AGE_LIMIT_S if model.max_age_ms is None else model.max_age_ms / 1000,
        queue_limit=model.queue_frames,
        priorities={
            stream: _PRIORITIES[camera.priority]
            for stream, camera in config.cameras.items()
            if camera.model == name and camera.priority != "normal"
        },
    )


def engine_settings(config: Config, name: str) -> EngineSettings:
    """What the configuration says about the engine of a model."""
    engine = config.models[name].engine
    return EngineSettings(
        runtime=engine.runtime,
        devices=engine.devices,
        precision=engine.precision,
        pin_threads=engine.pin_threads,
        cache_dir=config.state_dir / "cache" / "openvino" if engine.cache else None,
        max_batch=config.models[name].batch.max_batch_size,
    )


def _build_engine(
    bundle: Bundle,
    base_model: ModelFiles,
    plan: ThreadPlan,
    settings: EngineSettings,
    patched: ModelFiles | None,
) -> Engine:
    """A warm engine for a patched model, or for the base (None)."""
    if patched is None:
        return engine_of(bundle, plan, settings, base_model)
    # A patched model is used once; what a device caches of it would never be read again.
    return engine_of(bundle, plan, replace(settings, cache_dir=None), patched)


def _restored(registry: Registry, bundle: Bundle, build: BuildEngine, base: Engine) -> tuple[Rollout, Engine]:
    """The generation that was active before the restart; the base when it cannot be restored."""
    rollout = registry.rollout(bundle.id)
    if rollout.active.patch is None:
        return rollout, base
    try:
        engine = build(registry.patched_model(rollout.active.patch))
    except (StateError, EngineError) as err:
        log.error("patch not restored, the base is used", bundle=bundle.id, reason=str(err))
        return Rollout(Generation(bundle.id)), base
    base.close()
    return rollout, engine


def _open_side_loop(
    config: Config,
    name: str,
    bundle: Bundle,
    build: BuildEngine,
    registry: Registry,
    rollout: Rollout,
    slot: EngineSlot,
    delivery: Delivery,
) -> SideLoop | None:
    if not config.models[name].recalibrate:
        return None
    generations = Generations(rollout, slot, registry, build)
    return SideLoop(
        SideLoopParts(
            model=name,
            bundle_path=bundle.path,
            generations=generations,
            registry=registry,
            settings=config.recalibration,
            drift=config.drift,
            identity=identity_of(bundle),
            open_watch=partial(_open_watch, bundle=bundle),
            next_due_wall_s=_next_due_wall_s,
            start_job=JobProcess.start,
            emit=delivery.event,
            clock=time.monotonic,
            wall_clock=time.time,
        )
    )


def identity_of(bundle: Bundle) -> Identity:
    """What a baseline must belong to, to be used with this bundle."""
    # Without defaults: a field that a later version adds must not make every baseline one of another preprocessing.
    spec = bundle.manifest.preprocess.model_dump_json(exclude_defaults=True).encode()
    return Identity(bundle.id, bundle.model_files.sha256, hashlib.sha256(spec).hexdigest()[:16])


def _open_watch(known: Known, probe_path: Path, drift: DriftConfig, *, bundle: Bundle) -> DriftWatch:
    """A probe is small and runs seldom: on one CPU thread, whatever the model runs on."""
    spec, alone = bundle.manifest.preprocess, ThreadPlan(1, 1, "probe")
    probe = open_engine(model_files.read(probe_path), bundle.manifest.format, spec.tensor_shape, alone)
    axis = 0 if spec.layout == "nchw" else 2
    return DriftWatch.open(known, probe, drift, np.random.default_rng(0), channel_axis=axis)


def _next_due_wall_s(schedule: str | None, after_wall_s: float) -> float | None:
    if schedule is None:
        return None
    local = datetime.fromtimestamp(after_wall_s).astimezone()
    return float(next(CronSim(schedule, local)).timestamp())
