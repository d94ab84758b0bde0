"""Pooling: the union of the parts, whatever their order and cut; what does not belong together is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import calibration
from calibration.baseline.baseline import Baseline
from calibration.baseline.metadata import BaselineFacts
from calibration.baseline.packing import pack_healthy_samples
from calibration.baseline.pooling import pool
from calibration.errors import BaselineError, TapMismatch
from calibration.outputs.read import ClassScores
from calibration.stats.moments import Moments, TapMoments, moments_of_frames
from tests.support.onnx_nets import classifier, pictures

NOW_S = 1.8e9


def part_of(x, healthy_samples=4, **facts) -> Baseline:
    seen = moments_of_frames(x)
    taps = {"input": seen.pool(), "conv": TapMoments(x.mean((0, 2, 3)) * 2.0, np.ones(x.shape[1]), len(x))}
    packed = (
        pack_healthy_samples(x[:healthy_samples]).with_answers(np.full((healthy_samples, 3), 1 / 3), None)
        if healthy_samples
        else None
    )
    known = BaselineFacts(**facts)
    return Baseline(
        Moments(taps), {"input": seen}, "a" * 64, x.shape[1:], len(x), len(x) / 2, 1.7e9, "0.1", packed, known
    )


def recordings(*lengths, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(offset + i, 1 + i, (length, 3, 8, 8)).astype(np.float32)
        for i, length in enumerate(lengths)
    ]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=2, max_size=5),
    offset=st.sampled_from([0.0, -3.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_parts_together_are_the_whole(lengths, offset, seed):
    cut = recordings(*lengths, seed=seed, offset=offset)
    pooled = pool([part_of(x, healthy_samples=0) for x in cut], now_wall_s=NOW_S)
    whole = part_of(np.concatenate(cut), healthy_samples=0)
    np.testing.assert_allclose(pooled.moments["input"].mean, whole.moments["input"].mean, rtol=1e-12)
    np.testing.assert_allclose(pooled.moments["input"].var, whole.moments["input"].var, rtol=1e-12)
    assert (pooled.count, pooled.effective_count) == (whole.count, whole.effective_count)
    assert len(pooled.frames["input"].mean) == whole.count


def test_the_order_does_not_matter_to_the_last_bit():
    parts = [part_of(x) for x in recordings(9, 4, 17)]
    assert pool(parts, now_wall_s=NOW_S).to_bytes() == pool(parts[::-1], now_wall_s=NOW_S).to_bytes()


def test_the_old_name_of_the_samples_still_counts() -> None:
    parts = [part_of(x) for x in recordings(9, 4)]
    with pytest.warns(DeprecationWarning, match="healthy_samples"):
        assert pool(parts, now_wall_s=NOW_S, witness=0).healthy_samples is None


def test_pooled_profiles_of_a_real_model_are_the_profile_of_all_pictures():
    model, x = classifier(seed=4), pictures(48, seed=1)
    parts = [calibration.profile(model, part, healthy_samples=8) for part in (x[:16], x[16:])]
    pooled, whole = pool(parts), calibration.profile(model, x, healthy_samples=8)
    assert list(pooled.moments) == list(whole.moments)
    for tap, moments in whole.moments.items():
        np.testing.assert_allclose(pooled.moments[tap].mean, moments.mean, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(pooled.moments[tap].var, moments.var, rtol=1e-6, atol=1e-9)
    answer = calibration.recalibrate(model, pooled, pictures(32, seed=2))
    assert answer.baseline_id == pooled.id


def test_witness_frames_come_from_every_part_and_stay_within_the_bound():
    cut = recordings(12, 12, 12)
    pooled = pool([part_of(x, healthy_samples=12) for x in cut], healthy_samples=9, now_wall_s=NOW_S)
    assert pooled.healthy_samples is not None
    means = pooled.healthy_samples.samples().mean(axis=(1, 2, 3))
    assert [int(((means > i - 0.5) & (means < i + 0.5)).sum()) for i in range(3)] == [3, 3, 3]
    assert pooled.healthy_samples.probabilities is not None
    assert len(pooled.healthy_samples.probabilities) == 9


def test_no_pictures_on_request_and_bounded_frame_moments():
    pooled = pool([part_of(x) for x in recordings(12, 12)], healthy_samples=0, frames=10, now_wall_s=NOW_S)
    assert pooled.healthy_samples is None
    assert pooled.frames["input"].mean.shape == (10, 3)


def test_it_is_as_old_as_its_oldest_part_and_ends_with_the_first():
    one, two = recordings(8, 8)
    parts = [
        part_of(one, streams=("belt",), bundle="m/1", expires_wall_s=2e9),
        replace(part_of(two, streams=("gate",), bundle="m/1"), created_wall_s=1.6e9),
    ]
    pooled = pool(parts, name="fleet", now_wall_s=NOW_S)
    assert pooled.created_wall_s == 1.6e9
    assert pooled.facts.streams == ("belt", "gate")
    assert (pooled.name, pooled.facts.bundle, pooled.facts.expires_wall_s) == ("fleet", "m/1", 2e9)


def test_what_does_not_belong_together_is_refused():
    one, two = (part_of(x, preprocessing="p1") for x in recordings(8, 8))
    other_taps = Moments({"input": two.moments["input"]})
    for wrong, says in (
        (replace(two, model_sha256="b" * 64), "model"),
        (replace(two, input_shape=(3, 9, 9)), "input"),
        (replace(two, facts=BaselineFacts(preprocessing="p2")), "preprocessing"),
        (one, "recording"),
    ):
        with pytest.raises(BaselineError, match=says):
            pool([one, wrong])
    with pytest.raises(BaselineError):
        pool([one])
    with pytest.raises(TapMismatch):
        pool([one, replace(two, moments=other_taps)])


def told(part, kind):
    healthy_samples = part.healthy_samples.with_answers(part.healthy_samples.answers, kind)
    return replace(part, healthy_samples=healthy_samples)


def test_one_part_that_knows_what_the_scores_are_tells_for_all():
    one, other = (part_of(x) for x in recordings(9, 4))
    pooled = pool([one, told(other, ClassScores.LOGITS)]).healthy_samples
    assert pooled.layout is ClassScores.LOGITS
    assert len(pooled.probabilities) == len(pooled)


def test_parts_whose_answers_were_read_in_different_ways_keep_none():
    one, other = (part_of(x) for x in recordings(9, 4))
    pooled = pool([told(one, ClassScores.PROBABILITIES), told(other, ClassScores.LOGITS)]).healthy_samples
    assert pooled.answers is None
    assert len(pooled) == 8


def test_the_samples_of_a_part_stay_together_and_in_their_order():
    """A search splits them by quarters, so that neighbours in time seldom teach and judge."""
    place = np.arange(40, dtype=np.float32).reshape(40, 1, 1, 1)
    cut = [100.0 * i + place + np.zeros((40, 3, 8, 8), np.float32) for i in range(3)]
    pooled = pool([part_of(x, healthy_samples=40) for x in cut], healthy_samples=96, now_wall_s=NOW_S)
    places = pooled.healthy_samples.samples().mean(axis=(1, 2, 3)).round().astype(int)
    assert len(places) == 96
    parts = places // 100
    assert np.count_nonzero(np.diff(parts)) == 2
    assert all((np.diff(places[parts == part]) > 0).all() for part in range(3))
