"""From a verified bundle to its recalibration controller."""

import hashlib
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from calibration.targets import model_files
from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.patch_trial import PatchTrial
from edge_runtime.deployment.sample_views import make_view
from edge_runtime.deployment.version_rollout import VersionRollout
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.postprocess.healthy_threshold import HealthyThreshold, needs_healthy_scores
from edge_runtime.inference.specs import SignalSpec
from edge_runtime.messaging.events import Event, Fact
from edge_runtime.recalibration.context import Identity, ModelContext
from edge_runtime.recalibration.controller import RecalibrationController
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.job.process import JobProcess
from edge_runtime.recalibration.schedule import find_next_due_wall_s
from edge_runtime.system.local_zone import find_local_zone
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()


def make_controller(
    config: Config,
    name: str,
    bundle: Bundle,
    model_state: ModelState,
    deployment: Deployment,
    pipeline: Pipeline,
    versions: VersionRollout | None,
    emit: Callable[[Event], None],
    crashes: Crashes,
    threshold: HealthyThreshold,
) -> RecalibrationController:
    """The recalibration controller of one model, not started; its patches give way to newer ``versions``.

    ``threshold`` is drawn by it, from the baseline in use.
    """
    if config.recalibration.margin is not None:
        log.warning("recalibration.margin will go: use recalibration.strictness", model=name)

    def emit_fact(fact: Fact) -> None:
        emit(Event(time.time(), fact, name))

    trial = PatchTrial(
        name,
        pipeline,
        deployment,
        model_state.folder,
        crashes,
        view=make_view(bundle.manifest.preprocess),
        find_version=lambda: None if versions is None else versions.on_its_way,
    )
    spec = bundle.manifest.preprocess
    return RecalibrationController(
        ModelContext(
            name,
            bundle.path,
            identify_bundle(bundle),
            model_state,
            emit_fact,
            time.monotonic,
            time.time,
            spec.channel_axis,
            config.pictures,
            bundle.manifest.calibration.envelope,
            threshold if needs_healthy_scores(bundle.manifest.postprocess) else None,
            spec.length / spec.rate_hz if isinstance(spec, SignalSpec) else 0.0,
        ),
        config.recalibration,
        config.drift,
        deployment=deployment,
        watch=DriftWatch(partial(_open_probe, bundle=bundle), channel_axis=spec.channel_axis),
        start_job=JobProcess,
        next_due_wall_s=find_next_due_here,
        trial=trial,
        rollout=config.models[name].rollout,
        crashes=crashes,
    )


def identify_bundle(bundle: Bundle) -> Identity:
    """The bundle, model and preprocessing that a baseline must belong to."""
    preprocessing = hashlib.sha256(bundle.manifest.preprocess.preparation.encode()).hexdigest()[:16]
    return Identity(bundle.id, bundle.model_files.sha256, preprocessing, bundle.manifest.sha256)


def _open_probe(path: Path, *, bundle: Bundle) -> Engine:
    """A probe is small and runs seldom: on one CPU thread, whatever the model runs on."""
    shape, alone = bundle.manifest.preprocess.tensor_shape, ThreadPlan(1, 1, "probe")
    return open_engine(model_files.read(path), bundle.manifest.format, shape, alone)


def find_next_due_here(schedule: str | None, after_wall_s: float) -> float | None:
    """In the zone that the box has now."""
    return find_next_due_wall_s(schedule, after_wall_s, find_local_zone(os.environ))
