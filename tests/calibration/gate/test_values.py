"""When a patch of a model that answers numbers is good enough."""

from dataclasses import replace

import numpy as np
import pytest

from calibration.gate.evidence import Evidence
from calibration.gate.values import DEFAULTS, choose, fidelity, for_reconstructions, mean_error
from calibration.outputs.values import Numbers

HEALTHY = Numbers(np.random.default_rng(0).normal([5, -100], [1, 30], (64, 2)))


def evidence(name: str, off: float, noise: float = 0.0, live: float | None = None) -> Evidence[Numbers]:
    """Answers that are off by so many healthy spreads, live ones as well unless told."""
    rng = np.random.default_rng(1)
    spread = HEALTHY.rows.std(axis=0)
    simulated = HEALTHY.rows + spread * (off + noise * rng.normal(size=(64, 2)))
    seen = HEALTHY.rows[:32] + spread * (off if live is None else live)
    return Evidence(name, Numbers(seen), Numbers(simulated))


def test_the_nearest_candidate_is_taken():
    found = choose(evidence("identity", 2), [evidence("a", 0.5), evidence("b", 0.1)], HEALTHY)
    assert (found.accepted, found.name) == (True, "b")
    assert found.scores["b"]["gain"] == pytest.approx(4 - 0.01, abs=0.05)
    assert found.scores["identity"]["gain"] == 0


@pytest.mark.parametrize(
    ("unpatched", "candidate"),
    [
        (evidence("identity", 0.3), evidence("a", 0.2)),  # too little to gain
        (evidence("identity", 2), evidence("a", 1.2)),  # nearer, and still worse than one answer for all
        (evidence("identity", 0.1), evidence("a", 2)),  # worse
        (evidence("identity", 0, noise=0.4), evidence("a", 0, noise=0.4)),  # the same
        (evidence("identity", 2, live=0.2), evidence("a", 0, live=9)),  # the live answers go astray
    ],
    ids=["little", "no better than a constant", "worse", "same", "astray"],
)
def test_in_doubt_nothing_is_changed(unpatched, candidate):
    found = choose(unpatched, [candidate], HEALTHY)
    assert (found.accepted, found.name) == (False, "identity")
    assert all(found.reasons)


@pytest.mark.parametrize(("live", "is_good"), [(0.0, True), (4.0, False), (-4.0, False)])
def test_live_scores_of_a_reconstruction_must_be_in_the_healthy_range(live, is_good):
    unpatched, candidate = evidence("identity", 9), evidence("a", 2, live=live)
    assert choose(unpatched, [candidate], HEALTHY, for_reconstructions(DEFAULTS)).accepted is is_good
    assert not choose(unpatched, [candidate], HEALTHY).accepted


@pytest.mark.parametrize(
    "healthy",
    [None, Numbers(HEALTHY.rows[:8]), Numbers(np.full((64, 2), 3.0))],
    ids=["none", "few", "constant"],
)
def test_without_healthy_answers_that_differ_nothing_is_judged(healthy):
    few = None if healthy is None else len(healthy)
    parts = [evidence(name, off) for name, off in (("identity", 2), ("a", 0))]
    cut = [
        Evidence(one.name, one.live, None if few is None else Numbers(one.simulated.rows[:few]))
        for one in parts
    ]
    found = choose(cut[0], cut[1:], healthy)
    assert not found.accepted
    assert found.scores == {}
    assert all(found.reasons)


def test_answers_that_are_not_finite_are_left_out():
    broken = Evidence("a", Numbers(np.full((32, 2), np.nan)), HEALTHY)
    found = choose(evidence("identity", 2), [broken, evidence("b", 0)], HEALTHY)
    assert (found.accepted, found.name) == (True, "b")
    assert "a" not in found.scores


def test_a_few_wild_answers_where_there_were_none_are_too_many():
    near = evidence("a", 0)
    rows = near.simulated.rows.copy()
    rows[5, 0] = 1e4
    found = choose(evidence("identity", 2), [Evidence("a", near.live, Numbers(rows))], HEALTHY)
    assert not found.accepted
    assert found.scores["a"]["is_plausible"] == 0


def test_a_patch_that_errs_more_under_drifts_that_others_could_have_told_is_refused():
    before = replace(evidence("identity", 2), resampled_error=4.0)
    worse = replace(evidence("a", 0.1), resampled_error=4.1)
    safe = replace(evidence("b", 0.5), resampled_error=0.3)
    assert not choose(before, [worse], HEALTHY).accepted
    found = choose(before, [worse, safe], HEALTHY)
    assert (found.accepted, found.name) == (True, "b")
    assert found.scores["a"]["resampled_error"] == 4.1


def test_without_other_drifts_no_score_speaks_of_them():
    found = choose(evidence("identity", 2), [evidence("a", 0.1)], HEALTHY)
    assert all("resampled_error" not in scores for scores in found.scores.values())


def test_a_wild_sample_counts_in_full_under_other_drifts():
    spread = HEALTHY.rows.std(axis=0)
    rounds = np.concatenate([HEALTHY.rows, HEALTHY.rows + 2 * spread])
    assert mean_error(Numbers(rounds), HEALTHY) == pytest.approx(2.0)
    rounds[0, 0] += 1000 * spread[0]
    assert mean_error(Numbers(rounds), HEALTHY) == pytest.approx(2.0 + 1e6 / (2 * 64 * 2))


def test_units_do_not_matter_and_one_wild_sample_counts_little():
    off = fidelity(evidence("a", 0.5).simulated, HEALTHY)
    assert off == pytest.approx(np.full(64, -0.25))
    wild = HEALTHY.rows.copy()
    wild[0] = 1e9
    assert fidelity(Numbers(wild), HEALTHY).mean() == pytest.approx(-9 / 64)


def test_the_defaults_ask_for_more_than_the_mean_gives():
    assert DEFAULTS.most_error < 1
