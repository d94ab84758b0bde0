"""A candidate in the pipeline: it takes frames, loses none, and publishes nothing once its trial is over."""

import threading
import time
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from edge_runtime.datatypes import Frame, Generation, Sample
from edge_runtime.errors import EngineError
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.postprocess.postprocessor import Answer, Postprocessor
from edge_runtime.inference.preprocess import PicturePreprocessor
from edge_runtime.inference.trial import Arm, Trial
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_bench import NEVER, SPEC, Manifest, make_frame, make_pipeline


@dataclass
class Notes:
    """A trial watch that remembers."""

    candidate: list[int] = field(default_factory=list)
    active: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def note_candidate(self, sample: Sample, answer: Answer, latency_ms: float) -> None:
        assert answer.top is not None
        assert latency_ms >= 0
        self.candidate.append(sample.seq)

    def note_failure(self, reason: str) -> None:
        self.failures.append(reason)

    def note_active(self, frame: Frame, sample: Sample, answer: Answer, latency_ms: float) -> None:
        assert frame.seq == sample.seq
        self.active.append(sample.seq)


class Nan(FakeEngine):
    """Answers with no numbers."""

    def infer(self, batch):
        return {name: array * np.nan for name, array in super().infer(batch).items()}


class Broken(FakeEngine):
    """Fails on every batch."""

    def infer(self, batch):
        raise EngineError("box", "broken", "an answer", "Take another one.")


def make_trial(engine=None, spec=SPEC, takes=lambda stream, seq: seq % 2 == 0):
    arm = Arm(
        PicturePreprocessor(spec),
        EngineSlot(Generation("parts/2"), engine or FakeEngine()),
        Postprocessor(Manifest, ("x", "y", "z")),
    )
    return Trial(arm, Notes(), takes)


def play(pipeline, frames):
    for frame in frames:
        pipeline.accept(frame, is_live=True, stop=NEVER)
        while not pipeline.is_empty():
            pipeline.step(0.0)


def test_the_candidate_answers_what_it_takes_under_its_own_name():
    pipeline, results, errors = make_pipeline()
    trial = make_trial()
    pipeline.begin_trial(trial)
    play(pipeline, [make_frame(seq) for seq in range(6)])
    assert [(one.seq, one.generation, one.arm) for one in results] == [
        (seq, "parts/2" if seq % 2 == 0 else "parts/1", None if seq % 2 else "candidate") for seq in range(6)
    ]
    assert {one.top[0].label for one in results if one.arm} <= {"x", "y", "z"}
    assert (trial.watch.candidate, trial.watch.active, trial.watch.failures) == ([0, 2, 4], [1, 3, 5], [])
    assert not errors


@pytest.mark.parametrize("engine", [Nan, Broken])
def test_what_the_candidate_cannot_answer_the_active_model_answers(engine):
    pipeline, results, errors = make_pipeline(rejections=(rejections := []))
    trial = make_trial(engine(), takes=lambda stream, seq: True)
    pipeline.begin_trial(trial)
    play(pipeline, [make_frame(seq) for seq in range(5)])
    assert [(one.seq, one.generation, one.arm) for one in results] == [(n, "parts/1", None) for n in range(5)]
    assert len(trial.watch.failures) == 5
    assert pipeline.metrics.lost_to_errors == 0
    assert pipeline.metrics.engine_errors == 0
    assert not errors
    assert not rejections


def test_a_batch_that_the_candidate_fails_on_is_answered_in_order():
    pipeline, results, _ = make_pipeline(max_batch_size=4, queue_limit=8)
    pipeline.begin_trial(make_trial(Nan(), takes=lambda stream, seq: True))
    for seq in range(8):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
    while not pipeline.is_empty():
        pipeline.step(0.0)
    assert [one.seq for one in results] == list(range(8))


def test_frames_that_wait_when_a_trial_ends_are_answered_by_the_active_model():
    """They were prepared for the candidate: another size of picture is of no use to the active engine."""
    pipeline, results, _ = make_pipeline(queue_limit=8)
    trial = make_trial(spec=SPEC.model_copy(update={"width": 4}), takes=lambda stream, seq: True)
    pipeline.begin_trial(trial)
    for seq in range(6):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
    pipeline.end_trial(trial)
    assert trial.is_over
    while not pipeline.is_empty():
        pipeline.step(0.0)
    assert [(one.seq, one.generation) for one in results] == [(seq, "parts/1") for seq in range(6)]
    assert trial.watch.candidate == []
    pipeline.begin_trial(make_trial())  # another one may follow


def test_a_patch_gives_way_to_a_version_and_ends_no_trial_but_its_own():
    pipeline, _, _ = make_pipeline()
    patch, version, late = make_trial(), make_trial(), make_trial()
    patch.gives_way = late.gives_way = True
    pipeline.begin_trial(patch)
    pipeline.begin_trial(version)
    pipeline.begin_trial(late)
    assert (patch.is_over, version.is_over, late.is_over) == (True, False, True)
    pipeline.end_trial(patch)
    pipeline.accept(make_frame(1), is_live=True, stop=NEVER)
    pipeline.step(0.0)
    assert (version.watch.active, patch.watch.active, late.watch.active) == ([1], [], [])
    pipeline.end_trial(version)
    pipeline.begin_trial(make_trial())


def test_a_batch_under_way_publishes_nothing_of_a_candidate_whose_trial_is_over():
    began, go_on = threading.Event(), threading.Event()

    class Slow(FakeEngine):
        def infer(self, batch):
            began.set()
            assert go_on.wait(10)
            return super().infer(batch)

    pipeline, results, _ = make_pipeline()
    trial = make_trial(Slow(), takes=lambda stream, seq: True)
    pipeline.begin_trial(trial)
    pipeline.accept(make_frame(0), is_live=True, stop=NEVER)
    worker = threading.Thread(target=pipeline.step, args=(1.0,))
    worker.start()
    assert began.wait(10)
    pipeline.end_trial(trial)
    go_on.set()
    worker.join(10)
    assert [(one.seq, one.generation) for one in results] == [(0, "parts/1")]


