import math

import numpy as np
import pytest

from edge_runtime.datatypes import Detection, Label
from edge_runtime.deployment.rollout_policy.comparison import Comparison, compare
from edge_runtime.deployment.rollout_policy.figures import SHOWN_LABELS, ArmFigures, ArmSummary
from edge_runtime.deployment.rollout_policy.intervals import (
    difference_interval,
    frames_needed,
    mean_frames_needed,
    paired_difference_interval,
)
from edge_runtime.deployment.rollout_policy.pairs import PairFigures, PairSummary
from edge_runtime.deployment.rollout_policy.plan import Stage
from edge_runtime.inference.postprocess.postprocessor import Answer

NOBODY, NO_PAIRS = ArmFigures().summary(), PairFigures().summary()


def said(label: str, score: float = 0.9) -> Answer:
    return Answer(top=(Label(0, label, score),))


def arm(*answers: Answer) -> ArmSummary:
    figures = ArmFigures()
    for answer in answers:
        figures.note_answer(answer, 1.0)
    return figures.summary()


def pairs(*answers: tuple[Answer, Answer]) -> PairSummary:
    """Of (active, candidate)."""
    figures = PairFigures()
    for active, candidate in answers:
        figures.note(active, candidate)
    return figures.summary()


def by_name(found: tuple[Comparison, ...]) -> dict[tuple[str, str | None], Comparison]:
    return {(one.name, one.label): one for one in found}


def ends(one: Comparison) -> tuple[float, float, float]:
    return one.difference, one.low, one.high


def test_a_label_on_the_same_frames_has_newcombes_interval_for_pairs():
    found = compare(
        Stage.SHADOW,
        NOBODY,
        NOBODY,
        pairs(
            *[(said("bolt"), said("bolt"))] * 20, *[(said("nut"), said("bolt"))] * 12,
            *[(said("bolt"), said("nut"))] * 2, *[(said("nut"), said("nut"))] * 16,
        ),
    )  # fmt: skip
    one = by_name(found)["label_share", "bolt"]
    wanted = paired_difference_interval(20, 12, 2, 16)
    assert ends(one) == (pytest.approx(0.2), wanted.low, wanted.high)
    assert (one.is_paired, one.frames, one.active_frames, one.frames_needed) == (True, 50, 50, None)
    other = by_name(found)["label_share", "nut"]
    assert ends(other) == tuple(pytest.approx(-end) for end in (0.2, wanted.high, wanted.low))


def test_frames_of_each_arm_are_compared_as_independent_ones():
    candidate = arm(*[said("bolt")] * 56, *[said("nut", 0.5)] * 14)
    active = arm(*[said("bolt")] * 48, *[said("nut", 0.5)] * 32)
    found = by_name(compare(Stage.CANARY, candidate, active, NO_PAIRS))
    wanted = difference_interval(56, 70, 48, 80)
    for key in (("label_share", "bolt"), ("confident_share", None)):
        assert ends(found[key]) == (wanted.estimate, wanted.low, wanted.high)
        assert (found[key].is_paired, found[key].frames, found[key].active_frames) == (False, 70, 80)
    confidence = found["confidence", None]
    assert confidence.difference == pytest.approx(0.4 * 0.2)
    assert 0 < confidence.low < confidence.difference < confidence.high


def test_tells_how_many_frames_a_difference_needs_that_is_not_told_yet():
    candidate = arm(*[said("bolt")] * 88, *[said("nut")] * 12)
    active = arm(*[said("bolt")] * 85, *[said("nut")] * 15)
    one = by_name(compare(Stage.CANARY, candidate, active, NO_PAIRS))["label_share", "bolt"]
    assert one.low < 0 < one.high
    assert one.frames_needed == frames_needed(0.85, 0.03)
    paired = pairs(
        *[(said("a"), said("a"))] * 90, (said("b"), said("a")), (said("b"), said("a")), (said("a"), said("b"))
    )
    one = by_name(compare(Stage.SHADOW, NOBODY, NOBODY, paired))["label_share", "a"]
    assert one.frames_needed == mean_frames_needed(3 / 93 - (1 / 93) ** 2, 1 / 93)


def test_equal_arms_differ_by_nothing_and_no_number_of_frames_tells_them_apart():
    alike = arm(*[said("a"), said("b", 0.5)] * 30)
    same = pairs(*[(said("a"), said("a")), (said("b", 0.5), said("b", 0.5))] * 30)
    for found in (compare(Stage.CANARY, alike, alike, NO_PAIRS), compare(Stage.SHADOW, alike, alike, same)):
        assert {one.name for one in found} == {"confidence", "confident_share", "label_share"}
        for one in found:
            assert (one.difference, one.frames_needed) == (pytest.approx(0.0), None)
            assert one.low <= 0 <= one.high


def test_where_the_arms_see_other_things_nothing_is_compared():
    alike, same = arm(*[said("a")] * 30), pairs(*[(said("a"), said("a"))] * 30)
    assert compare(Stage.CANARY, alike, alike, same, are_scenes_alike=False) == ()
    assert compare(Stage.WATCHED, alike, alike, same) == ()
    assert compare(Stage.STAGED, alike, alike, same) == ()
    for stage in (Stage.SHADOW, Stage.CANARY):
        assert compare(stage, NOBODY, NOBODY, NO_PAIRS) == ()


def test_raw_outputs_and_empty_scenes_have_no_confidence_to_compare():
    raw, empty = Answer(outputs={"x": np.zeros(3, np.float32)}), Answer(detections=())
    assert compare(Stage.SHADOW, NOBODY, NOBODY, pairs((raw, raw))) == ()
    found = compare(Stage.SHADOW, NOBODY, NOBODY, pairs((empty, empty)))
    assert [one.name for one in found] == ["label_share"]
    person = Answer(detections=(Detection(0, "person", 0.7, (0.0, 0.0, 9.0, 9.0)),))
    found = compare(Stage.CANARY, arm(person), arm(empty), NO_PAIRS)
    assert {one.name for one in found} == {"label_share"}


def test_an_answer_that_is_no_number_is_no_pair():
    assert pairs((said("a"), said("a", math.nan))) == NO_PAIRS


def test_a_label_whose_count_the_candidate_does_not_tell_is_left_out():
    many = [said(f"label {i}") for i in range(SHOWN_LABELS)]
    found = compare(Stage.CANARY, arm(*many * 2), arm(*[said("rare")] * 5, said("label 0")), NO_PAIRS)
    assert {one.label for one in found if one.label} == {"label 0"}


@pytest.mark.parametrize(("stage", "is_paired"), [(Stage.SHADOW, True), (Stage.CANARY, False)])
def test_the_interval_of_mean_confidence_covers_the_true_difference(stage, is_paired):
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        theirs = rng.beta(8, 2, 200)
        ours = np.clip((theirs if is_paired else rng.beta(8, 2, 200)) - rng.uniform(0, 0.1, 200), 0, 1)
        both = [
            (said("a", float(one)), said("a", float(other))) for one, other in zip(theirs, ours, strict=True)
        ]
        active, candidate = (arm(*answers) for answers in zip(*both, strict=True))
        one = by_name(compare(stage, candidate, active, pairs(*both)))["confidence", None]
        covered += one.low <= -0.05 <= one.high
    assert covered >= 276  # 285 - 2.4 standard deviations


def test_a_bounded_number_of_labels_is_counted():
    figures = PairFigures()
    for i in range(5000):
        figures.note(said(f"a{i}"), said(f"b{i}"))
    assert sum(counts.frames for _, counts in figures.summary().labels) == 3 * 5000
