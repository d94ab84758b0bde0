"""The settings that ``tune`` compares, each with the thread plan that the daemon makes of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from edge_runtime.bundles.verify import Bundle, load_bundle
from edge_runtime.config import Config, ModelConfig
from edge_runtime.deployment.open_bundle import (
    choose_model,
    count_streams,
    find_engine_settings,
    load_model_bundle,
    make_engine_settings,
    plan_threads,
)
from edge_runtime.deployment.versions import find_bundle
from edge_runtime.errors import ConfigError, Problem
from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.inference.engines.factory import place_threads
from edge_runtime.inference.engines.threads import Preference, ThreadPlan, choose_threads
from edge_runtime.system.cpu_budget import CpuBudget
from edge_runtime.system.model_formats import RUNTIMES, ModelFormat, Runtime

ThreadWish = int | Preference
PlanOf = Callable[[ThreadWish], ThreadPlan]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """One way to run the model."""

    runtime: Runtime
    threads: ThreadWish
    """The value of ``threads`` in the configuration."""
    plan: ThreadPlan
    settings: EngineSettings

    def __str__(self) -> str:
        return f"{self.runtime}, threads: {self.threads} ({self.plan.intra} x {self.plan.workers})"


def list_engine_choices(
    model_format: ModelFormat,
    current: ThreadWish,
    settings: EngineSettings,
    plan_of: PlanOf,
    budget: CpuBudget,
) -> tuple[EngineChoice, ...]:
    """List the settings worth measuring; the current one is the first.

    Settings that come to the same plan on this box are one candidate, under the current or else the most general name.

    ``current`` and ``settings`` are threads and engine as configured; ``plan_of`` gives the plan the daemon would make.
    """
    found: dict[tuple[str, int, int], EngineChoice] = {}
    used = RUNTIMES[model_format][0] if settings.runtime == "auto" else settings.runtime
    for runtime in (used, *(one for one in RUNTIMES[model_format] if one != used and find_spec(one))):
        # another one gets the CPU, for its devices have other names
        there = settings if runtime == used else replace(settings, runtime=runtime, devices=("CPU",))
        for threads in (current, "auto", "latency", "throughput", *thread_counts(budget)):
            plan = place_threads(plan_of(threads), model_format, there)
            key = (runtime, plan.intra, plan.workers)
            found.setdefault(key, EngineChoice(runtime, threads, plan, there))
    return tuple(found.values())


def thread_counts(budget: CpuBudget) -> tuple[int, ...]:
    """Threads for one call that may pay: powers of two, all strong cores, all cores, all their threads.

    The last two are what the plan does not choose by itself; only a measurement can say that they pay.
    """
    topology = budget.topology
    powers = [2**exponent for exponent in range(budget.most_threads.bit_length())]
    whole = [len(topology.big), len(topology.cores), budget.affinity]
    return tuple(sorted({count for count in (*powers, *whole) if count <= budget.most_threads}))


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
    """A bundle by itself, one stream unless ``streams`` says otherwise; compared with the configuration's defaults.

    Raises:
        BundleError: it cannot be used.
    """
    bundle = load_bundle(find_bundle(path, "latest"))
    served = streams or 1
    model = ModelConfig(bundle="bundle")  # a name that is never looked for
    settings, plan_of = make_engine_settings(model), partial(choose_threads, budget, served)
    compared = list_engine_choices(bundle.manifest.format, model.threads, settings, plan_of, budget)
    return TuneTask(bundle, served, compared, None)


def make_config_task(
    config: Config,
    source: Path,
    model: str | None,
    bundle_path: Path | None,
    streams: int | None,
    budget: CpuBudget,
) -> TuneTask:
    """A model (None: the only one) with its cameras, or so many streams; compared with what is configured.

    ``source`` is the file of the configuration, for messages; a bundle that is given must be the model's.

    Raises:
        ConfigError: no such model, or it has another bundle.
        BundleError: the bundle cannot be used.
    """
    name = choose_model(config, source, model)
    bundle = load_model_bundle(config, name)
    if bundle_path is not None and load_bundle(find_bundle(bundle_path, "latest")).id != bundle.id:
        problem = Problem(f"models.{name}.bundle", None, bundle.id, f"the bundle at {bundle_path}")
        raise ConfigError(str(source), (problem,))
    served = max(1, count_streams(config)[name]) if streams is None else streams
    settings = find_engine_settings(config, name)

    def plan_of(wish: ThreadWish) -> ThreadPlan:
        return plan_threads(config, name, budget, preference=wish, streams=served)

    configured = config.models[name].threads
    compared = list_engine_choices(bundle.manifest.format, configured, settings, plan_of, budget)
    return TuneTask(bundle, served, compared, name)
