"""One tuning: every candidate once, then the best of them against the setting in use, round by round.

The first pass opens one engine at a time, so that memory does not grow with the number of candidates; a candidate
that does not give the golden outputs is out. Only finalists are open together: their rounds are interleaved in an
order that turns, because a box grows hot and others use it.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_runtime.bundles.engine import open_bundle_engine
from edge_runtime.bundles.self_test import golden_sample, self_test
from edge_runtime.bundles.verify import Bundle
from edge_runtime.cli.tune.engine_choices import EngineChoice
from edge_runtime.cli.tune.timing import Round, TimedEngine
from edge_runtime.errors import BundleError, EngineError
from edge_runtime.inference.engines.base import close_on_error

Goal = Literal["latency", "throughput"]

ROUND_S = 0.4
FINALISTS = 4
MOST_ROUNDS = 15
FIRST_PASS_SHARE = 0.5
"""Of the time; what was not reached by then is named and left out."""

LEAST_ROUNDS = 5
"""With fewer, quartiles say nothing."""
LEAST_GAIN = 0.05
"""A setting other than the default must be looked after; a smaller gain is not worth it."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate, its rounds, and the problem that excluded it."""

    candidate: EngineChoice
    rounds: tuple[Round, ...] = ()
    """Those of the final; of the first pass when it did not get there; none with a ``problem``."""
    is_finalist: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of a tuning."""

    tried: tuple[Trial, ...]
    """All candidates; the setting in use is the first."""
    chosen: EngineChoice
    why: str
    took_s: float


def tune(
    bundle: Bundle,
    compared: Sequence[EngineChoice],
    streams: int,
    goal: Goal,
    time_limit_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    tell: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Measure ``compared``, of which the first is the setting in use, on the golden pictures of a verified bundle.

    It takes about ``time_limit_s`` seconds; a call that runs is not cut off. ``clock`` gives monotonic seconds.
    ``tell`` hears of each candidate and round before it begins.

    Raises:
        BundleError: the setting in use does not give the golden outputs.
        EngineError: it does not run.
    """
    began_s = clock()
    spec = bundle.manifest.preprocess
    samples = [golden_sample(bundle, golden, spec).tensor for golden in bundle.manifest.golden]
    bench = _Bench(bundle, samples, streams)
    tried = _first_pass(bench, compared, began_s + FIRST_PASS_SHARE * time_limit_s, clock, tell)
    others = [at for at, one in enumerate(tried) if at > 0 and one.rounds]
    others.sort(key=lambda at: find_cost_ms(tried[at].rounds[0], goal))
    finalists = [0, *others[: FINALISTS - 1]]
    rounds = _final(bench, [compared[at] for at in finalists], began_s + time_limit_s, clock, tell)
    best, why = decide([str(compared[at]) for at in finalists], rounds, goal)
    for at, series in zip(finalists, rounds, strict=True):
        tried[at] = Trial(compared[at], tuple(series), is_finalist=True)
    return Tuned(tuple(tried), compared[finalists[best]], why, clock() - began_s)


@dataclass(frozen=True, slots=True)
class _Bench:
    bundle: Bundle
    samples: list[NDArray[np.float32]]
    streams: int

    def open(self, candidate: EngineChoice, *, is_checked: bool) -> TimedEngine:
        """A warm engine that gives the golden outputs."""
        engine = open_bundle_engine(self.bundle, candidate.plan, candidate.settings)
        with close_on_error(engine):
            if not is_checked:
                self_test(self.bundle, engine)
        return TimedEngine(engine, candidate.plan, candidate.settings, self.samples, self.streams)


def _first_pass(
    bench: _Bench,
    compared: Sequence[EngineChoice],
    until_s: float,
    clock: Callable[[], float],
    tell: Callable[[str], None],
) -> list[Trial]:
    tried = []
    for at, candidate in enumerate(compared):
        if at > 0 and clock() >= until_s:
            tried.append(Trial(candidate, problem="not measured: no time left"))
            continue
        tell(f"candidate {at + 1} of {len(compared)}")
        try:
            with bench.open(candidate, is_checked=False) as timed:
                tried.append(Trial(candidate, (timed.round(ROUND_S),)))
        except (BundleError, EngineError) as err:
            if at == 0:
                raise
            tried.append(Trial(candidate, problem=str(err)))
    return tried


def _final(
    bench: _Bench,
    finalists: Sequence[EngineChoice],
    until_s: float,
    clock: Callable[[], float],
    tell: Callable[[str], None],
) -> list[list[Round]]:
    rounds: list[list[Round]] = [[] for _ in finalists]
    with ExitStack() as stack:
        timed = [stack.enter_context(bench.open(one, is_checked=True)) for one in finalists]
        for turn in range(MOST_ROUNDS):
            if turn > 0 and clock() >= until_s:
                break
            tell(f"final of {len(timed)}, round {turn + 1}")
            for step in range(len(timed)):
                at = (turn + step) % len(timed)
                rounds[at].append(timed[at].round(ROUND_S))
    return rounds


def find_quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median and upper quartile of one or more values."""
    return [float(found) for found in np.percentile(values, (25, 50, 75))]


def find_cost_ms(measured: Round, goal: Goal) -> float:
    """The time to minimise: to an answer, or of a frame flat out; milliseconds."""
    return measured.answer_ms if goal == "latency" else 1e3 / measured.frames_per_s


def decide(names: Sequence[str], rounds: Sequence[Sequence[Round]], goal: Goal) -> tuple[int, str]:
    """The index of the candidate to use, and why; the first is the one in use.

    Rounds were interleaved: round i of one and of another saw the same box. The setting in use is kept unless another
    one is better by more than the rounds scatter.

    ``rounds`` has the same number of each candidate, at least one, in the order they were measured.
    """
    costs = [[find_cost_ms(one, goal) for one in series] for series in rounds]
    spreads = [find_quartiles(series) for series in costs]
    fastest = min(range(len(spreads)), key=lambda at: spreads[at][1])
    if fastest == 0:
        return 0, f"{names[0]} is in use and nothing measured is faster"
    current_low, current, _ = spreads[0]
    _, best, best_high = spreads[fastest]
    gain = 1 - best / current
    wins = sum(one < other for one, other in zip(costs[fastest], costs[0], strict=True))
    facts = (
        f"{names[fastest]} takes {best:.2f} ms instead of {current:.2f} ({gain:.0%} less), "
        f"and less in {wins} of {len(costs[0])} rounds"
    )
    if len(costs[0]) < LEAST_ROUNDS:
        doubt = f"{len(costs[0])} rounds are too few to tell; allow more time"
    elif best_high >= current_low:
        doubt = "the middle halves of their rounds overlap"
    elif gain < LEAST_GAIN:
        doubt = f"less than {LEAST_GAIN:.0%} is not worth a setting"
    else:
        return fastest, facts
    return 0, f"{names[0]} is kept: {facts}, but {doubt}"
