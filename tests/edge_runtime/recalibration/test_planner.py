"""Which task is due: first commissioning, schedule or drift; cool-down, and tasks that are not tried again."""

import pytest

from edge_runtime.config import CommissionConfig, RecalibrationConfig
from edge_runtime.recalibration.planner import LONGEST_COOLDOWN_S, MOST_SLOTS, TaskPlanner
from edge_runtime.recalibration.task import Cause, Kind
from edge_runtime.system.due_time import REPLAN_S

DAY_S = 86_400.0


def next_day(schedule, after_wall_s):
    return None if schedule is None else (after_wall_s // DAY_S + 1) * DAY_S


def planner(*, automatic=False, past_slots=(), **settings):
    config = RecalibrationConfig(
        commission=CommissionConfig(automatic=automatic), **{"cooldown_s": 60.0, **settings}
    )
    return TaskPlanner(config, next_day, past_slots)


def choose(plan, now_s=0.0, *, ahead_s=0.0, **facts):
    """With the Unix time equal to the monotonic one, unless ``ahead_s`` of it."""
    return plan.choose(now_s, now_s + ahead_s, **{"is_watching": True, "is_drifted": False, **facts})


def test_a_baseline_that_cannot_be_used_is_not_replaced_by_itself():
    plan = planner(automatic=True)
    assert choose(plan, is_watching=False, is_blocked=True) is None
    assert choose(plan, is_watching=False) is Cause.FIRST_START


@pytest.mark.parametrize(
    ("settings", "is_watching", "is_drifted", "cause"),
    [
        ({}, True, False, None),
        ({}, True, True, Cause.DRIFT),
        ({"on_drift": False}, True, True, None),
        ({"enabled": False}, True, True, None),
        ({}, False, True, None),
        ({"automatic": True}, False, False, Cause.FIRST_START),
        ({"automatic": True, "enabled": False}, False, False, None),
    ],
)
def test_what_is_due(settings, is_watching, is_drifted, cause):
    assert choose(planner(**settings), is_watching=is_watching, is_drifted=is_drifted) is cause


def test_the_schedule_comes_due_once_a_time_and_before_a_drift():
    plan = planner(schedule="0 0 * * *")
    assert choose(plan, DAY_S - 600) is None
    assert choose(plan, DAY_S, is_drifted=True) is Cause.SCHEDULE
    assert choose(plan, DAY_S + 1) is None
    assert choose(plan, 2 * DAY_S) is Cause.SCHEDULE


def test_after_a_task_the_cool_down_runs_and_a_new_baseline_ends_it():
    plan = planner(automatic=True)
    plan.note_end(100.0)
    assert not plan.may_try(Kind.RECALIBRATE, 159.0)
    assert plan.may_try(Kind.RECALIBRATE, 160.0)
    assert choose(plan, 159.0, is_watching=False) is None
    plan.note_baseline()
    assert plan.may_try(Kind.RECALIBRATE, 101.0)


def test_each_recalibration_in_vain_doubles_the_cool_down_until_the_drift_is_over():
    plan = planner()
    for number, wait_s in enumerate([60.0, 120.0, 240.0, 480.0]):
        plan.note_end(0.0, is_refused=number % 2 == 0, has_failed=number % 2 == 1)
        assert plan.cooldown_left_s(0.0) == wait_s
    for _ in range(1000):
        plan.note_end(0.0, is_refused=True)
    assert plan.cooldown_left_s(0.0) == LONGEST_COOLDOWN_S
    assert choose(plan, 1.0, is_drifted=True) is Cause.DRIFT
    assert plan.cooldown_left_s(0.0) == LONGEST_COOLDOWN_S
    assert choose(plan, 2.0, is_drifted=False) is None
    assert plan.cooldown_left_s(0.0) == 60.0


def test_one_that_gave_a_patch_ends_the_row_and_so_do_other_settings():
    plan = planner()
    for _ in range(3):
        plan.note_end(0.0, is_refused=True)
    plan.note_end(0.0)
    assert plan.cooldown_left_s(0.0) == 60.0
    for _ in range(3):
        plan.note_end(0.0, is_refused=True)
    plan.reconfigure(RecalibrationConfig(cooldown_s=90.0))
    assert plan.cooldown_left_s(0.0) == 90.0


def test_a_long_cool_down_stays():
    plan = planner(cooldown_s=10 * LONGEST_COOLDOWN_S)
    for _ in range(3):
        plan.note_end(0.0, is_refused=True)
    assert plan.cooldown_left_s(0.0) == 10 * LONGEST_COOLDOWN_S


def test_no_day_has_more_than_its_budget():
    plan = planner(most_a_day=2, schedule="0 0 * * *", cooldown_s=1.0)
    assert choose(plan, DAY_S - 100) is None
    for at_s in (DAY_S - 60, DAY_S - 30):
        assert plan.budget_left_s(at_s) == 0
        plan.note_begin(at_s)
    assert plan.budget_left_s(DAY_S) == DAY_S - 60
    assert choose(plan, DAY_S, is_drifted=True) is None  # the schedule has come, and does not wait
    assert not plan.may_try(Kind.RECALIBRATE, DAY_S, is_urgent=True)
    assert plan.may_try(Kind.COMMISSION, DAY_S)
    assert plan.may_try(Kind.RECALIBRATE, 2 * DAY_S - 60)


def test_what_cannot_succeed_is_not_tried_until_something_has_changed():
    plan = planner(schedule="0 0 * * *", cooldown_s=0.1)
    assert choose(plan) is None
    plan.note_failure(Kind.RECALIBRATE, "nothing to correct")
    assert plan.impossible == {Kind.RECALIBRATE: "nothing to correct"}
    assert choose(plan, DAY_S) is None
    assert not plan.may_try(Kind.RECALIBRATE, DAY_S)
    assert plan.may_try(Kind.COMMISSION, DAY_S)
    plan.note_result(Kind.RECALIBRATE)
    assert plan.may_try(Kind.RECALIBRATE, DAY_S)
    plan.note_failure(Kind.RECALIBRATE, "nothing to correct")
    plan.reconfigure(RecalibrationConfig())
    assert plan.impossible == {}


HOUR_S = 3600.0


def walk(plan, *legs, step_s=60.0):
    """Times of the wall clock in hours at which the schedule comes; a leg is (hours, clock ahead in hours)."""
    now_s, came = 0.0, []
    for hours, ahead_h in legs:
        for _ in range(round(hours * HOUR_S / step_s)):
            if choose(plan, now_s, ahead_s=ahead_h * HOUR_S) is Cause.SCHEDULE:
                came.append(now_s / HOUR_S + ahead_h)
            now_s += step_s
    return came


@pytest.mark.parametrize(
    ("legs", "came"),
    [
        ([(72, 0)], [24, 48]),
        ([(12, 0), (30, 3)], [24]),  # set forward by 3 h in the day
        ([(22, 0), (30, 3)], [48]),  # set forward over the slot: it does not come at once
        ([(22, 0), (60, 24 * 365)], [24 * 366, 24 * 367, 24 * 368]),
        ([(22, 0), (60, -24 * 365)], [-24 * 364, -24 * 363, -24 * 362]),
        ([(1, 3), (48, 0)], [24, 48]),  # 3 h ahead at the start and then set right
        ([(1, 24 * 3650), (48, 0)], [24, 48]),
        ([(1, -24 * 3650), (48, 0)], [24, 48]),
        ([(25, 0), (30, -3)], [24, 48]),  # set back over a slot that came: it does not come again
        ([(22, 2), (30, 0)], [24, 48]),
        ([(25, 0), (1, -3), (1, 0), (1, -3), (48, 0)], [24, 48, 72]),
        ([(25, 0), (5, -2), (30, -26), (30, -50)], [24]),
        ([(23.9, 0), (0.2, 0.005), (24, 0)], [24, 48]),  # 18 s: not a step
    ],
)  # fmt: skip
def test_a_clock_that_is_set_repeats_and_loses_nothing_and_bursts_nothing(legs, came):
    found = walk(planner(schedule="0 0 * * *"), *legs)
    assert len(found) == len({round(hour) for hour in found})
    assert [round(hour) for hour in found] == [round(hour) for hour in came]


def test_a_slot_that_came_does_not_come_again_after_a_restart():
    plan = planner(schedule="0 0 * * *", past_slots=[DAY_S])
    assert choose(plan, DAY_S - 60) is None
    assert choose(plan, DAY_S) is None
    assert choose(plan, 2 * DAY_S) is Cause.SCHEDULE
    assert plan.past_slots == (DAY_S, 2 * DAY_S)


def test_known_slots_are_bounded():
    plan = planner(schedule="0 0 * * *", past_slots=range(2 * MOST_SLOTS))
    assert plan.past_slots[0] == MOST_SLOTS
    walk(plan, (72, 0))
    assert len(plan.past_slots) == MOST_SLOTS


def test_a_slot_that_comes_while_there_is_nothing_to_compare_with_does_not_wait():
    plan = planner(schedule="0 0 * * *")
    assert choose(plan, DAY_S - 60) is None
    assert choose(plan, DAY_S, is_watching=False) is None
    assert choose(plan, DAY_S + 60) is None


def test_a_slot_that_passed_during_a_task_comes_after_it_once():
    plan = planner(schedule="0 0 * * *")
    assert choose(plan, DAY_S - 60) is None
    assert choose(plan, DAY_S + 600) is Cause.SCHEDULE
    assert choose(plan, DAY_S + 601) is None


def test_another_zone_of_the_box_is_followed():
    shift_s = [0.0]
    config = RecalibrationConfig(schedule="0 0 * * *")
    plan = TaskPlanner(config, lambda _, after_wall_s: next_day("", after_wall_s + shift_s[0]) - shift_s[0])
    assert choose(plan) is None
    shift_s[0] = HOUR_S
    assert choose(plan, REPLAN_S) is None
    assert choose(plan, DAY_S - HOUR_S) is Cause.SCHEDULE
