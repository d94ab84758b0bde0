"""From a verified bundle to one model's runtime."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import structlog

from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.self_test import check_same_answers
from edge_runtime.bundles.signing.patches import open_patch_signer
from edge_runtime.bundles.verify import Bundle
from edge_runtime.config import Config
from edge_runtime.daemon.model_runtime import ModelRuntime, make_batch_policy
from edge_runtime.daemon.wiring.preprocessing import make_limited_preprocessor
from edge_runtime.daemon.wiring.recalibration import make_controller
from edge_runtime.daemon.wiring.rollout import make_rollout
from edge_runtime.daemon.workers import InferenceWorker
from edge_runtime.datatypes import Generation
from edge_runtime.deployment.answer_figures import AnswerFigures
from edge_runtime.deployment.audit import Audit
from edge_runtime.deployment.deployment import BuildEngine, Deployment
from edge_runtime.deployment.model_state import ModelState, Patched
from edge_runtime.deployment.open_bundle import (
    OpenedModel,
    name_model_in_errors,
    open_bundle,
)
from edge_runtime.deployment.rollout import Rollout
from edge_runtime.deployment.sample_views import make_view
from edge_runtime.deployment.start_record import has_rollout
from edge_runtime.errors import EngineError, StateError
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.engines.base import Engine, close_on_error
from edge_runtime.inference.frame_walk import FrameTrace
from edge_runtime.inference.listeners import AnswerTap
from edge_runtime.inference.pipeline import Pipeline
from edge_runtime.inference.postprocess.healthy_threshold import HealthyThreshold
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.scheduler import BatchScheduler
from edge_runtime.inference.specs import find_obstacle_to_recalibration, reads_input
from edge_runtime.messaging.delivery import Delivery
from edge_runtime.messaging.events import Event, StateDamaged, VersionSkipped
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()


def open_model(
    config: Config,
    name: str,
    should_stop: Callable[[], bool],
    *,
    delivery: Delivery,
    crashes: Crashes,
    hand_over: Callable[[str], None],
    in_force: Callable[[], Config],
    tap: AnswerTap | None = None,
    trace: FrameTrace | None = None,
) -> ModelRuntime:
    """Load, self-test and wire one model; nothing runs yet. ``should_stop`` is asked while that may take long.

    ``hand_over`` is called with its name when a newer version has passed its rollout and is to be opened like this.
    ``in_force`` gives the configuration of now, whenever that is. ``tap`` sees the answers, ``trace`` the way of
    each frame.

    Raises:
        BundleError: damaged, unsafe, or it does not do what it promises.
        OpeningStopped: ``should_stop`` said so.
        EngineError: the engine refuses it.
        StateError: its state cannot be read or written.
    """
    with name_model_in_errors(config, name), ExitStack() as on_error:
        opened = open_bundle(config, name, should_stop=should_stop)
        on_error.callback(opened.engine.close)
        bundle, plan, build = opened.bundle, opened.plan, partial(build_engine, opened)
        _warn(name, opened)
        signer = open_patch_signer(config.state_dir, config.trust)
        model_state = ModelState.open(config.state_dir, name, signer)
        rollout, engine = _restore(
            model_state,
            bundle,
            build,
            opened.engine,
            lambda fact: delivery.add_event(Event(time.time(), fact, name)),
        )
        on_error.callback(engine.close)
        slot = EngineSlot(rollout.active, engine)
        answers = AnswerFigures(_make_audit(config, name, bundle, model_state, crashes))
        threshold = HealthyThreshold(bundle.manifest.postprocess)
        pipeline = _make_pipeline(
            config, name, opened, slot, answers, tap, trace, delivery, crashes, threshold
        )
        versions = None
        if has_rollout(config, name):
            versions = make_rollout(
                config, name, bundle, pipeline, model_state, delivery.add_event, crashes, hand_over, in_force
            )
        controller = None
        if (
            config.models[name].recalibrate
            and find_obstacle_to_recalibration(bundle.manifest.preprocess) is None
        ):
            deployment = Deployment(rollout, slot, model_state, build)
            controller = make_controller(
                config,
                name,
                bundle,
                model_state,
                deployment,
                pipeline,
                versions,
                delivery.add_event,
                crashes,
                threshold,
            )
            pipeline.observer = controller
        on_error.pop_all()
        _tell_skipped(name, opened, delivery)
        return ModelRuntime(
            name,
            bundle,
            plan,
            pipeline,
            _make_workers(name, opened, pipeline, crashes),
            controller,
            opened.notes,
            opened.skipped,
            versions,
            answers,
            opened.untried,
            lambda: model_state.note_last_version(bundle.manifest.version),
        )


def _warn(name: str, opened: OpenedModel) -> None:
    """What is otherwise than it was configured goes into the log."""
    for note in opened.notes:
        log.warning("model does not run as configured", model=name, reason=note)
    if opened.protection is not None and opened.protection.problem is not None:
        log.warning("model opened with less protection", model=name, reason=opened.protection.problem)


def _tell_skipped(name: str, opened: OpenedModel, delivery: Delivery) -> None:
    """An event, where a newer version is there and another one was opened."""
    skipped = None if opened.skipped is None else opened.skipped.reason
    reasons = [one for one in (opened.untried, skipped, opened.held_back) if one is not None]
    if reasons:
        fact = VersionSkipped(opened.bundle.id, "; ".join(reasons))
        delivery.add_event(Event(time.time(), fact, name))


def _make_workers(
    name: str, opened: OpenedModel, pipeline: Pipeline, crashes: Crashes
) -> tuple[InferenceWorker, ...]:
    plan, is_pinned = opened.plan, opened.settings.pin_threads
    return tuple(
        InferenceWorker(f"infer-{name}-{i}", pipeline, crashes, plan.cpus_of(i) if is_pinned else ())
        for i in range(plan.workers)
    )


def _make_audit(
    config: Config, name: str, bundle: Bundle, model_state: ModelState, crashes: Crashes
) -> Audit | None:
    settings = config.models[name].audit
    if settings is None:
        return None
    return Audit(
        name,
        settings,
        model_state.folder,
        crashes,
        view=make_view(bundle.manifest.preprocess),
        keeps_pictures=config.recalibration.reference.pictures == "keep",
    )


def _make_pipeline(
    config: Config,
    name: str,
    opened: OpenedModel,
    slot: EngineSlot,
    answers: AnswerFigures,
    tap: AnswerTap | None,
    trace: FrameTrace | None,
    delivery: Delivery,
    crashes: Crashes,
    threshold: HealthyThreshold,
) -> Pipeline:
    bundle = opened.bundle
    return Pipeline(
        device=config.device,
        model=name,
        preprocessor=make_limited_preprocessor(config, bundle.manifest.preprocess, crashes),
        scheduler=BatchScheduler(make_batch_policy(config, name), opened.plan.workers),
        slot=slot,
        postprocessor=Postprocessor(bundle.manifest, bundle.labels, threshold.read),
        deliver=delivery.add_result,
        reject=delivery.add_rejection,
        observer=None,
        on_engine_error=lambda err: log.error("inference failed", model=name, reason=str(err)),
        clock=time.monotonic,
        answers=answers,
        tap=tap,
        trace=trace,
    )


def build_engine(base: OpenedModel, patched: Patched | None) -> Engine:
    """A warm engine for a patched model, or for the base (None), that answers the golden pictures as it did before.

    Nothing is read from the bundle's folder: the way back must work when that is damaged or gone.
    Tested each time: OpenVINO compiled one and the same model rightly at one time and wrongly at another.
    """
    settings, model, patch = base.settings, base.model, None
    if patched is not None and reads_input(base.bundle.manifest.postprocess):
        patch = patched.read_patch()
    if patched is not None:  # used once: a cache of it would never be read again
        settings, model = replace(settings, cache_dir=None), patched.model
    engine = open_bundle_engine(base.bundle, base.plan, settings, model, patch)
    with close_on_error(engine):
        answers = base.answers if patched is None else patched.answers
        if answers is not None:
            check_same_answers(base.bundle, engine, answers)
    return engine


def _restore(
    model_state: ModelState,
    bundle: Bundle,
    build: BuildEngine,
    base: Engine,
    say: Callable[[StateDamaged], None],
) -> tuple[Rollout, Engine]:
    """The generation that was active before the restart; the base when it cannot be restored."""
    try:
        rollout = model_state.load_rollout(bundle.id)
        if rollout.active.patch is None:
            return rollout, base
        engine = build(model_state.read_patched(rollout.active.patch))
    except (StateError, EngineError) as err:
        say(
            StateDamaged(
                str(model_state.active_path), "the active patch is not restored, the base answers", str(err)
            )
        )
        return Rollout(Generation(bundle.id)), base
    base.close()
    return rollout, engine
