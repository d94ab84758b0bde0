"""A window of three channels and 256 samples, for every benchmark of signals."""

import numpy as np
from numpy.typing import NDArray

CHANNELS = ("ax", "ay", "az")
LENGTH, RATE_HZ = 256, 256.0


def make_window(number: int) -> NDArray[np.float32]:
    """A window (samples, channels) of waves and noise, another for each number."""
    rng = np.random.default_rng(number)
    at_s = np.arange(LENGTH)[:, None] / RATE_HZ
    waves = np.sin(2 * np.pi * rng.uniform(2, 60, 3) * at_s + rng.uniform(0, 2 * np.pi, 3))
    return np.asarray(rng.uniform(0.5, 1.5, 3) * waves + rng.normal(0, 0.1, (LENGTH, 3)), np.float32)
