"""The steps of a frame follow each other without a gap, whatever the clocks say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from edge_runtime.datatypes import Result, Sample, Timings
from edge_runtime.inference.frame_walk import find_steps
from edge_runtime.inference.scheduler import Queued

NAMES = ["capture", "decode", "prepare", "queue", "infer", "postprocess", "publish"]
SAMPLE = Sample(
    "belt", 7, np.zeros((3, 4, 4), np.float32), None, None, captured_at_s=100.0, captured_at_wall_s=1e9,
    prepared_at_s=100.030, decode_ms=5.0, prepare_ms=10.0,
)  # fmt: skip


def result_of(**changed):
    timings = replace(Timings(decode=5.0, prepare=10.0, queue=4.0, infer=8.0, total=45.0), **changed)
    return Result("box", "belt", 7, 1e9, "parts", "parts/1", timings)


def steps_of(published_s=100.046, queued_at_s=100.031, **changed):
    return find_steps(Queued(SAMPLE, True, queued_at_s), result_of(**changed), published_s)


def test_each_step_is_where_the_figures_put_it():
    steps = steps_of()
    assert [step.name for step in steps] == NAMES
    ends_ms = [round((step.end_s - 100.0) * 1000, 6) for step in steps]
    assert ends_ms == [15.0, 20.0, 30.0, 35.0, 43.0, 45.0, 46.0]


@pytest.mark.parametrize("changed", [{"decode": 90.0}, {"infer": 900.0}, {"total": 0.0}, {"prepare": 500.0}])
def test_figures_that_contradict_each_other_give_no_step_that_ends_before_it_begins(changed):
    steps = steps_of(**changed)
    assert steps[0].start_s == 100.0
    for before, after in pairwise(steps):
        assert before.end_s == after.start_s
    assert all(step.end_s >= step.start_s for step in steps)
