"""The sums behind everything: exact whatever the cut, the order and the offset."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import DataError, TapMismatch
from calibration.stats.moments import (
    FrameMoments,
    Moments,
    TapMoments,
    blend,
    merge,
    merge_taps,
    moments_of_frames,
)


def of(x: np.ndarray) -> TapMoments:
    """Direct formula over (N, C)."""
    return TapMoments(x.mean(0), x.var(0), float(len(x)))


@settings(max_examples=50, deadline=None)
@given(cut=st.integers(1, 39), offset=st.sampled_from([0.0, 1e4, -1e6]), seed=st.integers(0, 9))
def test_merging_is_exact_for_any_cut_and_order(cut: int, offset: float, seed: int) -> None:
    x = np.random.default_rng(seed).normal(offset, 1, (40, 3))
    for parts in ((x[:cut], x[cut:]), (x[cut:], x[:cut])):
        merged = merge_taps(of(parts[0]), of(parts[1]))
        np.testing.assert_allclose(merged.mean, x.mean(0), rtol=1e-12)
        np.testing.assert_allclose(merged.var, x.var(0), rtol=1e-6)
        assert merged.count == 40


def test_frames_far_from_zero_keep_their_variance() -> None:
    x = np.random.default_rng(0).normal(10_000, 1, (5, 2, 30, 30)).astype(np.float32)
    pooled = moments_of_frames(x).pool()
    wide = x.astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
    np.testing.assert_allclose(pooled.mean, wide.mean(1), rtol=1e-12)
    np.testing.assert_allclose(pooled.var, wide.var(1), rtol=1e-9)


def test_one_frame_and_zero_variance_are_no_special_case() -> None:
    pooled = moments_of_frames(np.full((1, 2, 4, 4), 7, np.float32)).pool()
    assert pooled.mean.tolist() == [7, 7]
    assert pooled.var.tolist() == [0, 0]


@pytest.mark.parametrize("prior", [0.0, 0.3, 0.6, 1.0])
def test_blend_equals_pooling_the_samples_in_that_ratio(prior: float) -> None:
    rng = np.random.default_rng(1)
    observed, healthy = rng.normal(3, 2, (400, 2)), rng.normal(-1, 1, (400, 2))
    mixed = blend(Moments({"t": of(observed)}), Moments({"t": of(healthy)}), prior)["t"]
    weights = np.repeat([(1 - prior) / 400, prior / 400], 400)
    both = np.concatenate([observed, healthy])
    mean = weights @ both
    np.testing.assert_allclose(mixed.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(mixed.var, weights @ (both - mean) ** 2, rtol=1e-12)


def test_blending_a_baseline_with_itself_changes_no_bit() -> None:
    healthy = of(np.random.default_rng(2).normal(0.1, 0.7, (33, 5)))
    mixed = blend(Moments({"t": healthy}), Moments({"t": healthy}), 0.3)["t"]
    assert (mixed.mean == healthy.mean).all()
    assert (mixed.var == healthy.var).all()


def test_other_taps_or_channels_are_named() -> None:
    one = Moments({"a": of(np.zeros((2, 3))), "b": of(np.zeros((2, 3)))})
    other = Moments({"a": of(np.zeros((2, 4))), "c": of(np.zeros((2, 3)))})
    with pytest.raises(TapMismatch, match=r"\bb\b.*\ba\b.*3.*4") as caught:
        merge(one, other)
    assert len(caught.value.problems) == 3


def test_a_prior_outside_its_range_is_refused() -> None:
    one = Moments({"a": of(np.zeros((2, 3)))})
    with pytest.raises(ValueError, match=r"0\.\.1"):
        blend(one, one, 1.5)


@pytest.mark.parametrize(
    ("mean", "var"), [([np.nan], [1.0]), ([0.0], [-1.0]), ([0.0, 1.0], [1.0]), ([np.inf], [1.0])]
)
def test_moments_that_cannot_be_are_refused(mean: list[float], var: list[float]) -> None:
    with pytest.raises(DataError):
        TapMoments(np.asarray(mean), np.asarray(var), 1.0)
    with pytest.raises(DataError):
        FrameMoments(np.zeros(3), np.zeros(3))
