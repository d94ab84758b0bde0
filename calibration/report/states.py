"""The states of a site that the report shows one below the other: healthy, now, corrected, simulated. Arrays only."""

from dataclasses import dataclass

import numpy as np

from calibration.baseline.baseline import HealthySamples
from calibration.patch import Patch
from calibration.search.input_correction import correct_input
from calibration.search.simulation.choice import simulate_for_show
from calibration.stats.moments import INPUT_TAP, Moments, moments_of_frames
from calibration.stats.sampling import spread_over
from calibration.stats.signal_features import is_signal
from calibration.targets.base import Batch

MOST_LIVE = 24
"""Live pictures that a simulation for show looks at; more would not look different."""


@dataclass(frozen=True, slots=True)
class State:
    """Some samples (n, C, ...) and what they are."""

    title: str
    note: str
    samples: Batch


def states(
    live: Batch,
    healthy: Moments,
    kept: HealthySamples | None,
    patch: Patch | None,
    shown: int,
    rng: np.random.Generator,
) -> list[State]:
    """The states by the reference samples ``live``, float32 (N, C, ...), ``shown`` samples each.

    Without a ``patch`` they show what correcting the input would do; ``rng`` draws the simulated noise.
    """
    some, found = live[spread_over(len(live), shown)], list[State]()
    what = ("sensor", "samples") if is_signal(live.shape[1:]) else ("camera", "frames")
    if kept is not None:
        before = kept.samples()[spread_over(len(kept), shown)]
        found.append(State("The healthy site", "Kept in the baseline.", before))
    found.append(State(f"What the {what[0]} shows now", f"Some of the reference {what[1]}.", some))
    found.append(_correct(some, live, healthy, patch, what[1]))
    if kept is not None:
        again = _simulate(before, live, kept, rng)
        note = (
            f"The healthy {what[1]} made to look like today's; candidates must answer them as the healthy model "
            "did."
        )
        found.append(State("The drift, simulated", note, again))
    return found


def _simulate(before: Batch, live: Batch, kept: HealthySamples, rng: np.random.Generator) -> Batch:
    """The healthy samples that are shown, under today's drift; a sensor is fitted to all of them."""
    if is_signal(live.shape[1:]):
        return simulate_for_show(kept.samples(), live).show(before).draw(rng)
    return simulate_for_show(before, live[spread_over(len(live), MOST_LIVE)]).show(before).draw(rng)


def _correct(shown: Batch, live: Batch, healthy: Moments, patch: Patch | None, what: str) -> State:
    chosen = None if patch is None else patch.taps.get(INPUT_TAP)
    if chosen is not None:
        note = f"The same {what} as the patched model sees them."
        return State("The same, with the input corrected", note, chosen.apply(shown))
    whole = correct_input(moments_of_frames(live).pool(), healthy[INPUT_TAP], live.shape[1:])
    instead = "It is not in use." if patch is None else "The patch corrects inner layers instead."
    note = f"What correcting the input would make of them. {instead}"
    return State("The same, if the input were corrected", note, whole.apply(shown))
