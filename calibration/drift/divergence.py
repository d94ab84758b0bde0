"""How far two sets of moments are apart, layer by layer and channel by channel. Pure."""

from collections.abc import Mapping

import numpy as np

from calibration.patch import spread
from calibration.stats.moments import TapMoments, Vector


def tap_drift(observed: TapMoments, healthy: TapMoments) -> float:
    """:func:`channel_drift` of the typical channel (median): one dead channel would carry away a mean."""
    return float(np.median(channel_drift(observed, healthy)))


def channel_drift(observed: TapMoments, healthy: TapMoments) -> Vector:
    """(C,) Symmetric KL divergence of two Gaussians per channel of a tap; 0 is none.

    0.5 * (s_o^2/s_b^2 + s_b^2/s_o^2 - 2 + (m_o - m_b)^2 * (1/s_o^2 + 1/s_b^2)) / 2, variances with the tap's eps.
    """
    var_o = spread(observed.var, healthy.var) ** 2
    var_b = spread(healthy.var, healthy.var) ** 2
    shift = (observed.mean - healthy.mean) ** 2
    return 0.25 * (var_o / var_b + var_b / var_o - 2 + shift * (1 / var_o + 1 / var_b))


def drift_between(observed: Mapping[str, TapMoments], healthy: Mapping[str, TapMoments]) -> dict[str, float]:
    """:func:`tap_drift` of every observed tap."""
    return {tap: tap_drift(observed[tap], healthy[tap]) for tap in observed}
