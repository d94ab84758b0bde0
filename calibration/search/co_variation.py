"""Whether features vary together as healthy ones do: what no sensor changes, and other content does.

A vector of features has no spectrum, and a gain and an offset for each feature explain any means and spreads. But they
leave ranks as they are, so that the rank correlations between features tell content from sensor. Pure numpy.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

MOST_FEATURES = 64
"""Evenly spread; more tell the same and cost time."""
DRAWS = 200
QUANTILE = 0.99
MARGIN = 1.5
"""Fresh healthy samples are below it, as for the other distances from the baseline."""


def disagreement(
    live: NDArray[np.float32], simulated: NDArray[np.float32], rng: np.random.Generator
) -> float:
    """How far the rank correlations of ``live`` (N, F) and ``simulated`` (M, F) are apart, as a share of chance.

    Above 1 the features vary together otherwise. 0 for a single feature. Chance is drawn from ``simulated``.
    Source: C. Spearman 1904; the bootstrap, B. Efron 1979.
    """
    chosen = np.linspace(0, live.shape[1] - 1, min(MOST_FEATURES, live.shape[1])).astype(np.intp)
    if len(chosen) < 2:
        return 0.0
    one, other = live[:, chosen], simulated[:, chosen]
    usual = _correlations(other)

    def draw(count: int) -> Matrix:
        return _correlations(other[rng.integers(0, len(other), count)])

    chance = [_distance(draw(len(one)), draw(len(other))) for _ in range(DRAWS)]
    limit = MARGIN * float(np.quantile(chance, QUANTILE))
    return _distance(_correlations(one), usual) / limit if limit > 0 else 0.0


def _correlations(x: NDArray[np.float32]) -> Matrix:
    """(F, F) of ranks; 0 for features that are constant."""
    ranks = x.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable").astype(np.float64)
    ranks[:, np.ptp(x, axis=0) == 0] = 0
    ranks -= ranks.mean(axis=0)
    spread = np.maximum(np.sqrt((ranks**2).sum(axis=0)), 1e-12)
    return np.asarray((ranks.T @ ranks) / np.outer(spread, spread))


def _distance(one: Matrix, other: Matrix) -> float:
    return float(np.square(one - other).mean())
