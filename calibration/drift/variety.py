"""How many different contents a window of frames shows: few of them move its mean far, whatever the sensor does.

The mean of a window that shows one product is as far from the baseline as that product is; that of many products is
not, because their differences cancel out. Which products the baseline will meet is not known, so that no threshold
drawn from it can foresee them. But *how many* different contents there are shows, also where the answers are wrong:

In the *answers*: measured on cut-outs, streams of one unknown product have 1 to 3 contents, of four 2 to 6, all of
them 7 to 12, and under 23 drifts that cost 5 to 47 points still 6 to 13. But a drift may make a small net give one
answer to everything.

In the *frames*, by where they are light and dark: one product on the same backgrounds differs along few directions, all
of them along 10 to 13, and under 13 drifts still along 8 to 11, because a sensor changes all frames alike. Colours,
contrast and detail do not serve: what is far from all healthy frames also varies more.

So the alarm level rises while the answers say that there are few contents, and far only while the frames say so too.
Pure numpy; the generator is an argument.
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
Light = NDArray[np.float64]
"""(N, D): by frame, where it is light and dark; whitened, so that healthy ones have a variance of about 1."""

USUAL_QUANTILE = 0.1
"""Share of the healthy windows that show fewer contents than what is called usual: a drift of all must not wait."""
RISE = 2.0
"""The level rises with this power of how many times fewer contents there are: where one of k is far from all others,
the squared distance of their mean falls as 1/k^2. Where all differ alike it falls as 1/k, but with 1 the odd ones
among 73 unknown cut-outs (drawn, not photographed) still alarm: 7 % of the streams of one product, 5 % of two."""
MOST_BY_ANSWERS, MOST = 4.0, 8.0
"""What few contents explain at most: by the answers alone, and where the frames agree. Of the streams of one unknown
cut-out 3.4 % alarm at 4, and 1.4 % at 8; but a drift that makes a small net give one answer to everything was at 17,
and strong blur while one product is shown is at 8 to 10."""
DRIFTED_SHARE = 0.35
"""Frames that vary along this share of the usual directions may be of usual contents under a drift: the 10 % least
varied windows under 13 drifts of the cut-outs have 0.55 of them (dark ones) to 0.83, those of four products under a
drift about 0.4."""
NOISE = 0.02
"""Of the variance of healthy frames: what frames of one unmoved product differ by. A dark picture keeps a fifth."""
WINDOWS = 200
"""Healthy windows that are drawn."""


def count_contents(bins: Bins) -> float:
    """How many equally frequent answers would be as varied as these (N, 16): 1..16.

    0 where no frame has a class. Source: the inverse of Simpson's index (Hill 1973, order 2).
    """
    share = bins.sum(axis=0)
    total = float(share.sum())
    return 0.0 if total <= 0 else total**2 / float((share * share).sum())


def count_directions(light: Light) -> float:
    """Along how many directions frames (N, D) differ about equally, but for the one along which they differ most.

    That one is how a window differs that has a change of the light in its midst. 0 for frames that are all alike but
    for their noise. Source: the participation ratio of the eigenvalues of their covariance.
    """
    apart = light - light.mean(axis=0)
    spreads = np.maximum(np.linalg.eigvalsh(apart @ apart.T)[:-1] / len(light) - NOISE, 0.0)
    squares = float((spreads * spreads).sum())
    return 0.0 if squares <= 0 else float(spreads.sum()) ** 2 / squares


@dataclass(frozen=True, slots=True)
class Variety:
    """How varied healthy windows are."""

    usual: float
    """Contents that the answers to a window have at least; 0 where they have no classes, as those of detectors."""
    usual_directions: float
    """Along which its frames differ at least; 0 where it is not known where they are light."""

    @classmethod
    def of(
        cls,
        answers: FrameMoments,
        effective: float,
        size: int,
        rng: np.random.Generator,
        light: Light | None = None,
    ) -> "Variety":
        """From healthy frames in the order in which they were seen, for windows of ``size`` frames.

        Args:
            answers: Features (N, 18) of the answers to them; see ``output_features``.
            effective: How many independent frames they are worth.
            size: Frames in a window.
            rng: Draws the windows.
            light: Where they are light and dark, whitened; None for what is no picture.
        """
        bins = bins_of(answers.mean)
        windows = [draw_blocks(len(bins), size, effective, rng) for _ in range(WINDOWS)]
        contents = [count_contents(bins[window]) for window in windows]
        directions = [0.0 if light is None else count_directions(light[window]) for window in windows]
        return cls(*(float(np.quantile(counts, USUAL_QUANTILE)) for counts in (contents, directions)))

    def alarm_level(self, answered: Sequence[Bins], light: Light | None = None) -> float:
        """What a score must exceed, 1..8: 1 where there are no answers with a class, or they are as varied as usual.

        Args:
            answered: Bins (16,) of the answers to the latest frames.
            light: Where these frames are light and dark, (N, D), whitened as those of :meth:`of`.
        """
        shown = count_contents(np.stack(answered)) if len(answered) else 0.0
        if shown <= 0 or self.usual <= shown:
            return 1.0
        return float(min(self._explained_at_most(light), (self.usual / shown) ** RISE))

    def _explained_at_most(self, light: Light | None) -> float:
        """How high the level may rise by what the answers say, 4..8."""
        if light is None or self.usual_directions <= 0:
            return MOST_BY_ANSWERS
        fewer = DRIFTED_SHARE * self.usual_directions / max(count_directions(light), 1.0)
        return float(np.clip(MOST_BY_ANSWERS * fewer**RISE, MOST_BY_ANSWERS, MOST))


def bins_of(features: NDArray[np.float64]) -> Bins:
    """The bins (..., 16) among the features (..., 18) of an answer."""
    return features[..., -BINS:]
