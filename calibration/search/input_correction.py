"""The correction of the input itself, by its moments. Pure."""

from collections.abc import Sequence

import numpy as np

from calibration.patch import Affine, correction
from calibration.stats.moments import TapMoments
from calibration.stats.signal_features import is_signal


def correct_input(seen: TapMoments, healthy: TapMoments, shape: Sequence[int]) -> Affine:
    """Gives samples (C, ...) of a shape their healthy moments back.

    The channels of a picture have one scale, by which a nearly dead one is known. Each channel of a signal has its
    unit, and is corrected by itself.
    """
    if not is_signal(shape):
        return correction(seen, healthy)
    alone = [correction(_channel(seen, c), _channel(healthy, c)) for c in range(healthy.channels)]
    scale, offset = (np.concatenate([getattr(one, part) for one in alone]) for part in ("scale", "offset"))
    return Affine(scale, offset)


def _channel(moments: TapMoments, c: int) -> TapMoments:
    one = slice(c, c + 1)
    return TapMoments(moments.mean[one], moments.var[one], moments.count)
