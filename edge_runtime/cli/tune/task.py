"""The task of a tuning: a bundle alone, or a model as a configuration runs it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.cli.tune.engine_choices import EngineChoice, ThreadWish, list_engine_choices
from edge_runtime.config import Config, ModelConfig
from edge_runtime.deployment.open_bundle import (
    choose_model,
    find_bundle,
    find_engine_settings,
    load_model_bundle,
    make_engine_settings,
    plan_threads,
)
from edge_runtime.errors import ConfigError, Problem
from edge_runtime.inference.engines.threads import ThreadPlan, choose_threads
from edge_runtime.system.cpu_budget import CpuBudget


@dataclass(frozen=True, slots=True)
class TuneTask:
    """A bundle, how many streams it serves, and the ways to run it."""

    bundle: Bundle
    streams: int
    compared: tuple[EngineChoice, ...]
    """The setting in use is the first."""
    model: str | None
    """Its name in the configuration."""


def make_bundle_task(path: Path, streams: int | None, budget: CpuBudget) -> TuneTask:
    """A bundle by itself, one stream unless told otherwise; compared with the configuration's defaults.

    Raises:
        BundleError: it cannot be used.
    """
    bundle = load_bundle(find_bundle(path, "latest"))
    served = streams or 1
    plan_of = partial(choose_threads, budget, served)
    model = ModelConfig(bundle="bundle")  # a name that is never looked for
    compared = list_engine_choices(
        bundle.manifest.format, model.threads, make_engine_settings(model), plan_of, budget
    )
    return TuneTask(bundle, served, compared, None)


def make_config_task(
    config: Config,
    source: Path,
    model: str | None,
    bundle_path: Path | None,
    streams: int | None,
    budget: CpuBudget,
) -> TuneTask:
    """A model with the cameras it has in the configuration; compared with what is configured.

    Args:
        config: The configuration.
        source: Its file, for messages.
        model: Which model; None when there is one only.
        bundle_path: A bundle that must be the model's; None takes the model's.
        streams: Instead of the number of its cameras.
        budget: CPU of this process.

    Raises:
        ConfigError: no such model, or it has another bundle.
        BundleError: the bundle cannot be used.
    """
    name = choose_model(config, source, model)
    bundle = load_model_bundle(config, name)
    if bundle_path is not None and load_bundle(find_bundle(bundle_path, "latest")).id != bundle.id:
        problem = Problem(f"models.{name}.bundle", None, bundle.id, f"the bundle at {bundle_path}")
        raise ConfigError(str(source), (problem,))
    cameras = sum(camera.enabled and camera.model == name for camera in config.cameras.values())
    served = max(1, cameras) if streams is None else streams
    settings = find_engine_settings(config, name)

    def plan_of(wish: ThreadWish) -> ThreadPlan:
        return plan_threads(config, name, budget, preference=wish, streams=served)

    configured = config.models[name].threads
    compared = list_engine_choices(bundle.manifest.format, configured, settings, plan_of, budget)
    return TuneTask(bundle, served, compared, name)
