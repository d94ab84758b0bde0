"""Channels of a signal that give a constant value: a cut wire, a dead sensor, one at the end of its range.

No correction brings back what is not measured, and no window of such a sensor is an outlier: it is named before
anything is left out. Pictures have no part in it. Pure numpy.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from calibration.baseline.baseline import Baseline
from calibration.stats.moments import INPUT_TAP, FrameMoments
from calibration.stats.signal_features import is_signal, is_vector

FLAT_SHARE = 0.02
"""Of the healthy spread of a channel: below it a window is flat."""
OF_THE_FLATTEST = 0.5
"""And below this share of the flattest healthy window: a machine that stands still is no dead sensor."""
LEAST_WINDOWS = 1 / 3
"""Share of the live windows that must be flat."""
MOST_HEALTHY = 0.1
"""Share of the healthy windows that may be: a channel that is often constant says nothing when it is."""

_ROUNDING = 1e-9


def find_dead_channels(live: FrameMoments, baseline: Baseline) -> Mapping[int, int]:
    """How many of the live samples are flat, by the number of each dead channel; empty of pictures.

    ``live`` are the single-frame moments (N, C) of the input. A vector of features has no time: there a channel is flat
    where its value is the same in all samples, and where others are not.
    """
    shape, usual = baseline.input_shape, np.sqrt(baseline.moments[INPUT_TAP].var)
    if not is_signal(shape) or len(live.mean) < 2:
        return {}
    is_flat = _same_in_all(live, usual) if is_vector(shape) else _flat(live, baseline, usual)
    share = is_flat.mean(axis=0)
    return {int(c): int(is_flat[:, c].sum()) for c in np.flatnonzero((share >= LEAST_WINDOWS) & (usual > 0))}


def in_words(dead: Mapping[int, int], channels: int, samples: int) -> str:
    """The reason to refuse, for people."""
    one = len(dead) == 1
    names = " and ".join(str(c) for c in dead)
    return (
        f"Channel{'' if one else 's'} {names} (of 0 to {channels - 1}) give{'s' if one else ''} a constant value in "
        f"{max(dead.values())} of {samples} reference samples: dead. Replace the sensor or mend its wiring; no "
        "correction can bring it back."
    )


def _flat(live: FrameMoments, baseline: Baseline, usual: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, C) True for windows that are flatter than healthy ones; False in channels where those are flat, too."""
    healthy = baseline.frames[INPUT_TAP]
    limit = np.minimum(FLAT_SHARE * usual, OF_THE_FLATTEST * np.sqrt(healthy.var.min(axis=0)))
    often = (_at_most(healthy, limit)).mean(axis=0) > MOST_HEALTHY
    return np.asarray(_at_most(live, limit) & ~often, np.bool_)


def _at_most(frames: FrameMoments, limit: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.sqrt(frames.var) <= limit + _ROUNDING * np.abs(frames.mean), np.bool_)


def _same_in_all(live: FrameMoments, usual: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N, C) True in channels of the same value in all samples; nowhere if all channels are: that is one scene."""
    is_flat = live.mean.std(axis=0) <= FLAT_SHARE * usual
    return np.tile(is_flat & ~is_flat.all(), (len(live.mean), 1))
