"""Confidence intervals of shares, means and differences, and the number of frames that a difference needs.

Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22:209-212. Newcombe 1998,
"Interval estimation for the difference between independent proportions", Statistics in Medicine 17:873-890, and
"Improved confidence intervals for the difference between binomial proportions based on paired data", 17:2635-2650:
method 10 of each. None of them is empty at shares of 0 or 1.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its two-sided confidence interval."""

    estimate: float
    low: float
    high: float

    def contains(self, value: float) -> bool:
        """Whether the value is inside, or on an end."""
        return self.low <= value <= self.high


def share_interval(hits: float, frames: float, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of ``hits`` out of ``frames``.

    Raises:
        ValueError: no frames, or hits not within 0..frames.
    """
    if not (frames > 0 and 0 <= hits <= frames):
        raise ValueError(
            f"{hits} hits of {frames} frames; expected at least one frame, and 0 to so many hits"
        )
    z = _z(confidence)
    share, spread = hits / frames, z * z / frames
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    low = 0.0 if hits == 0 else max(0.0, centre - half)  # exactly, where rounding would leave a rest
    high = 1.0 if hits == frames else min(1.0, centre + half)
    return Interval(share, low, high)


def difference_interval(
    hits: int, frames: int, other_hits: int, other_frames: int, confidence: float = CONFIDENCE
) -> Interval:
    """Newcombe's interval of (share of the first - share of the second) for different, independent frames.

    Raises:
        ValueError: as ``share_interval``.
    """
    one = share_interval(hits, frames, confidence)
    other = share_interval(other_hits, other_frames, confidence)
    return _combine(one, other, correlation=0.0)


def paired_difference_interval(
    both: int, only_first: int, only_second: int, neither: int, confidence: float = CONFIDENCE
) -> Interval:
    """Newcombe's interval of (share of the first - share of the second) for the same frames.

    Args:
        both: Frames that both arms hit.
        only_first: Frames that the first arm hits alone.
        only_second: Frames that the second arm hits alone.
        neither: Frames that none hits.
        confidence: Of the two-sided interval, 0..1.

    Raises:
        ValueError: no frames, or a negative number of them.
    """
    counts = (both, only_first, only_second, neither)
    frames = sum(counts)
    if min(counts) < 0 or frames == 0:
        raise ValueError(f"{counts} frames; expected none below 0 and at least one")
    one = share_interval(both + only_first, frames, confidence)
    other = share_interval(both + only_second, frames, confidence)
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    excess = float(both * neither - only_first * only_second)
    if excess > 0:
        excess = max(excess - frames / 2, 0.0)
    return _combine(one, other, correlation=excess / math.sqrt(margins) if margins else 0.0)


def mean_interval(total: float, squares: float, frames: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of the mean of values in 0..1: Wilson's, for as many yes/no frames as would vary as much.

    For larger numbers the normal interval; unlike that one it stays within 0..1 and is not empty where all are 1.

    Args:
        total: Sum of the values.
        squares: Sum of their squares.
        frames: Number of values.
        confidence: Of the two-sided interval, 0..1.

    Raises:
        ValueError: no frames, or sums that values in 0..1 cannot have.
    """
    slack = 1e-9 * max(frames, 1)
    if not (frames > 0 and 0 <= squares <= total + slack and total <= frames + slack):
        raise ValueError(f"sum {total}, squares {squares} of {frames} values; expected values in 0..1")
    mean = min(total / frames, 1.0)
    variance = max(squares / frames - mean * mean, 0.0)
    yes_no_variance = mean * (1 - mean)
    likeness = variance / yes_no_variance if yes_no_variance > 0 else 1.0
    as_many = frames / max(likeness, 1e-6)
    return share_interval(mean * as_many, as_many, confidence)


def mean_difference_interval(
    total: float,
    squares: float,
    frames: int,
    other_total: float,
    other_squares: float,
    other_frames: int,
    confidence: float = CONFIDENCE,
) -> Interval:
    """Newcombe's interval of (mean of the first - mean of the second) of values in 0..1 of different frames.

    Raises:
        ValueError: as ``mean_interval``.
    """
    one = mean_interval(total, squares, frames, confidence)
    other = mean_interval(other_total, other_squares, other_frames, confidence)
    return _combine(one, other, correlation=0.0)


def paired_mean_interval(
    total: float, squares: float, frames: int, confidence: float = CONFIDENCE
) -> Interval:
    """Interval of the mean of differences in -1..1, each of one frame: ``mean_interval`` on twice the scale.

    Raises:
        ValueError: no frames, or sums that values in -1..1 cannot have.
    """
    raised, raised_squares = (total + frames) / 2, (squares + 2 * total + frames) / 4
    found = mean_interval(raised, raised_squares, frames, confidence)
    return Interval(2 * found.estimate - 1, 2 * found.low - 1, 2 * found.high - 1)


def frames_needed(share: float, difference: float, confidence: float = CONFIDENCE, power: float = 0.8) -> int:
    """Frames of each arm after which a true difference is told from none with the given power.

    Args:
        share: Of the one arm, 0..1.
        difference: Share of the other arm minus this one, not 0.
        confidence: Of the two-sided interval that must exclude 0.
        power: Share of experiments in which it does.

    Raises:
        ValueError: a share outside of 0..1, or no difference.
    Source: Fleiss, Levin, Paik, "Statistical Methods for Rates and Proportions", equation 4.14 without correction.
    """
    other = share + difference
    if not (0 <= share <= 1 and 0 <= other <= 1 and difference != 0 and 0 < power < 1):
        raise ValueError(
            f"share {share}, difference {difference}, power {power}; expected shares in 0..1 that differ, power in 0..1"
        )
    mean = (share + other) / 2
    alike = _z(confidence) * math.sqrt(2 * mean * (1 - mean))
    apart = NormalDist().inv_cdf(power) * math.sqrt(share * (1 - share) + other * (1 - other))
    return math.ceil(((alike + apart) / difference) ** 2)


def mean_frames_needed(
    variance: float, difference: float, confidence: float = CONFIDENCE, power: float = 0.8
) -> int | None:
    """Frames after which a true difference of means is told from none; None where there is no difference.

    Args:
        variance: Of the difference of one frame; of different frames the sum of the variances of both arms.
        difference: True one.
        confidence: Of the two-sided interval that must exclude 0.
        power: Share of experiments in which it does.

    Source: Fleiss, Levin, Paik, the normal approximation behind equation 4.14; for pairs of yes and no McNemar's test.
    """
    if difference == 0:
        return None
    reach = (_z(confidence) + NormalDist().inv_cdf(power)) ** 2
    return max(1, math.ceil(reach * variance / difference**2))


def frames_until(frames: int, reach: float, distance: float) -> int | None:
    """Frames after which an interval no longer reaches a value, should the estimate stay; None: it never moves off it.

    An interval shrinks with the root of the number of frames.

    Args:
        frames: Of now.
        reach: From the estimate to the end of the interval of now, on the side of the value; >= 0.
        distance: From the estimate to the value; >= 0.
    """
    return math.ceil(frames * (reach / distance) ** 2) if distance > 0 else None


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}; expected more than 0 and less than 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _combine(one: Interval, other: Interval, correlation: float) -> Interval:
    difference = one.estimate - other.estimate
    below = _length(one.estimate - one.low, other.high - other.estimate, correlation)
    above = _length(one.high - one.estimate, other.estimate - other.low, correlation)
    return Interval(difference, max(-1.0, difference - below), min(1.0, difference + above))


def _length(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(one * one - 2 * correlation * one * other + other * other, 0.0))
