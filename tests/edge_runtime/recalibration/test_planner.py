"""Which task is due: first commissioning, schedule or drift; cool-down, and tasks that are not tried again."""

import pytest

from edge_runtime.config import CommissionConfig, RecalibrationConfig
from edge_runtime.recalibration.planner import TaskPlanner
from edge_runtime.recalibration.task import Cause, Kind

DAY_S = 86_400.0


def next_day(schedule, after_wall_s):
    return None if schedule is None else (after_wall_s // DAY_S + 1) * DAY_S


def planner(*, automatic=False, **settings):
    config = RecalibrationConfig(
        commission=CommissionConfig(automatic=automatic), **{"cooldown_s": 60.0, **settings}
    )
    return TaskPlanner(config, next_day, 0.0)


def choose(plan, now_s=0.0, *, is_watching=True, is_drifted=False):
    """With the Unix time equal to the monotonic one."""
    return plan.choose(now_s, now_s, is_watching=is_watching, is_drifted=is_drifted)


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
    assert choose(plan, DAY_S - 1) is None
    assert choose(plan, DAY_S, is_drifted=True) is Cause.SCHEDULE
    assert choose(plan, DAY_S + 1) is None
    assert choose(plan, 2 * DAY_S) is Cause.SCHEDULE


def test_after_a_task_the_cool_down_runs_and_a_new_baseline_ends_it():
    plan = planner(automatic=True)
    plan.note_end(100.0)
    assert not plan.may_try(Kind.RECALIBRATE, 159.0)
    assert plan.may_try(Kind.RECALIBRATE, 160.0)
    assert choose(plan, 159.0, is_watching=False) is None
    plan.note_baseline(0.0)
    assert plan.may_try(Kind.RECALIBRATE, 101.0)


def test_what_cannot_succeed_is_not_tried_until_something_has_changed():
    plan = planner(schedule="0 0 * * *", cooldown_s=0.1)
    plan.note_failure(Kind.RECALIBRATE, "nothing to correct")
    assert plan.impossible == {Kind.RECALIBRATE: "nothing to correct"}
    assert choose(plan, DAY_S) is None
    assert not plan.may_try(Kind.RECALIBRATE, DAY_S)
    assert plan.may_try(Kind.COMMISSION, DAY_S)
    plan.note_result(Kind.RECALIBRATE)
    assert plan.may_try(Kind.RECALIBRATE, DAY_S)
    plan.note_failure(Kind.RECALIBRATE, "nothing to correct")
    plan.reconfigure(RecalibrationConfig(), DAY_S)
    assert plan.impossible == {}
