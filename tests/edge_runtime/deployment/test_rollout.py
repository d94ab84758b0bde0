import pytest

from edge_runtime.datatypes import Generation
from edge_runtime.deployment.rollout import IllegalStep, Rollout, Step

BASE = Generation("parts/4")
P1, P2 = Generation("parts/4", "p1"), Generation("parts/4", "p2")


def test_generations_are_named_after_bundle_and_patch():
    assert (str(BASE), str(P1)) == ("parts/4", "parts/4+p1")


def test_activate_keeps_the_previous_one():
    assert Rollout(BASE).after(Step.ACTIVATE, P1) == Rollout(active=P1, previous=BASE)


def test_roll_back_returns_to_the_previous_generation():
    assert Rollout(P2, previous=P1).after(Step.ROLL_BACK) == Rollout(P1)


def test_roll_back_without_a_previous_one_returns_to_the_base():
    assert Rollout(P1).after(Step.ROLL_BACK) == Rollout(BASE)


def test_to_base_remembers_the_patch():
    assert Rollout(P1).after(Step.TO_BASE) == Rollout(BASE, previous=P1)


@pytest.mark.parametrize(
    ("state", "step", "candidate"),
    [
        (Rollout(BASE), Step.ACTIVATE, None),
        (Rollout(BASE), Step.ACTIVATE, BASE),
        (Rollout(BASE), Step.ROLL_BACK, None),
        (Rollout(BASE), Step.TO_BASE, None),
    ],
)
def test_illegal_steps_raise_and_change_nothing(state, step, candidate):
    before = repr(state)
    with pytest.raises(IllegalStep):
        state.after(step, candidate)
    assert repr(state) == before
