"""A wrong rate, or two sensors on one topic, is noticed; loss, jitter and backlogs are no wrong rate."""

import random

import numpy as np
import pytest

from edge_runtime.inference.signals.rate_check import RateCheck
from edge_runtime.inference.signals.readings import Readings
from edge_runtime.inference.specs import SignalSpec

BEGAN_S = 1_700_000_000.0


def check_of(rate_hz=100.0, length=256, late_s=0.0):
    return RateCheck(
        SignalSpec.model_validate({
            "kind": "signal", "channels": [{"name": "a"}], "rate_hz": rate_hz, "length": length, "late_s": late_s,
        })
    )  # fmt: skip


def send(check, rate_hz, *, seconds=60.0, block=16, timed=False, began_s=BEGAN_S, jitter_s=0.0, keep=1.0):
    rng = random.Random(1)
    for first in range(0, int(seconds * rate_hz), block):
        at_s = began_s + (first + np.arange(block)) / rate_hz
        arrived_at_s = at_s[-1] + rng.uniform(0, jitter_s)
        if rng.random() <= keep:
            check.note(Readings(np.zeros((block, 1)), at_s if timed else None), arrived_at_s)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize(
    ("rate_hz", "is_wrong"), [(99, False), (100, False), (101, False), (120, True), (200, True)]
)
def test_more_samples_than_declared_are_noticed(rate_hz, is_wrong, timed):
    check = check_of()
    send(check, rate_hz, timed=timed)
    assert (check.problem is not None) == is_wrong


def test_fewer_samples_than_declared_are_noticed_where_no_time_shows_it():
    check = check_of()
    send(check, 50)
    assert check.problem


def test_lost_samples_of_known_times_are_missing_values_and_no_wrong_rate():
    check = check_of()
    send(check, 100, timed=True, keep=0.7)
    assert check.problem is None


@pytest.mark.parametrize("block", [1, 16, 256])
def test_jitter_of_the_network_is_no_wrong_rate(block):
    check = check_of()
    send(check, 100, jitter_s=0.5, block=block, seconds=200)
    assert check.problem is None


def test_a_backlog_after_a_pause_is_no_wrong_rate():
    check = check_of()
    send(check, 100)
    send(check, 1e5, seconds=3.6, began_s=BEGAN_S + 3600)
    send(check, 100, began_s=BEGAN_S + 3604)
    assert check.problem is None


@pytest.mark.parametrize("ahead_s", [0.0, 0.005, 7200.0])
def test_two_sensors_on_one_topic_are_noticed_by_their_times(ahead_s):
    check = check_of()
    for first in range(0, 6000, 16):
        at_s = BEGAN_S + (first + np.arange(16)) / 100
        for times in (at_s, at_s + ahead_s):
            check.note(Readings(np.zeros((16, 1)), times), 0.0)
    assert check.problem


def test_the_problem_goes_when_the_rate_is_right_again():
    check = check_of()
    send(check, 200)
    assert check.problem
    send(check, 100, began_s=BEGAN_S + 100)
    assert check.problem is None


@pytest.mark.parametrize(("late_s", "is_problem"), [(20.0, False), (0.0, True)])
def test_samples_that_come_as_late_as_they_may_and_a_clock_that_jumps_are_no_second_sensor(
    late_s, is_problem
):
    check, rng, problems = check_of(late_s=late_s), random.Random(2), set()
    order = sorted(range(0, 12_000, 16), key=lambda first: first + rng.uniform(0, 2000))
    for i, first in enumerate(order):
        jump_s = 3600.0 * (i > 400)
        check.note(Readings(np.zeros((16, 1)), BEGAN_S - jump_s + (first + np.arange(16)) / 100), 0.0)
        problems.add(check.problem)
    assert (problems != {None}) == is_problem


@pytest.mark.parametrize("seed", range(8))
def test_samples_in_any_order_that_is_waited_for_are_no_wrong_rate(seed):
    check, rng, problems = check_of(late_s=30.0), random.Random(seed), set()
    order = sorted(range(0, 60_000, 16), key=lambda first: first + rng.uniform(0, 3000))
    for first in order:
        check.note(Readings(np.zeros((16, 1)), BEGAN_S + (first + np.arange(16)) / 100), 0.0)
        problems.add(check.problem)
    assert problems == {None}
