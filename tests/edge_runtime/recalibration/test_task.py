import itertools

import pytest

from edge_runtime.recalibration.task import (
    TRANSITIONS,
    Cause,
    IllegalLoopEvent,
    Kind,
    LoopEvent,
    LoopState,
    Phase,
    Task,
)

TASK = Task(Kind.RECALIBRATE, Cause.DRIFT, frames_since_s=0.0, wanted=32, deadline_s=60.0)


def test_a_task_runs_from_request_to_end():
    side = LoopState().after(LoopEvent.REQUEST, TASK)
    assert (side.phase, side.task) == (Phase.COLLECTING, TASK)
    side = side.after(LoopEvent.ENOUGH)
    assert (side.phase, side.task) == (Phase.WORKING, TASK)
    assert side.after(LoopEvent.ENDED) == LoopState()


def test_collecting_gives_up_when_too_few_frames_come():
    assert LoopState(Phase.COLLECTING, TASK).after(LoopEvent.TOO_FEW) == LoopState()


def test_a_request_while_busy_is_refused_and_says_with_what():
    with pytest.raises(IllegalLoopEvent, match=r"working.*recalibrate"):
        LoopState(Phase.WORKING, TASK).after(LoopEvent.REQUEST, TASK)


@pytest.mark.parametrize(
    ("phase", "event"), sorted(set(itertools.product(Phase, LoopEvent)) - set(TRANSITIONS))
)
def test_everything_not_in_the_table_is_refused(phase, event):
    side = LoopState(phase, None if phase is Phase.IDLE else TASK)
    with pytest.raises(IllegalLoopEvent):
        side.after(event, TASK if event is LoopEvent.REQUEST else None)
