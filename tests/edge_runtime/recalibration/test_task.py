import itertools

import pytest

from edge_runtime.recalibration.task import (
    TRANSITIONS,
    Cause,
    Happening,
    IllegalHappening,
    Kind,
    Phase,
    Side,
    Task,
)

TASK = Task(Kind.RECALIBRATE, Cause.DRIFT, frames_since_s=0.0, wanted=32, deadline_s=60.0)


def test_a_task_runs_from_request_to_end():
    side = Side().after(Happening.REQUEST, TASK)
    assert (side.phase, side.task) == (Phase.COLLECTING, TASK)
    side = side.after(Happening.ENOUGH)
    assert (side.phase, side.task) == (Phase.WORKING, TASK)
    assert side.after(Happening.ENDED) == Side()


def test_collecting_gives_up_when_too_few_frames_come():
    assert Side(Phase.COLLECTING, TASK).after(Happening.TOO_FEW) == Side()


def test_a_request_while_busy_is_refused_and_says_with_what():
    with pytest.raises(IllegalHappening, match="while working with recalibrate"):
        Side(Phase.WORKING, TASK).after(Happening.REQUEST, TASK)


@pytest.mark.parametrize(
    ("phase", "happening"), sorted(set(itertools.product(Phase, Happening)) - set(TRANSITIONS))
)
def test_everything_not_in_the_table_is_refused(phase, happening):
    side = Side(phase, None if phase is Phase.IDLE else TASK)
    with pytest.raises(IllegalHappening):
        side.after(happening, TASK if happening is Happening.REQUEST else None)
