"""How far answers of another device or precision are from those in float32 on the CPU. Pure numpy."""

import numpy as np
from numpy.typing import NDArray


def compare(expected: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, float]:
    """Parity of logits, both (N, classes).

    Returns:
        ``top1``, the share of equal first classes, 0..1; ``worst`` and ``mean`` absolute difference of a logit;
        ``rms``, the root mean square of the expected logits, to read those by.
    """
    exact = expected.astype(np.float64)
    differences = np.abs(found - exact)
    return {
        "top1": float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1))),
        "worst": float(differences.max()),
        "mean": float(differences.mean()),
        "rms": float(np.sqrt(np.mean(np.square(exact)))),
    }
