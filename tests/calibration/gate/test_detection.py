from dataclasses import replace

import numpy as np
import pytest

from calibration.gate import reasons
from calibration.gate.detection import choose, constant_f1, soft_f1
from calibration.gate.evidence import Evidence
from calibration.outputs.detections import Detections, labels_as_detections

FRAMES, OBJECTS = 48, 4


def detections(rate: float, *, frames: int = FRAMES, false: int = 0, seed: int = 0) -> Detections:
    """Objects that stand still, each found surely with the chance ``rate``, and so many false ones a frame."""
    rng = np.random.default_rng(seed)
    left = np.arange(OBJECTS + false) * 10.0
    boxes = np.stack([left, left * 0, left + 8, left * 0 + 20], axis=1).astype(np.float32)
    boxes[OBJECTS:] += 500
    scores = np.where(rng.uniform(0, 1, (frames, OBJECTS + false)) < rate, 0.9, 0.1)
    scores[:, OBJECTS:] = 0.9
    return Detections(
        np.broadcast_to(boxes, (frames, *boxes.shape)).copy(),
        scores.astype(np.float32),
        np.ones((frames, OBJECTS + false), np.int32),
    )


HEALTHY = detections(1.0)
IDENTITY = Evidence("identity", detections(0.4, frames=20), detections(0.4))
GOOD = Evidence("good", detections(0.9, frames=20), detections(0.9))


def test_a_candidate_that_finds_what_was_lost_is_accepted() -> None:
    choice = choose(IDENTITY, [GOOD], HEALTHY)
    assert choice.accepted
    assert choice.name == "good"
    assert "F1 of 0.9" in choice.reasons[-1]
    assert choice.scores["good"]["gain"] > 0.2


def test_the_best_of_several_is_chosen() -> None:
    fair = Evidence("fair", GOOD.live, detections(0.7))
    assert choose(IDENTITY, [fair, GOOD], HEALTHY).name == "good"


def test_no_gain_changes_nothing() -> None:
    same = replace(IDENTITY, name="same", simulated=detections(0.42, seed=1))
    choice = choose(IDENTITY, [same], HEALTHY)
    assert not choice.accepted
    assert reasons.NOT_SURE in choice.reasons[-1]


def test_a_gain_from_a_single_block_is_not_sure() -> None:
    assert IDENTITY.simulated is not None
    lucky = Detections(IDENTITY.simulated.boxes, IDENTITY.simulated.scores.copy(), IDENTITY.simulated.classes)
    lucky.scores[:4] = 0.9  # four neighbours of a fixed camera: one observation
    choice = choose(IDENTITY, [replace(IDENTITY, name="lucky", simulated=lucky)], HEALTHY)
    assert choice.scores["lucky"]["gain"] > 0.03
    assert not choice.accepted


@pytest.mark.parametrize(("rate", "false"), [(0.1, 0), (0.9, 12)])
def test_live_objects_that_vanish_or_multiply_are_a_veto(rate: float, false: int) -> None:
    doubtful = replace(GOOD, live=detections(rate, frames=20, false=false))
    choice = choose(IDENTITY, [doubtful], HEALTHY)
    assert not choice.accepted
    assert any("implausibly" in reason for reason in choice.reasons)


def test_a_busier_scene_than_the_healthy_one_is_no_veto() -> None:
    busy = replace(IDENTITY, live=detections(0.9, frames=20, false=6))
    assert choose(busy, [replace(GOOD, live=detections(0.9, frames=20, false=8))], HEALTHY).accepted


def test_an_empty_live_scene_can_be_judged() -> None:
    empty = replace(IDENTITY, live=detections(0.0, frames=20))
    assert choose(empty, [replace(GOOD, live=detections(0.0, frames=20))], HEALTHY).accepted


