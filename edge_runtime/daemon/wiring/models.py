"""From a verified bundle to one model's runtime."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from cronsim import CronSim

from calibration.targets import model_files
from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.self_test import check_patched, self_test
from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config, DriftConfig
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.workers import InferenceWorker
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.deployment import BuildEngine, Deployment
from edge_runtime.deployment.model_state import ModelState, Patched
from edge_runtime.deployment.open_bundle import OpenedModel, name_model_in_errors, open_bundle
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.errors import BundleError, EngineError, StateError
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.pipeline import Pipeline, PipelineParts
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.preprocess import Preprocessor
from edge_runtime.inference.scheduler import BatchPolicy, BatchScheduler
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import Event, Fact
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.baselines.commands import BaselineCommands
from edge_runtime.recalibration.baselines.store import Identity
from edge_runtime.recalibration.controller import RecalibrationController
from edge_runtime.recalibration.drift.baseline_selector import KnownBaselines
from edge_runtime.recalibration.drift.monitor import LiveDriftMonitor
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.job.process import JobProcess
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.planner import TaskPlanner
from edge_runtime.recalibration.reference.live_reference_set import LiveReferenceSet
from edge_runtime.recalibration.results import TaskResults
from edge_runtime.recalibration.task_runner import JobPlace, TaskRunner
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()

NO_AGE_LIMIT_S = 1e9
_PRIORITIES = {"low": -1, "high": 1}


def open_model(config: Config, name: str, *, delivery: Delivery, crashes: Crashes) -> ModelRuntime:
    """Load, self-test and wire one model; nothing runs yet.

    Raises:
        BundleError: damaged, unsafe, or it does not do what it promises.
        EngineError: the engine refuses it.
        StateError: its state cannot be read or written.
    """
    with name_model_in_errors(config, name):
        opened = open_bundle(config, name)
        bundle, plan, build = opened.bundle, opened.plan, partial(build_engine, opened)
        for note in opened.notes:
            log.warning("model does not run as configured", model=name, reason=note)
        model_state = ModelState.open(config.state_dir, name)
        rollout, engine = _restore(model_state, bundle, build, opened.engine)
        slot = EngineSlot(rollout.active, engine)
        controller = None
        if config.models[name].recalibrate:
            deployment = Deployment(rollout, slot, model_state, build)
            controller = _make_controller(
                config, name, bundle, model_state, deployment, delivery.add_event, crashes
            )
        parts = PipelineParts(
            device=config.device,
            model=name,
            preprocessor=Preprocessor(bundle.manifest.preprocess),
            scheduler=BatchScheduler(make_batch_policy(config, name), plan.workers),
            slot=slot,
            postprocessor=Postprocessor(bundle.manifest, bundle.labels),
            deliver=delivery.add_result,
            observer=controller,
            on_engine_error=lambda err: log.error("inference failed", model=name, reason=str(err)),
            clock=time.monotonic,
        )
        pipeline = Pipeline(parts)
        workers = tuple(
            InferenceWorker(
                f"infer-{name}-{i}", pipeline, crashes, plan.cpus_of(i) if opened.settings.pin_threads else ()
            )
            for i in range(plan.workers)
        )
        return ModelRuntime(name, bundle, plan, pipeline, workers, controller, opened.notes)


def make_batch_policy(config: Config, name: str) -> BatchPolicy:
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


def build_engine(base: OpenedModel, patched: Patched | None) -> Engine:
    """A warm engine for a patched model, or for the base (None), that has passed its golden pictures.

    Asked each time: OpenVINO compiled one and the same model rightly at one time and wrongly at another.
    """
    if patched is None:
        engine = open_bundle_engine(base.bundle, base.plan, base.settings, base.model)
    else:  # used once: a cache of it would never be read again
        engine = open_bundle_engine(
            base.bundle, base.plan, replace(base.settings, cache_dir=None), patched.model
        )
    try:
        if patched is None:
            self_test(base.bundle, engine)
        elif patched.answers is not None:
            check_patched(base.bundle, engine, patched.answers)
    except (BundleError, EngineError):
        engine.close()
        raise
    return engine


def _restore(
    model_state: ModelState, bundle: Bundle, build: BuildEngine, base: Engine
) -> tuple[Rollout, Engine]:
    """The generation that was active before the restart; the base when it cannot be restored."""
    rollout = model_state.load_rollout(bundle.id)
    if rollout.active.patch is None:
        return rollout, base
    try:
        engine = build(model_state.read_patched(rollout.active.patch))
    except (StateError, EngineError) as err:
        log.error("patch not restored, the base is used", bundle=bundle.id, reason=str(err))
        return Rollout(Generation(bundle.id)), base
    base.close()
    return rollout, engine


def _make_controller(
    config: Config,
    name: str,
    bundle: Bundle,
    model_state: ModelState,
    deployment: Deployment,
    emit: Callable[[Event], None],
    crashes: Crashes,
) -> RecalibrationController:
    if config.recalibration.margin is not None:
        log.warning("recalibration.margin will go: use recalibration.strictness", model=name)
    settings, drift, clock, wall_clock = config.recalibration, config.drift, time.monotonic, time.time

    def emit_fact(fact: Fact) -> None:
        emit(Event(wall_clock(), fact, name))

    identity = identify_bundle(bundle)
    watch = DriftWatch(partial(_open_monitor, bundle=bundle))
    baselines = ActiveBaselines(model_state, identity, watch, drift, wall_clock)
    reference = LiveReferenceSet(
        model_state, bundle.id, settings.reference, drift.sample_every_s, clock, wall_clock
    )
    patch_policy = PatchPolicy(deployment, model_state, baselines, watch, emit_fact)
    planner = TaskPlanner(settings, _find_next_due_wall_s, wall_clock())
    place = JobPlace(name, bundle.path, identity, model_state)
    return RecalibrationController(
        name,
        settings,
        drift,
        deployment=deployment,
        watch=watch,
        baselines=baselines,
        commands=BaselineCommands(baselines, wall_clock),
        patch_policy=patch_policy,
        reference=reference,
        planner=planner,
        runner=TaskRunner(place, settings, drift, baselines, reference, JobProcess.start, clock, wall_clock),
        results=TaskResults(
            name, model_state, baselines, patch_policy, planner, reference, emit_fact, wall_clock
        ),
        clock=clock,
        wall_clock=wall_clock,
        crashes=crashes,
    )


def identify_bundle(bundle: Bundle) -> Identity:
    """The bundle, model and preprocessing that a baseline must belong to."""
    # Without defaults: a field that a later version adds must not make every baseline one of another preprocessing.
    spec = bundle.manifest.preprocess.model_dump_json(exclude_defaults=True).encode()
    return Identity(bundle.id, bundle.model_files.sha256, hashlib.sha256(spec).hexdigest()[:16])


def _open_monitor(
    known: KnownBaselines, probe_path: Path, drift: DriftConfig, *, bundle: Bundle
) -> LiveDriftMonitor:
    """A probe is small and runs seldom: on one CPU thread, whatever the model runs on."""
    spec, alone = bundle.manifest.preprocess, ThreadPlan(1, 1, "probe")
    probe = open_engine(model_files.read(probe_path), bundle.manifest.format, spec.tensor_shape, alone)
    axis = 0 if spec.layout == "nchw" else 2
    return LiveDriftMonitor.open(known, probe, drift, np.random.default_rng(0), channel_axis=axis)


def _find_next_due_wall_s(schedule: str | None, after_wall_s: float) -> float | None:
    if schedule is None:
        return None
    local = datetime.fromtimestamp(after_wall_s).astimezone()
    return float(next(CronSim(schedule, local)).timestamp())
