import math
from itertools import pairwise

import numpy as np
import pytest

from edge_runtime.deployment.rollout_policy.intervals import (
    Interval,
    difference_interval,
    frames_needed,
    frames_until,
    mean_frames_needed,
    mean_interval,
    paired_difference_interval,
    share_interval,
)


def ends(interval: Interval) -> tuple[float, float]:
    return round(interval.low, 4), round(interval.high, 4)


def test_the_share_of_newcombes_example():
    assert ends(share_interval(81, 263)) == (
        0.2553,
        0.3662,
    )  # Newcombe 1998, Statistics in Medicine 17:857, table I


def test_the_difference_of_newcombes_example():
    found = difference_interval(56, 70, 48, 80)  # Newcombe 1998, 17:873, table II (a), method 10
    assert ends(found) == (0.0524, 0.3339)
    assert found.estimate == pytest.approx(0.2)


def test_the_ends_solve_the_equation_of_the_score():
    z = 1.959963984540054
    found = share_interval(7, 40)
    for end in (found.low, found.high):
        assert abs(7 / 40 - end) == pytest.approx(z * math.sqrt(end * (1 - end) / 40))


def test_shares_of_nothing_and_of_all_are_exact_at_their_end_and_not_empty():
    none, every = share_interval(0, 20), share_interval(20, 20)
    assert (none.low, every.high) == (0.0, 1.0)
    assert none.high == pytest.approx(1 - every.low) == pytest.approx(0.1611, abs=1e-4)


def test_a_paired_interval_follows_the_formula_of_the_paper():
    both, first, second, neither = 20, 12, 2, 16
    n = both + first + second + neither
    one, other = share_interval(32, n), share_interval(22, n)
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    phi = (both * neither - first * second - n / 2) / math.sqrt(product)
    below, above = one.estimate - one.low, other.high - other.estimate
    expected = 0.2 - math.sqrt(below**2 - 2 * phi * below * above + above**2)
    found = paired_difference_interval(both, first, second, neither)
    assert found.low == pytest.approx(expected)
    assert ends(found) == (0.0562, 0.3292)


def test_a_paired_interval_is_narrower_where_the_arms_hit_the_same_frames():
    paired = paired_difference_interval(150, 10, 4, 36)
    independent = difference_interval(160, 200, 154, 200)
    assert paired.high - paired.low < 0.7 * (independent.high - independent.low)


def test_exchanging_the_arms_turns_the_interval_round():
    for one, other in [
        (difference_interval(5, 40, 9, 50), difference_interval(9, 50, 5, 40)),
        (paired_difference_interval(30, 4, 9, 7), paired_difference_interval(30, 9, 4, 7)),
    ]:
        assert one.estimate == pytest.approx(-other.estimate)
        assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))


@pytest.mark.parametrize("counts", [(40, 0, 0, 0), (0, 0, 0, 40), (0, 40, 0, 0), (0, 0, 40, 0)])
def test_paired_intervals_of_extremes_are_within_their_bounds(counts):
    found = paired_difference_interval(*counts)
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    assert found.low < found.high


def test_the_mean_of_yes_and_no_is_a_share():
    found, share = mean_interval(30.0, 30.0, 40), share_interval(30, 40)
    assert found.estimate == share.estimate
    assert (found.low, found.high) == (pytest.approx(share.low), pytest.approx(share.high))


def test_the_mean_of_many_values_has_the_normal_interval():
    values = np.random.default_rng(3).beta(8, 4, 5000)
    found = mean_interval(float(values.sum()), float((values**2).sum()), len(values))
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=2e-5)
    assert found.high == pytest.approx(values.mean() + half, abs=2e-5)


def test_the_mean_of_few_perfect_values_is_not_certain():
    found = mean_interval(10.0, 10.0, 10)
    assert found.high == 1.0
    assert found.low < 0.75


@pytest.mark.parametrize(("hits", "frames"), [(0, 0), (-1, 5), (6, 5), (math.nan, 5)])
def test_impossible_shares_are_refused(hits, frames):
    with pytest.raises(ValueError):
        share_interval(hits, frames)


