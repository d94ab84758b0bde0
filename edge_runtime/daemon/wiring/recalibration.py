"""From a verified bundle to its recalibration controller."""

import hashlib
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
from cronsim import CronSim

from calibration.targets import model_files
from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config
from edge_runtime.deployment.deployment import Deployment
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.inference.engines.base import Engine
from edge_runtime.inference.engines.factory import open_engine
from edge_runtime.inference.engines.threads import ThreadPlan
from edge_runtime.messaging.events import Event, Fact
from edge_runtime.recalibration.baselines.active import ActiveBaselines
from edge_runtime.recalibration.baselines.commands import BaselineCommands
from edge_runtime.recalibration.baselines.store import Identity
from edge_runtime.recalibration.controller import RecalibrationController
from edge_runtime.recalibration.drift.watch import DriftWatch
from edge_runtime.recalibration.job.process import JobProcess
from edge_runtime.recalibration.patch_policy import PatchPolicy
from edge_runtime.recalibration.planner import TaskPlanner
from edge_runtime.recalibration.reference.live_reference_set import LiveReferenceSet
from edge_runtime.recalibration.results import TaskResults
from edge_runtime.recalibration.task_runner import JobPlace, TaskRunner
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()


def make_controller(
    config: Config,
    name: str,
    bundle: Bundle,
    model_state: ModelState,
    deployment: Deployment,
    emit: Callable[[Event], None],
    crashes: Crashes,
) -> RecalibrationController:
    """The recalibration controller of one model, not started."""
    if config.recalibration.margin is not None:
        log.warning("recalibration.margin will go: use recalibration.strictness", model=name)
    settings, drift, clock, wall_clock = config.recalibration, config.drift, time.monotonic, time.time

    def emit_fact(fact: Fact) -> None:
        emit(Event(wall_clock(), fact, name))

    identity = identify_bundle(bundle)
    channel_axis = 0 if bundle.manifest.preprocess.layout == "nchw" else 2
    watch = DriftWatch(partial(_open_probe, bundle=bundle), channel_axis=channel_axis)
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


def _open_probe(path: Path, *, bundle: Bundle) -> Engine:
    """A probe is small and runs seldom: on one CPU thread, whatever the model runs on."""
    shape, alone = bundle.manifest.preprocess.tensor_shape, ThreadPlan(1, 1, "probe")
    return open_engine(model_files.read(path), bundle.manifest.format, shape, alone)


def _find_next_due_wall_s(schedule: str | None, after_wall_s: float) -> float | None:
    if schedule is None:
        return None
    local = datetime.fromtimestamp(after_wall_s).astimezone()
    return float(next(CronSim(schedule, local)).timestamp())