def test_false_alarms_on_empty_healthy_frames_count_against_a_candidate() -> None:
    half = HEALTHY.scores.copy()
    half[FRAMES // 2 :] = 0
    healthy = Detections(HEALTHY.boxes, half, HEALTHY.classes)
    assert IDENTITY.simulated is not None
    quiet = Detections(
        IDENTITY.simulated.boxes, IDENTITY.simulated.scores * (half > 0), IDENTITY.simulated.classes
    )
    noisy = replace(GOOD, simulated=detections(0.9, false=2))
    assert soft_f1(HEALTHY, healthy) < 0.7
    assert not choose(replace(IDENTITY, simulated=quiet), [noisy], healthy).accepted


def test_too_little_to_judge_on_changes_nothing() -> None:
    few = replace(IDENTITY, live=detections(0.4, frames=7))
    assert "too few" in choose(few, [replace(GOOD, live=few.live)], HEALTHY).reasons[0]
    assert "simulated" in choose(replace(IDENTITY, simulated=None), [], None).reasons[0]
    nothing = detections(0.0)
    text = choose(IDENTITY, [GOOD], nothing).reasons[0]
    assert "objects in all" in text


def test_answers_that_are_not_finite_are_left_out() -> None:
    broken = detections(1.0)
    broken.scores[5] = np.nan
    choice = choose(IDENTITY, [replace(GOOD, name="broken", simulated=broken), GOOD], HEALTHY)
    assert choice.name == "good"
    assert "broken" in choice.reasons[0]
    assert not choose(replace(IDENTITY, simulated=broken), [GOOD], HEALTHY).accepted


def test_other_frames_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="live"):
        choose(IDENTITY, [replace(GOOD, live=detections(0.9, frames=19))], HEALTHY)
    with pytest.raises(ValueError, match="simulated"):
        choose(IDENTITY, [replace(GOOD, simulated=detections(0.9, frames=19))], HEALTHY)


@pytest.mark.parametrize(
    ("before", "after", "false", "is_accepted"),
    [
        (0.0, 0.06, 0, False),  # what a map judged as boxes gave
        (0.02, 0.1, 0, False),
        (0.05, 0.18, 0, False),
        (0.02, 0.5, 9, False),  # finds some, and makes up twice as many
        (0.3, 0.1, 0, False),
        (0.02, 0.35, 0, True),
        (0.1, 0.5, 1, True),
        (0.3, 0.6, 0, True),
        (0.5, 0.95, 0, True),
        (0.8, 0.95, 0, True),
    ],
)
def test_a_witness_that_finds_little_decides_nothing_whatever_it_gained(
    before: float, after: float, false: int, is_accepted: bool
) -> None:
    unpatched = Evidence("identity", detections(0.5, frames=20), detections(before))
    better = Evidence("better", detections(0.5, frames=20), detections(after, false=false))
    choice = choose(unpatched, [better], HEALTHY)
    assert choice.accepted is is_accepted, choice.reasons
    assert (choice.scores["better"]["gain"] > 0.03) is (before < after)


def labels(rates: list[float], frames: int = FRAMES, seed: int = 0) -> Detections:
    """Label k is right in a share ``rates[k]`` of the pictures."""
    rng = np.random.default_rng(seed)
    return labels_as_detections(np.where(rng.uniform(0, 1, (frames, len(rates))) < rates, 0.95, 0.02))


def test_sets_of_labels_are_judged_by_their_agreement() -> None:
    healthy = labels([0.5, 0.4, 0.3, 0.2])
    dim = labels_as_detections(np.full((FRAMES, 4), 0.02))
    unpatched = Evidence("identity", labels([0.1] * 4, 20), dim)
    good = Evidence("good", labels([0.4] * 4, 20), healthy)
    assert choose(unpatched, [good], healthy).accepted
    other = Evidence("other", good.live, labels([0.5, 0.4, 0.3, 0.2], seed=1))
    assert not choose(unpatched, [other], healthy).accepted


def test_on_a_scene_of_one_label_always_answering_it_proves_nothing() -> None:
    healthy = labels([1.0, 0.0, 0.0])
    unpatched = Evidence("identity", labels([0.3, 0.3, 0.3], 20), labels([0.3, 0.3, 0.3]))
    assert constant_f1(healthy) == pytest.approx(1.0)
    assert not choose(unpatched, [Evidence("always", labels([1.0, 0, 0], 20), healthy)], healthy).accepted
