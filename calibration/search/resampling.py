"""The drift of vectors of features as other samples of the same site would have told it.

A hundred vectors tell each gain within 10 to 40 %: more samples of one kind of content look like a gain. A patch that
is made and judged by one mistaken gain looks right, and pushes the true values out of the range that the model knows,
where a unit that is dead on healthy samples awakes. So a patch has to be good under the other gains as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import HealthySamples
from calibration.gate.values import mean_error
from calibration.outputs.read import Answers
from calibration.outputs.values import Numbers
from calibration.search.simulation.model import DriftModel
from calibration.search.simulation.sensor import Sensor, fit_to_vectors
from calibration.stats.signal_features import is_vector
from calibration.targets.base import Batch

VECTORS = 8192
"""In all, about: a unit that awakes in one vector of a thousand is among them."""
FEWEST_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Resampled:
    """Healthy samples under drifts that other samples could have told.

    Attributes:
        frames: (R * m, C, ...) float32: all m samples under one drift, then under the next.
        healthy: The healthy answers to the m samples.
    """

    frames: Batch
    healthy: Numbers

    def measure_error(self, answers: Answers) -> float:
        """Mean squared error of ``answers`` to the frames, in healthy variances; infinite where one is no number."""
        assert isinstance(answers, Numbers)
        return mean_error(answers, self.healthy) if answers.is_finite else np.inf


def resample(
    sensor: DriftModel, kept: HealthySamples | None, x: Batch, observed: NDArray[np.intp], seed: int
) -> Resampled | None:
    """All samples that a baseline keeps under drifts that others than the observed ones could have told.

    Those that taught are among them, as this looks for rare answers far off and proves no gain. None of pictures and
    windows, whose many values tell a drift well, and of other answers than numbers: a class far off costs no more than
    any wrong one.

    Args:
        sensor: The explanation of the live samples.
        kept: Healthy samples with their answers.
        x: (N, C, ...) that show the drift.
        observed: Indices of those that told it.
        seed: Of all draws.

    Source: B. Efron, Bootstrap Methods: Another Look at the Jackknife, 1979.
    """
    answers = None if kept is None else kept.answers
    if not isinstance(sensor, Sensor) or not is_vector(x.shape[1:]) or not isinstance(answers, Numbers):
        return None
    assert kept is not None
    healthy, live, rng = kept.samples(), x[observed], np.random.default_rng(seed)
    frames = [
        fit_to_vectors(sensor, _redraw(healthy, rng), _redraw(live, rng)).show(healthy).draw(rng)
        for _ in range(max(FEWEST_ROUNDS, VECTORS // len(healthy)))
    ]
    return Resampled(np.concatenate(frames), answers)


def _redraw(x: Batch, rng: np.random.Generator) -> NDArray[np.float32]:
    return x[rng.integers(0, len(x), len(x))]
