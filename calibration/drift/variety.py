"""How many different contents a window of frames shows: few of them move its mean far, whatever the sensor does.

The mean of a window that shows one product is as far from the baseline as that product is; that of many products is
not, because their differences cancel out. Which products the baseline will meet is not known, so that no threshold
drawn from it can foresee them. But *how many* different contents there are shows in the model's answers, also where
these are wrong: measured on cut-outs, streams of one unknown product have 1 to 3 contents, of four 2 to 6, all of
them 7 to 12, and under 23 drifts that cost 5 to 47 points still 6 to 13. So the alarm level rises while the answers
say that there are few. Pure numpy; the generator is an argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.drift.thresholds import draw_blocks
from calibration.stats.moments import FrameMoments
from calibration.stats.output_features import BINS

Bins = NDArray[np.float64]
"""(N, 16): in which of the bins the class of each frame is; zeros where the answers have no class."""

USUAL_QUANTILE = 0.1
"""Share of the healthy windows that show fewer contents than what is called usual: a drift of all must not wait."""
RISE = 2.0
"""The level rises with this power of how many times fewer contents there are: where one of k is far from all others,
the squared distance of their mean falls as 1/k^2. Where all differ alike it falls as 1/k, but with 1 the odd ones
among 73 unknown cut-outs (drawn, not photographed) still alarm: 7 % of the streams of one product, 5 % of two."""
MOST = 4.0
"""What few contents explain at most. Shown alone, of 73 unknown cut-outs the farthest was at 17 thresholds; but a drift
that makes a small net give one answer to everything was at 17 too, and must not pass for a new product."""
WINDOWS = 200
"""Healthy windows that are drawn."""


def count_contents(bins: Bins) -> float:
    """How many equally frequent answers would be as varied as these (N, 16): 1..16.

    0 where no frame has a class. Source: the inverse of Simpson's index (Hill 1973, order 2).
    """
    share = bins.sum(axis=0)
    total = float(share.sum())
    return 0.0 if total <= 0 else total**2 / float((share * share).sum())


@dataclass(frozen=True, slots=True)
class Variety:
    """How varied the answers to healthy windows are."""

    usual: float
    """Contents that a window has at least; 0 where the answers have no classes, as those of detectors."""

    @classmethod
    def of(cls, answers: FrameMoments, effective: float, size: int, rng: np.random.Generator) -> "Variety":
        """From the answers to healthy frames, for windows of ``size`` frames.

        Args:
            answers: Their features (N, 18) in the order in which they were seen; see ``output_features``.
            effective: How many independent frames they are worth.
            size: Frames in a window.
            rng: Draws the windows.
        """
        bins = bins_of(answers.mean)
        windows = (draw_blocks(len(bins), size, effective, rng) for _ in range(WINDOWS))
        return cls(float(np.quantile([count_contents(bins[window]) for window in windows], USUAL_QUANTILE)))

    def alarm_level(self, answered: Sequence[Bins]) -> float:
        """What a score must exceed, 1..4: 1 for answers (16,) that are as varied as usual.

        1 also where there are no answers, or none with a class.
        """
        shown = count_contents(np.stack(answered)) if len(answered) else 0.0
        if shown <= 0 or self.usual <= shown:
            return 1.0
        return float(min(MOST, (self.usual / shown) ** RISE))


def bins_of(features: NDArray[np.float64]) -> Bins:
    """The bins (..., 16) among the features (..., 18) of an answer."""
    return features[..., -BINS:]
