"""From a model that answers to the rollout of its newer versions."""

import time
from collections.abc import Callable

import structlog

from calibration.stats.heap import trim_heap
from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config
from edge_runtime.daemon.wiring.preprocessing import make_limited_preprocessor
from edge_runtime.daemon.wiring.recalibration import find_next_due_here
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.bundle_trust import find_trust
from edge_runtime.deployment.disagreements import Disagreements
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.deployment.open_bundle import open_newer
from edge_runtime.deployment.rollout_ports import RolloutPorts
from edge_runtime.deployment.sample_views import make_view
from edge_runtime.deployment.trial_run import Candidate
from edge_runtime.deployment.version_rollout import VersionRollout
from edge_runtime.deployment.versions import NewerVersions
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.postprocess.healthy_threshold import needs_healthy_scores
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.trial import Arm
from edge_runtime.messaging.events import Event
from edge_runtime.system.priority import low_priority
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()

NO_THRESHOLD = (
    "the candidate has no threshold of anomalies before it is active and commissioned: nothing that it answers is told "
    "as an anomaly"
)


def make_rollout(
    config: Config,
    name: str,
    active: Bundle,
    pipeline: Pipeline,
    model_state: ModelState,
    emit: Callable[[Event], None],
    crashes: Crashes,
    hand_over: Callable[[str], None],
    in_force: Callable[[], Config],
) -> VersionRollout:
    """The rollout of one model, not started; ``hand_over`` is called with its name when a version has passed.

    ``config`` is that which the model was opened with, ``in_force`` gives the one of now: an edit of its trust counts
    for the next version that is looked at.
    """
    plan = config.models[name].rollout
    assert plan is not None, "a model without a rollout has none"

    def config_of_now() -> Config:
        return config.model_copy(update={"trust": in_force().trust})

    def open_candidate(version: int, should_stop: Callable[[], bool]) -> Candidate:
        with low_priority():
            opened = open_newer(config_of_now(), name, version, should_stop, active.manifest.preprocess)
        for note in opened.notes:
            log.warning("candidate does not run as configured", model=name, version=version, reason=note)
        manifest = opened.bundle.manifest
        arm = Arm(
            make_limited_preprocessor(config, manifest.preprocess, crashes),
            EngineSlot(Generation(opened.bundle.id), opened.engine),
            Postprocessor(manifest, opened.bundle.labels),
        )
        trim_heap()
        disagreements = Disagreements(make_view(active.manifest.preprocess))
        is_prepared_alike = manifest.preprocess.preparation == active.manifest.preprocess.preparation
        missing = NO_THRESHOLD if needs_healthy_scores(manifest.postprocess) else None
        return Candidate(opened.bundle.id, manifest.sha256, arm, is_prepared_alike, missing, disagreements)

    newer = NewerVersions(config.bundle_root(name), lambda: find_trust(config_of_now(), name))
    return VersionRollout(
        name,
        plan,
        bundle=active.id,
        version=active.manifest.version,
        pipeline=pipeline,
        folder=model_state.folder,
        ports=RolloutPorts(
            find_newest=newer.find_newest,
            find_newer=newer.find_newer,
            find_problem=lambda: newer.problem,
            open_candidate=open_candidate,
            hand_over=lambda: hand_over(name),
            emit=lambda fact: emit(Event(time.time(), fact, name)),
            find_due_wall_s=find_next_due_here,
        ),
        crashes=crashes,
        keeps_pictures=config.recalibration.reference.pictures == "keep",
    )
