"""Behaviours of the gate, on hand-made answers."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest

from calibration.gate import classification, reasons, scores
from calibration.gate.classification import GateSettings
from calibration.gate.evidence import Evidence

CLASSES = 10


def answers(
    right: float, count: int = 32, classes: int = CLASSES, seed: int = 0, sure: float = 0.9
) -> np.ndarray:
    """Probabilities that give the class i % classes on a share ``right`` of the frames, else another one."""
    rng = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    wrong = np.arange(count) >= round(right * count)
    shown = np.where(
        rng.permutation(wrong), (truth + 1 + rng.integers(0, CLASSES - 1, count)) % CLASSES, truth
    )
    p = np.full((count, CLASSES), (1 - sure) / (CLASSES - 1))
    p[np.arange(count), shown] = sure
    return p * rng.uniform(0.9, 1.1, p.shape)


def evidence(name: str, right: float, seed: int = 0, classes: int = CLASSES, **kind: bool) -> Evidence:
    """A candidate that is as right on live frames of so many classes as on simulated ones of all."""
    return Evidence(name, answers(right, classes=classes, seed=seed), answers(right, seed=seed + 50), **kind)


def conservative(name: str, live: np.ndarray, again: np.ndarray | None = None) -> Evidence:
    return Evidence(name, live, again, is_conservative=True)


HEALTHY = answers(1.0, seed=99)


def test_the_clearly_more_faithful_candidate_is_chosen_and_the_reason_has_figures():
    choice = classification.choose(
        evidence("identity", 0.5), [evidence("bad", 0.3, 1), evidence("good", 0.95, 2)], HEALTHY
    )
    assert choice.accepted
    assert choice.name == "good"
    assert "good" in choice.reasons[-1]
    assert "%" in choice.reasons[-1]
    assert set(choice.scores) == {"identity", "bad", "good"}
    assert choice.scores["good"]["gain"] > choice.scores["good"]["gain_error"]


def test_nothing_is_done_when_no_candidate_is_surely_better():
    choice = classification.choose(
        evidence("identity", 0.7), [evidence("same", 0.72, 1), evidence("bad", 0.2, 2)], HEALTHY
    )
    assert not choice.accepted
    assert choice.name == "identity"
    assert reasons.NOT_SURE in choice.reasons[-1]


def test_a_sure_but_tiny_gain_is_not_worth_a_change():
    identity = Evidence("identity", HEALTHY, HEALTHY)
    hair = Evidence("hair", HEALTHY, HEALTHY * 1.001)
    assert not classification.choose(identity, [hair], HEALTHY).accepted


def test_one_frame_lost_entirely_does_not_outvote_many_better_ones():
    mild = np.full_like(HEALTHY, 0.1)
    better = HEALTHY.copy()
    better[0] = 0.0
    better[0, 5] = 1.0
    choice = classification.choose(
        Evidence("identity", mild, mild), [Evidence("better", HEALTHY, better)], HEALTHY
    )
    assert choice.accepted


@pytest.mark.parametrize(("right", "accepted"), [(0.62, False), (1.0, True)])
def test_with_few_classes_in_view_only_an_overwhelming_gain_is_believed(right, accepted):
    identity = evidence("identity", 0.45, classes=2)
    candidate = Evidence("candidate", identity.live, evidence("", right, 2).simulated)
    two_classes = replace(identity, live=answers(1.0, classes=2))
    candidate = replace(candidate, live=answers(1.0, classes=2))
    choice = classification.choose(two_classes, [candidate], HEALTHY)
    assert choice.accepted is accepted
    assert "2.0 classes" in choice.reasons[0]


def test_on_a_one_class_scene_nothing_is_changed_whatever_the_witness_says():
    identity = replace(evidence("identity", 0.3), live=answers(1.0, classes=1))
    candidate = replace(evidence("candidate", 1.0), live=answers(1.0, classes=1))
    choice = classification.choose(identity, [candidate], HEALTHY)
    assert not choice.accepted
    assert choice.reasons[0] == reasons.one_class_scene(1.0)


def test_answers_that_a_drift_collapsed_to_one_class_are_no_one_class_scene():
    identity = replace(evidence("identity", 0.3), live=answers(1.0, classes=1))
    assert classification.choose(identity, [evidence("candidate", 1.0)], HEALTHY).accepted


def test_a_site_that_always_shows_four_classes_is_not_treated_as_few_class():
    always = answers(1.0, classes=4, seed=5)
    identity = Evidence("identity", answers(0.5, classes=4), answers(0.5, classes=4))
    good = Evidence("good", answers(1.0, classes=4), answers(1.0, classes=4, seed=3))
    choice = classification.choose(identity, [good], always)
    assert choice.accepted
    assert len(choice.reasons) == 1


def test_a_site_that_showed_one_class_while_it_was_healthy_cannot_witness():
    always = answers(1.0, classes=1, seed=5)
    identity = Evidence("identity", answers(0.5), answers(0.3, classes=1))
    good = Evidence("good", answers(1.0), answers(1.0, classes=1, seed=3))
    choice = classification.choose(identity, [good], always)
    assert not choice.accepted
    assert choice.reasons[0] == reasons.few_healthy_classes(1.0, 3.0)


def test_a_figure_below_a_limit_does_not_read_as_the_limit():
    assert "2.99" in reasons.few_healthy_classes(2.9999, 3.0)


def test_the_reason_tells_how_many_were_tried_and_how_many_were_judged_on_all_frames():
    identity, good = evidence("identity", 0.5), evidence("good", 0.95, 2)
    screened = classification.choose(identity, [good], HEALTHY, tried=16)
    assert reasons.best_of("good", 1, 16) in screened.reasons[-1]
    alone = classification.choose(identity, [good], HEALTHY, tried=1)
    assert reasons.best_of("good", 1, 1) in alone.reasons[-1]


def test_without_a_witness_a_clear_margin_on_diverse_frames_is_needed():
    identity = Evidence("identity", answers(0.9, sure=0.5))
    assert (
        classification.choose(identity, [conservative("sharper", answers(0.9, sure=0.9))]).name == "sharper"
    )
    assert not classification.choose(identity, [conservative("same", answers(0.9, sure=0.51))]).accepted


def test_without_a_witness_a_one_class_scene_changes_nothing():
    identity = Evidence("identity", answers(1.0, classes=1, sure=0.5))
    choice = classification.choose(identity, [conservative("sharper", answers(1.0, classes=1, sure=0.99))])
    assert not choice.accepted
    assert "1.0 classes" in choice.reasons[0]


def test_without_a_witness_answers_collapsed_to_one_class_may_be_put_right():
    identity = Evidence("identity", answers(1.0, classes=1, sure=0.9))
    assert classification.choose(identity, [conservative("input", answers(1.0, sure=0.9))]).accepted


def test_without_a_witness_few_frames_need_a_larger_margin():
    def settings_with(count: int) -> bool:
        identity = Evidence("identity", answers(0.9, count=count, sure=0.6))
        return classification.choose(
            identity, [conservative("sharper", answers(0.9, count=count, sure=0.66))]
        ).accepted

    assert settings_with(64)
    assert not settings_with(10)


def test_without_a_witness_only_gentle_candidates_may_win():
    identity = Evidence("identity", answers(0.9, sure=0.5))
    deep = Evidence("all taps", answers(0.9, sure=0.95))
    assert not classification.choose(identity, [deep]).accepted


def test_labels_decide_by_an_exact_test_and_need_no_witness():
    labels = np.arange(32) % CLASSES
    good, noise = Evidence("good", answers(0.95)), Evidence("noise", answers(0.55, seed=3))
    identity = Evidence("identity", answers(0.5, seed=2))
    choice = classification.choose(identity, [noise, good], labels=labels)
    assert choice.name == "good"
    assert choice.scores["good"]["p_value"] < 0.05
    assert not classification.choose(identity, [noise], labels=labels).accepted


def test_labels_too_few_to_prove_it_leave_the_word_to_the_witness_and_keep_a_veto():
    labels = np.arange(32) % CLASSES
    identity = Evidence("identity", answers(0.9), answers(0.5, seed=7))
    good = Evidence("good", answers(0.95), answers(0.95, seed=8))
    vetoed = Evidence("vetoed", answers(0.8), answers(1.0, seed=9))
    choice = classification.choose(identity, [good, vetoed], HEALTHY, labels)
    assert choice.name == "good"
    assert "labels" in choice.reasons[0]
    assert not classification.choose(identity, [vetoed], HEALTHY, labels).accepted


def test_labels_overrule_a_one_class_scene():
    labels = np.zeros(32, np.int64)
    identity, good = (Evidence(n, answers(r, classes=1)) for n, r in (("identity", 0.4), ("good", 1.0)))
    assert classification.choose(identity, [good], labels=labels).accepted


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (5, 0), (6, 2), (2, 6)])
def test_the_exact_test_is_the_binomial_tail(gained, lost):
    n = gained + lost
    expected = sum(comb(n, i) * 0.5**n for i in range(gained, n + 1))
    before = np.array([False] * gained + [True] * lost + [True] * (40 - n))
    after = np.array([True] * gained + [False] * lost + [True] * (40 - n))
    labels = np.zeros(40, np.int64)

    def shown(right: np.ndarray) -> np.ndarray:
        return np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])

    choice = classification.choose(
        Evidence("identity", shown(before)), [Evidence("c", shown(after))], labels=labels
    )
    assert choice.scores["c"]["p_value"] == pytest.approx(expected)


def test_a_candidate_with_non_finite_answers_is_out_and_named():
    broken = evidence("broken", 1.0, 1)
    broken.live[3, 2] = np.nan
    choice = classification.choose(evidence("identity", 0.5), [broken, evidence("good", 0.95, 2)], HEALTHY)
    assert choice.name == "good"
    assert "broken" in choice.reasons[0]


def test_a_non_finite_identity_changes_nothing():
    identity = evidence("identity", 0.5)
    identity.simulated[0] = np.inf
    assert not classification.choose(identity, [evidence("good", 0.95, 2)], HEALTHY).accepted


def test_too_few_frames_change_nothing():
    few = Evidence("identity", answers(0.5, count=7))
    choice = classification.choose(few, [Evidence("good", answers(1.0, count=7))])
    assert not choice.accepted
    assert "7 " in choice.reasons[-1]


def test_too_few_re_enacted_frames_are_no_witness():
    identity = Evidence("identity", answers(0.9, sure=0.5), answers(0.5, count=4))
    worse = conservative("sharper", answers(0.9, sure=0.9), answers(0.0, count=4))
    assert classification.choose(identity, [worse], answers(1.0, count=4)).accepted


def test_no_candidates_change_nothing():
    assert not classification.choose(evidence("identity", 0.5), [], HEALTHY).accepted
    assert not classification.choose(Evidence("identity", answers(0.5)), []).accepted
    assert not classification.choose(
        Evidence("identity", answers(0.5)), [], labels=np.zeros(32, np.int64)
    ).accepted


def test_order_of_the_candidates_and_of_the_frames_does_not_matter():
    identity, others = evidence("identity", 0.5), [evidence("a", 0.8, 1), evidence("b", 0.95, 2)]
    turn = np.random.default_rng(0).permutation(32)

    def turned(e: Evidence) -> Evidence:
        return replace(e, simulated=e.simulated[turn])

    first = classification.choose(identity, others, HEALTHY)
    second = classification.choose(turned(identity), [turned(e) for e in others[::-1]], HEALTHY[turn])
    assert first.name == second.name
    assert first.scores["b"]["gain"] == pytest.approx(second.scores["b"]["gain"])


def test_answers_that_do_not_fit_together_are_refused():
    identity = evidence("identity", 0.5)
    with pytest.raises(ValueError, match="'short'"):
        classification.choose(identity, [Evidence("short", answers(0.5, count=31), HEALTHY)], HEALTHY)
    with pytest.raises(ValueError, match="simulated"):
        classification.choose(identity, [Evidence("mute", identity.live)], HEALTHY)
    with pytest.raises(ValueError, match="labels"):
        classification.choose(identity, [], labels=np.zeros(3, np.int64))


def test_nuclear_norm_is_highest_for_confident_and_diverse_answers():
    sure_and_diverse, unsure = np.eye(10), np.full((10, 10), 0.1)
    one_class = np.eye(10)[np.zeros(10, int)]
    assert scores.nuclear_norm(sure_and_diverse) == pytest.approx(1.0)
    assert scores.nuclear_norm(unsure) < scores.nuclear_norm(one_class) < 0.4


def test_settings_move_the_bar():
    identity, good = evidence("identity", 0.5), evidence("good", 0.95, 2)
    assert not classification.choose(
        identity, [good], HEALTHY, settings=GateSettings(least_standard_errors=50)
    ).accepted


def test_a_loss_among_the_live_answers_has_to_be_outweighed_by_the_witness():
    before = evidence("", 0.7).simulated
    identity = Evidence("identity", answers(1.0, sure=0.9), before)
    slightly = Evidence("slightly", answers(1.0, sure=0.5), evidence("", 0.8).simulated)
    choice = classification.choose(identity, [slightly], HEALTHY)
    assert not choice.accepted
    assert "nuclear norm" in choice.reasons[0]
    assert choice.scores["slightly"]["gain"] > 0 > choice.scores["slightly"]["evidence"]
    assert classification.choose(identity, [replace(slightly, live=answers(1.0))], HEALTHY).accepted


def test_a_gain_among_the_live_answers_proves_nothing_that_the_witness_does_not_see():
    live = answers(0.9, sure=0.5), answers(0.9, sure=0.95)
    identity, surer = (
        Evidence(name, one, HEALTHY) for name, one in zip(("identity", "surer"), live, strict=True)
    )
    worse = replace(surer, simulated=answers(0.9))
    assert not classification.choose(identity, [worse], HEALTHY).accepted


def test_where_few_classes_are_usual_surer_wrong_answers_are_no_reason():
    healthy = answers(1.0, classes=4, seed=5)
    unsure, sure = (answers(0.6, classes=4, sure=level) for level in (0.5, 0.95))
    assert (unsure.argmax(1) == sure.argmax(1)).all()
    live = answers(1.0, classes=4)
    choice = classification.choose(
        Evidence("identity", live, unsure), [Evidence("surer", live, sure)], healthy
    )
    assert choice.scores["surer"]["classes"] == pytest.approx(4.0)
    assert not choice.accepted


def test_labels_that_fit_no_answer_at_all_are_not_outvoted_by_the_witness():
    labels = np.arange(32) % CLASSES
    wrong = (labels + 5) % CLASSES
    identity = Evidence("identity", answers(1.0), evidence("", 0.4).simulated)
    good = Evidence("good", answers(1.0), evidence("", 1.0).simulated)
    assert classification.choose(identity, [good], HEALTHY, labels).accepted
    assert not classification.choose(identity, [good], HEALTHY, wrong).accepted


def test_few_live_frames_are_compared_with_as_many_healthy_ones():
    many = np.tile(np.eye(24) * 0.9 + 0.1 / 24, (2, 1))
    assert scores.effective_classes(many) == pytest.approx(24)
    assert scores.expected_classes(many, 48) == pytest.approx(24)
    assert 9 <= scores.expected_classes(many, 12) <= 12
    assert 7 <= scores.expected_classes(many, 11) <= 11


@pytest.mark.parametrize(
    ("before", "after", "is_accepted"),
    [
        (0.0, 0.12, False),  # ten classes: one answer for all frames has 0.1
        (0.0, 0.13, False),
        (0.02, 0.1, False),
        (0.05, 0.14, False),
        (0.0, 0.4, True),
        (0.1, 0.45, True),
        (0.1, 0.9, True),
    ],
)
def test_a_candidate_no_better_than_one_answer_for_all_frames_decides_nothing(
    before: float, after: float, is_accepted: bool
) -> None:
    unpatched = Evidence("identity", answers(0.5), answers(before, seed=3, sure=0.99))
    better = Evidence("better", answers(0.5), answers(after, seed=4, sure=0.3))
    choice = classification.choose(unpatched, [better], HEALTHY)
    assert choice.scores["better"]["evidence"] != 0
    assert choice.accepted is is_accepted, choice.reasons


def test_labels_prove_nothing_where_the_best_is_no_better_than_guessing():
    labels = np.arange(64) % CLASSES
    unpatched = Evidence("identity", answers(0.0, count=64))
    for right, is_accepted in ((0.12, False), (0.15, False), (0.4, True), (0.9, True)):
        choice = classification.choose(
            unpatched, [Evidence("better", answers(right, count=64, seed=2))], None, labels
        )
        assert choice.scores["better"]["p_value"] <= 0.05
        assert choice.accepted is is_accepted, right


def weak(sure: float, live: float, name: str = "a") -> Evidence:
    """Answers that are all right: ``sure`` on 256 simulated frames, ``live`` on the live ones."""
    return Evidence(name, answers(1.0, sure=live), answers(1.0, count=256, sure=sure))


SURE_ANSWERS = answers(1.0, count=256, sure=0.9)


@pytest.mark.parametrize(
    ("sure", "live", "accepted"),
    [(0.86, 0.8, True), (0.86, 0.79, False), (0.805, 0.8, False), (0.805, 0.9, True)],
)
def test_a_small_gain_that_is_sure_counts_unless_the_live_answers_got_worse(sure, live, accepted):
    choice = classification.choose(weak(0.8, 0.8, "identity"), [weak(sure, live)], SURE_ANSWERS)
    assert choice.accepted is accepted
    found = choice.scores["a"]
    if sure == 0.86:
        assert GateSettings().sure_gain < found["gain"] < 0.04
        assert found["evidence"] < GateSettings().min_evidence


def test_a_small_gain_never_counts_without_its_error_or_where_the_settings_forbid_it():
    unpatched, candidate = weak(0.8, 0.8, "identity"), weak(0.86, 0.8)
    for settings in (GateSettings(sure_gain=np.inf), GateSettings(sure_standard_errors=1e6)):
        assert not classification.choose(unpatched, [candidate], SURE_ANSWERS, settings=settings).accepted
    scattered = replace(
        candidate, simulated=np.where(np.arange(256)[:, None] % 2, 0.02, 1) * candidate.simulated
    )
    assert not classification.choose(unpatched, [scattered], SURE_ANSWERS).accepted


def test_of_good_ones_the_most_faithful_is_taken_unless_the_live_frames_speak_against_it():
    unpatched = weak(0.5, 0.6, "identity")
    plain, faithful, doubtful = (
        weak(0.7, 0.9, "plain"),
        weak(0.75, 0.7, "faithful"),
        weak(0.85, 0.59, "doubtful"),
    )
    assert classification.choose(unpatched, [plain, faithful], SURE_ANSWERS).name == "faithful"
    choice = classification.choose(unpatched, [plain, doubtful], SURE_ANSWERS)
    assert choice.scores["doubtful"]["evidence"] > GateSettings().min_evidence
    assert choice.name == "plain"
