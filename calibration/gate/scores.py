"""The figures of a classifier's answers that the gate looks at. Pure: probabilities in, numbers out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.gate.bar import Scores
from calibration.gate.evidence import Evidence

Probabilities = NDArray[np.float64]

LEAST_PROBABILITY = 1e-3
"""A wrong answer costs at most log(1000) on one frame: one lost frame must not outvote twenty better ones."""


def nuclear_norm(probabilities: Probabilities) -> float:
    """Confident and diverse is high: sum of the singular values of (n,k), scaled to 0..1 (arXiv 2510.02956)."""
    n, k = probabilities.shape
    # Singular values from the small Gram matrix: 1 ms instead of 80 ms for 32 frames of 1,000 classes.
    gram = probabilities @ probabilities.T if n <= k else probabilities.T @ probabilities
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
    return float(values.sum() / np.sqrt(n * min(n, k)))


def effective_classes(probabilities: Probabilities) -> float:
    """How many classes the predictions are spread over: exp of the entropy of the predicted classes."""
    shares = np.bincount(probabilities.argmax(axis=1)) / len(probabilities)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def expected_classes(healthy: Probabilities, count: int) -> float:
    """Effective classes that about ``count`` of the healthy frames show: few frames cannot show many classes."""
    groups = -(-len(healthy) // max(1, count))
    shuffled = healthy[np.random.default_rng(0).permutation(len(healthy))]  # neighbours in time look alike
    return float(np.mean([effective_classes(shuffled[first::groups]) for first in range(groups)]))


def fidelity(simulated: Probabilities, healthy: Probabilities) -> NDArray[np.float64]:
    """(m,) agreement of each simulated frame's answer (m,k) with the healthy one, as minus the cross-entropy."""
    return np.asarray((healthy * np.log(simulated + LEAST_PROBABILITY)).sum(axis=1), np.float64)


def live_scores(evidence: Evidence[Probabilities]) -> Scores:
    """What the answers to the live frames alone say."""
    live = evidence.live
    return {"nuclear_norm": nuclear_norm(live), "classes": effective_classes(live)}


def sample_scores(
    unpatched: Evidence[Probabilities],
    candidates: Sequence[Evidence[Probabilities]],
    healthy: Probabilities,
    fidelity_weight: float,
) -> dict[str, Scores]:
    """What the answers to simulated and live frames say of each candidate, the unpatched model among them.

    ``gain`` and ``gain_error``: of the fidelity, in nats. ``growth``: of the nuclear norm of the live answers, as a
    logarithm. ``evidence``: growth and gain, weighed.
    """
    assert unpatched.simulated is not None
    before, answers = fidelity(unpatched.simulated, healthy), healthy.argmax(axis=1)
    norm = max(nuclear_norm(unpatched.live), LEAST_PROBABILITY)
    scores: dict[str, Scores] = {}
    for one in (unpatched, *candidates):
        assert one.simulated is not None
        gain, live = fidelity(one.simulated, healthy) - before, live_scores(one)
        growth = np.log(max(live["nuclear_norm"], LEAST_PROBABILITY) / norm)
        scores[one.name] = live | {
            "agreement": float((one.simulated.argmax(axis=1) == answers).mean()),
            "fidelity": float(before.mean() + gain.mean()),
            "gain": float(gain.mean()),
            "gain_error": float(gain.std(ddof=1) / np.sqrt(len(gain))),
            "growth": float(growth),
            "evidence": float(growth + fidelity_weight * gain.mean()),
        }
    return scores
