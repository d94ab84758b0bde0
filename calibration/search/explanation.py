"""Which sensor explains the live frames: the one under which healthy frames come nearest to them.

"Near" is measured at the input and the first layers, where a drift shows and content does not, by the drift monitor's
own distance. What no sensor explains cannot be judged on simulated frames.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from calibration.search.co_variation import disagreement
from calibration.search.preconditions import remaining_drift
from calibration.search.simulation.choice import hypotheses
from calibration.search.simulation.model import DriftModel
from calibration.stats.moments import FrameMoments
from calibration.stats.sampling import MOST_SAMPLES, spread_over
from calibration.stats.signal_features import is_signal, is_vector
from calibration.targets.base import Batch

FITTED_VALUES = 48 * 3 * 224 * 224
"""Of healthy frames that a camera is fitted to. Tones need many contents: with 24 of 96 frames of 16 x 16 the agreement
under an exact drift was .56, with 48 of them .81, with all of them .94."""
FEWEST_FITTED, MOST_FITTED = 12, 96
"""Frames; of larger pictures fewer are taken, as every step of the fit holds a copy of them."""
COMPARED_FRAMES = 16
"""Simulated frames that are compared with the live ones; all said the same."""
EXPLAINED = 0.1
"""Share of the distance left at which no other explanation is looked for."""
NOT_AT_ALL = 1.0
"""Share of the distance that an explanation leaves which cannot be."""
CLEARLY_NEARER = 0.7
"""Of the distance that the plainer explanation leaves: by less than that it is not replaced."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How the live frames came about."""

    sensor: DriftModel
    left: float
    """Share of the squared distance between healthy and live frames that it leaves, >= 0."""
    simulated: Mapping[str, FrameMoments]
    """Single-frame moments of the healthy samples that were compared, under it; of signals these are all."""


def fitted_frames(shape: tuple[int, ...]) -> int:
    """How many healthy samples of one shape (C, ...) a camera or another sensor is fitted to: of signals all."""
    values = int(np.prod(shape))
    if is_signal(shape):
        return MOST_SAMPLES
    return max(FEWEST_FITTED, min(MOST_FITTED, FITTED_VALUES // max(values, 1)))


def explain(
    healthy: Batch,
    live: Batch,
    look: Callable[[Batch], Mapping[str, FrameMoments]],
    seen: Mapping[str, FrameMoments],
    healthy_frames: Mapping[str, FrameMoments],
    seed: int,
) -> Explanation:
    """The plainest sensor under which healthy frames come near enough to the live ones, or the nearest of all.

    Args:
        healthy: (M, C, ...) healthy samples that it is fitted to (:func:`fitted_frames`).
        live: (N, C, ...) live frames that show the drift.
        look: Single-frame moments of frames at the input and the first taps.
        seen: Those of the live frames.
        healthy_frames: Those of the baseline.
        seed: Of the noise.
    """
    most = len(healthy) if is_signal(healthy.shape[1:]) else COMPARED_FRAMES
    compared = healthy[spread_over(len(healthy), most)]
    best: Explanation | None = None
    for sensor in hypotheses(healthy, live):
        again = sensor.show(compared).draw(np.random.default_rng(seed))
        simulated = look(again)
        left = remaining_drift(seen, simulated, healthy_frames)
        is_other = is_vector(live.shape[1:]) and _vary_otherwise(live, again, seed)
        if not sensor.is_possible or is_other:
            left = max(left, NOT_AT_ALL)
        if best is None or left < CLEARLY_NEARER * best.left:
            best = Explanation(sensor, left, simulated)
        if best.left <= EXPLAINED:
            break
    assert best is not None, "there is a plain explanation"
    return best


def _vary_otherwise(live: Batch, simulated: Batch, seed: int) -> bool:
    one, other = (part.reshape(len(part), -1) for part in (live, simulated))
    return disagreement(one, other, np.random.default_rng(seed)) > 1