@pytest.mark.parametrize(("total", "squares", "frames"), [(0, 0, 0), (6, 6, 5), (2, 3, 5), (math.nan, 1, 5)])
def test_impossible_means_are_refused(total, squares, frames):
    with pytest.raises(ValueError):
        mean_interval(total, squares, frames)


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (-1, 2, 3, 4)])
def test_impossible_pairs_are_refused(counts):
    with pytest.raises(ValueError):
        paired_difference_interval(*counts)


@pytest.mark.parametrize(
    ("share", "difference"), [(0.5, 0.0), (0.9, 0.2), (-0.1, 0.05), (math.nan, 0.1), (0.5, math.nan)]
)
def test_impossible_plans_are_refused(share, difference):
    with pytest.raises(ValueError):
        frames_needed(share, difference)
    with pytest.raises(ValueError):
        share_interval(1, 2, confidence=1.0)


def test_the_frames_of_a_textbook():
    assert frames_needed(0.5, 0.1) == 388  # Fleiss: 388 a group for .5 against .6
    needed = [frames_needed(0.85, difference) for difference in (0.01, 0.03, 0.1)]
    assert all(more > fewer for more, fewer in pairwise(needed))
    assert frames_needed(0.85, 0.03) == frames_needed(0.88, -0.03) == frames_needed(0.15, -0.03)


def test_the_frames_of_a_mean_are_those_of_a_share_where_it_is_one():
    variance = 0.5 * 0.5 + 0.6 * 0.4
    assert mean_frames_needed(variance, 0.1) == pytest.approx(frames_needed(0.5, 0.1), rel=0.02)
    assert mean_frames_needed(0.0, 0.1) == 1
    assert mean_frames_needed(0.2, 0.0) is None


def test_an_interval_shrinks_with_the_root_of_the_frames():
    before = share_interval(180, 200)
    needed = frames_until(200, before.estimate - before.low, 0.01)
    after = share_interval(0.9 * needed, needed)
    assert after.estimate - after.low == pytest.approx(0.01, rel=0.15)
    assert frames_until(200, 0.1, 0.0) is None


def hits(rng: np.random.Generator, share: float, frames: int) -> int:
    return int(rng.binomial(frames, share))


def test_a_difference_of_three_points_excludes_0_after_the_frames_that_theory_says():
    frames = frames_needed(0.85, 0.03, power=0.9)
    excluding = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        found = difference_interval(hits(rng, 0.88, frames), frames, hits(rng, 0.85, frames), frames)
        excluding += not found.contains(0.0)
    assert 870 <= excluding <= 930  # 900 +- 3 standard deviations


def test_two_equal_arms_have_0_inside_in_95_of_100_runs():
    frames = frames_needed(0.85, 0.03)
    inside = 0
    for seed in range(2000):
        rng = np.random.default_rng(seed)
        found = difference_interval(hits(rng, 0.85, frames), frames, hits(rng, 0.85, frames), frames)
        inside += found.contains(0.0)
    assert 1871 <= inside <= 1929  # 1900 +- 3 standard deviations; 100 runs alone have 89 to 100


def test_a_paired_interval_covers_the_true_difference():
    covered = 0
    for seed in range(1000):
        counts = np.random.default_rng(seed).multinomial(200, [0.75, 0.08, 0.05, 0.12])
        covered += paired_difference_interval(*(int(count) for count in counts)).contains(0.03)
    assert covered >= 930


@pytest.mark.parametrize(("a", "b"), [(8, 2), (0.5, 0.2), (30, 1)])
def test_the_interval_of_a_mean_covers_the_true_mean(a, b):
    covered = 0
    for seed in range(500):
        values = np.random.default_rng(seed).beta(a, b, 100)
        covered += mean_interval(float(values.sum()), float((values**2).sum()), 100).contains(a / (a + b))
    assert covered >= 460