def test_a_picture_that_neither_arm_can_read_is_rejected_once_and_no_failure_of_the_candidate():
    pipeline, results, _ = make_pipeline(rejections=(rejections := []))
    trial = make_trial(takes=lambda stream, seq: True)
    pipeline.begin_trial(trial)
    play(pipeline, [make_frame(0, picture=b"no picture")])
    assert len(rejections) == 1
    assert not results
    assert not trial.watch.failures


def test_the_observer_of_the_active_model_sees_no_answer_of_the_candidate():
    seen = []

    class Observer:
        def offer(self, sample, result):
            seen.append(result.seq)

    pipeline, _, _ = make_pipeline(observer=Observer())
    pipeline.begin_trial(make_trial())
    play(pipeline, [make_frame(seq) for seq in range(6)])
    assert seen == [1, 3, 5]


def test_arms_never_share_a_batch():
    sizes = []

    class Sizes(FakeEngine):
        def infer(self, batch):
            sizes.append(len(batch))
            return super().infer(batch)

    pipeline, results, _ = make_pipeline(Sizes(), queue_limit=8, max_batch_size=8)
    pipeline.begin_trial(make_trial(Sizes()))
    for stream in ("a", "b"):
        for seq in range(4):
            pipeline.accept(make_frame(seq, stream), is_live=True, stop=NEVER)
    deadline_s = time.monotonic() + 10
    while not pipeline.is_empty() and time.monotonic() < deadline_s:
        pipeline.step(0.0)
    assert sum(sizes) == len(results) == 8
    assert all(one.generation == ("parts/2" if one.seq % 2 == 0 else "parts/1") for one in results)


def test_a_bug_that_the_candidate_meets_costs_no_frame(monkeypatch):
    pipeline, results, _ = make_pipeline()
    trial = make_trial(takes=lambda stream, seq: True)
    monkeypatch.setattr(trial.arm.postprocessor, "read", lambda sample, outputs: 1 / 0)
    pipeline.begin_trial(trial)
    play(pipeline, [make_frame(seq) for seq in range(3)])
    assert [(one.seq, one.generation) for one in results] == [(seq, "parts/1") for seq in range(3)]
    assert len(trial.watch.failures) == 3
    assert trial.crashes.by_thread() == {"candidate": 3}
    assert pipeline.metrics.lost_to_errors == 0


def test_what_fails_after_an_answer_of_the_candidate_was_published_answers_no_frame_twice(monkeypatch):
    pipeline, results, _ = make_pipeline()
    trial = make_trial(takes=lambda stream, seq: True)
    monkeypatch.setattr(trial.watch, "note_candidate", lambda *given: 1 / 0)
    pipeline.begin_trial(trial)
    play(pipeline, [make_frame(seq) for seq in range(3)])
    assert [(one.seq, one.generation) for one in results] == [(seq, "parts/2") for seq in range(3)]
    assert len(trial.watch.failures) == 3
    assert pipeline.metrics.lost_to_errors == 0


def bright_in(channel):
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[..., channel] = 255
    return picture


@pytest.mark.parametrize("is_alike", [True, False])
def test_a_frame_is_answered_again_from_what_it_showed_though_its_camera_has_overwritten_it(is_alike):
    """Pictures of a camera are views into a ring that is written again as soon as the next one is taken."""
    pipeline, results, _ = make_pipeline()
    trial = make_trial(Broken(), takes=lambda stream, seq: True)
    trial.is_prepared_alike = is_alike
    pipeline.begin_trial(trial)
    picture = bright_in(2)
    pipeline.accept(make_frame(0, picture=picture), is_live=True, stop=NEVER)
    picture[:] = bright_in(0)
    pipeline.step(0.0)
    pipeline.end_trial(trial)
    play(pipeline, [make_frame(1, picture=bright_in(2)), make_frame(2, picture=bright_in(0))])
    assert [one.top[0].label for one in results] == ["a", "a", "c"]


def test_a_candidate_is_shown_what_the_active_model_saw():
    pipeline, _, _ = make_pipeline()
    trial, seen = make_trial(takes=lambda stream, seq: False), []
    trial.watch.note_active = lambda frame, sample, answer, latency_ms: seen.append(frame.payload)
    pipeline.begin_trial(trial)
    picture = bright_in(2)
    pipeline.accept(make_frame(0, picture=picture), is_live=True, stop=NEVER)
    picture[:] = 0
    pipeline.step(0.0)
    np.testing.assert_array_equal(seen[0], bright_in(2))


class Asks:
    """An asker that keeps what it gets."""

    def __init__(self):
        self.gives_up_at_s = float("inf")
        self.got = []

    def take(self, answer, outputs):
        self.got.append(answer)


def test_a_trial_sees_nothing_of_what_somebody_asks_about():
    """It may be a picture of anything, and the caller wants the answer of the model in force."""
    pipeline, results, _ = make_pipeline()
    trial = make_trial(takes=lambda stream, seq: True)
    pipeline.begin_trial(trial)
    asker = Asks()
    pipeline.ask(replace(make_frame(0), asker=asker, colour="rgb"))
    play(pipeline, [make_frame(1)])
    assert [one.generation for one in asker.got] == ["parts/1"]
    assert [one.generation for one in results] == ["parts/2"]
    assert (trial.watch.candidate, trial.watch.active) == ([1], [])
