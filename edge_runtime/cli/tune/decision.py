"""The choice among the measured candidates, and whether it is certain enough to change a setting.

Pure. Rounds of all candidates were interleaved, so that round i of one and of another saw the same box. The setting
in use is kept unless another one is better by more than the rounds scatter.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edge_runtime.cli.tune.timing import Round

Goal = Literal["latency", "throughput"]

LEAST_ROUNDS = 5
"""With fewer, quartiles say nothing."""
LEAST_GAIN = 0.05
"""A setting other than the default must be looked after; a smaller gain is not worth it."""


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Median and the middle half of some rounds."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The candidate to use."""

    chosen: int
    """Its index; 0 is the setting in use."""
    fastest: int
    """The one with the best median, sure or not."""
    why: str


def find_quartiles(values: Sequence[float]) -> Quartiles:
    """Quartiles of one or more values."""
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Quartiles(low, median, high)


def find_cost_ms(measured: Round, goal: Goal) -> float:
    """The time to minimise: to an answer, or of a frame flat out; milliseconds."""
    return measured.answer_ms if goal == "latency" else 1e3 / measured.frames_per_s


def decide(names: Sequence[str], rounds: Sequence[Sequence[Round]], goal: Goal) -> Decision:
    """Compare the candidates; the first is the one in use.

    Args:
        names: For people.
        rounds: Of each candidate the same number, at least one, in the order they were measured.
        goal: What counts.
    """
    costs = [[find_cost_ms(one, goal) for one in series] for series in rounds]
    spreads = [find_quartiles(series) for series in costs]
    fastest = min(range(len(spreads)), key=lambda at: spreads[at].median)
    if fastest == 0:
        return Decision(0, 0, f"{names[0]} is in use and nothing measured is faster")
    current, best = spreads[0], spreads[fastest]
    gain = 1 - best.median / current.median
    wins = sum(one < other for one, other in zip(costs[fastest], costs[0], strict=True))
    facts = (
        f"{names[fastest]} takes {best.median:.2f} ms instead of {current.median:.2f} ({gain:.0%} less), "
        f"and less in {wins} of {len(costs[0])} rounds"
    )
    doubt = _doubt(len(costs[0]), gain, current, best)
    if doubt is None:
        return Decision(fastest, fastest, facts)
    return Decision(0, fastest, f"{names[0]} is kept: {facts}, but {doubt}")


def _doubt(rounds: int, gain: float, current: Quartiles, best: Quartiles) -> str | None:
    if rounds < LEAST_ROUNDS:
        return f"{rounds} rounds are too few to tell; allow more time"
    if best.high >= current.low:
        return "the middle halves of their rounds overlap"
    if gain < LEAST_GAIN:
        return f"less than {LEAST_GAIN:.0%} is not worth a setting"
    return None
