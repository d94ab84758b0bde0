"""The settings that ``tune`` compares, each with the thread plan that the daemon makes of it.

Pure but for the look whether a runtime is installed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from edge_runtime.inference.engines.base import EngineSettings
from edge_runtime.inference.engines.factory import place_threads
from edge_runtime.inference.engines.threads import Preference, ThreadPlan
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

    Args:
        model_format: Decides which runtimes can take the model.
        current: The threads as configured, ``auto`` without a configuration.
        settings: The engine as configured.
        plan_of: The plan the daemon would make.
        budget: Bounds the numbers of threads that are tried.
    """
    found: dict[tuple[str, int, int], EngineChoice] = {}
    for runtime in _runtimes(model_format, settings):
        there = _settings_for(runtime, model_format, settings)
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


def _runtimes(model_format: ModelFormat, settings: EngineSettings) -> Sequence[Runtime]:
    """Those that are installed, the one in use first (also when it is not: opening it says what is missing)."""
    fitting = RUNTIMES[model_format]
    used = fitting[0] if settings.runtime == "auto" else settings.runtime
    return [used, *(one for one in fitting if one != used and find_spec(one) is not None)]


def _settings_for(runtime: Runtime, model_format: ModelFormat, settings: EngineSettings) -> EngineSettings:
    """The configured ones for the runtime in use; another one gets the CPU, for its devices have other names."""
    used = RUNTIMES[model_format][0] if settings.runtime == "auto" else settings.runtime
    return settings if runtime == used else replace(settings, runtime=runtime, devices=("CPU",))
