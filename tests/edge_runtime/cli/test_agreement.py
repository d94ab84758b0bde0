import numpy as np

from edge_runtime.cli.demo.agreement import Answer, AnswerLog, measure_agreement
from edge_runtime.datatypes import Label, Result, Timings

HEALTHY, CONFUSED = 1, 2


def compare(answers, most=100, base_under_drift=CONFUSED):
    return measure_agreement(
        "belt",
        answers,
        is_drifted=lambda seq: seq >= 10,
        base_top=lambda seq, drifted: base_under_drift if drifted else HEALTHY,
        most=most,
        rng=np.random.default_rng(0),
    )


def test_compares_drifted_frames_before_and_after_the_patch_with_the_undrifted_answers():
    answers = [Answer(seq, False, HEALTHY) for seq in range(10)]
    answers += [Answer(seq, False, HEALTHY if seq < 11 else CONFUSED) for seq in range(10, 14)]
    answers += [Answer(seq, True, HEALTHY if seq < 17 else CONFUSED) for seq in range(14, 18)]
    found = compare(answers)
    assert (found.before_frames, found.before) == (4, 0.25)
    assert (found.after_frames, found.after, found.without) == (4, 0.75, 0.0)


def test_without_drifted_frames_there_are_no_shares():
    found = compare([Answer(3, False, HEALTHY)])
    assert (found.before, found.after, found.without) == (None, None, None)


def test_many_frames_are_sampled():
    assert compare([Answer(seq, False, HEALTHY) for seq in range(10, 500)], most=20).before_frames == 20


def test_remembers_classifications_of_the_demo_streams_only():
    log = AnswerLog(frozenset({"belt"}))
    for stream, generation in (("belt", "lite0/1"), ("belt", "lite0/1+p2"), ("street", "lite0/1")):
        top = (Label(5, "x", 0.5),)
        log.add(Result("box", stream, 7, 0.0, "m", generation, Timings(0, 0, 0, 0, 0), top))
    log.add(Result("box", "belt", 8, 0.0, "m", "lite0/1", Timings(0, 0, 0, 0, 0), detections=()))
    assert log.of("belt") == [Answer(7, False, 5), Answer(7, True, 5)]
