import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.daemon.workers import InferenceWorker
from edge_runtime.datatypes import REQUESTS, Asked, Frame, Generation, Origin, Rejected, RejectReason
from edge_runtime.recordings.feed import Feed, TakenRejection, Taking
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_engine import FakeEngine
from tests.support.pipeline_bench import NEVER, make_frame, make_pipeline
from tests.support.waiting import WAIT_S, until


class Seen:
    """An observer that remembers."""

    def __init__(self):
        self.offered = []

    def offer(self, sample, result):
        self.offered.append((sample.seq, result.id))


def test_a_frame_becomes_a_result_with_all_its_facts():
    observer = Seen()
    pipeline, results, _ = make_pipeline(observer=observer)
    assert pipeline.accept(make_frame(7), is_live=True, stop=NEVER)
    assert pipeline.step(timeout_s=1.0) == 1
    [result] = results
    assert (result.id, result.model, result.generation) == ("box/belt/000000007", "parts", "parts/1")
    assert result.top[0].label in ("a", "b", "c")
    assert result.timings.total >= result.timings.infer > 0
    assert observer.offered == [(7, result.id)]


def test_a_bad_picture_is_counted_by_reason_and_goes_no_further():
    observer = Seen()
    rejections = []
    pipeline, results, _ = make_pipeline(observer=observer, rejections=rejections)
    assert pipeline.accept(make_frame(0, picture=b"\xff\xd8garbage"), is_live=True, stop=NEVER)
    assert [type(one) for one in rejections] == [Rejected]
    assert pipeline.step(timeout_s=0.0) == 0
    assert results == observer.offered == []
    assert sum(pipeline.metrics.stream("belt").rejected.values()) == 1


def test_non_finite_outputs_are_rejected():
    engine = FakeEngine(answer=lambda batch: {"scores": np.full((len(batch), 3), np.nan, np.float32)})
    pipeline, results, _ = make_pipeline(engine)
    pipeline.accept(make_frame(0), is_live=True, stop=NEVER)
    pipeline.step(timeout_s=1.0)
    assert results == []
    assert pipeline.metrics.stream("belt").rejected == {"bad_output": 1}


def test_samples_that_wait_together_run_together():
    engine = FakeEngine()
    pipeline, results, _ = make_pipeline(engine, max_batch_size=4)
    for seq in range(4):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
    assert pipeline.step(timeout_s=1.0) == 4
    assert engine.batch_sizes == [4]
    assert [result.seq for result in results] == [0, 1, 2, 3]


def test_an_engine_failure_costs_its_batch_and_is_reported():
    engine = FakeEngine(failures=1)
    pipeline, results, errors = make_pipeline(engine)
    for seq in range(2):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
        pipeline.step(timeout_s=1.0)
        assert pipeline.metrics.last_progress_at_s is not None  # it came back, even if with an error
    assert [result.seq for result in results] == [1]
    assert len(errors) == pipeline.metrics.lost_to_errors == 1
    assert pipeline.slot.failures_in_a_row == 0


def test_what_an_unexpected_failure_leaves_of_a_batch_is_counted(monkeypatch):
    pipeline, results, _ = make_pipeline(max_batch_size=4)
    read, bug = pipeline.postprocessor.read, ZeroDivisionError("bug")

    def fails_on_the_second(sample, outputs):
        if sample.seq == 1:
            raise bug
        return read(sample, outputs)

    monkeypatch.setattr(pipeline.postprocessor, "read", fails_on_the_second)
    for seq in range(4):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
    with pytest.raises(ZeroDivisionError):
        pipeline.step(timeout_s=1.0)
    assert [result.seq for result in results] == [0]
    assert pipeline.metrics.lost_to_errors == 3
    assert pipeline.is_idle()


def test_a_pipeline_that_replaces_another_goes_on_with_its_counters():
    old, _, _ = make_pipeline(queue_limit=1)
    old.slot.swap(Generation("parts/1", "p1"), FakeEngine())
    for seq in range(3):
        old.accept(make_frame(seq), is_live=True, stop=NEVER)
    new, results, _ = make_pipeline(queue_limit=1)
    new.continue_counts(old)
    new.accept(make_frame(3), is_live=True, stop=NEVER)
    old.drain()
    assert [old.step(timeout_s=0.0), old.step(timeout_s=60.0)] == [1, 0], "drained: nothing is waited for"
    assert new.step(timeout_s=1.0) == 1
    counters, belt = new.scheduler.counters, new.metrics.stream("belt")
    assert (counters.offered, counters.taken, counters.dropped_oldest) == (4, 2, 2)
    assert (belt.frames, belt.results) == (4, 2)
    assert [result.seq for result in results] == [3]
    new.slot.swap(Generation("parts/2", "p1"), FakeEngine())
    assert new.slot.swaps == 2
    took = new.metrics.durations.read()
    assert {str(key[0]): sum(one.total.counts) for key, one in took.items()} == {
        "parts/1+p1": 1,
        "parts/1": 1,
    }


def test_a_live_frame_that_is_too_old_is_never_published():
    pipeline, results, _ = make_pipeline(max_age_s=0.5)
    pipeline.accept(make_frame(0, age_s=2.0), is_live=True, stop=NEVER)
    assert pipeline.step(timeout_s=0.0) == 0
    assert results == []
    assert pipeline.scheduler.counters.dropped_stale == 1


def test_a_file_waits_for_room_and_loses_nothing():
    pipeline, results, _ = make_pipeline(queue_limit=1)
    reader = threading.Thread(
        target=lambda: [pipeline.accept(make_frame(seq), is_live=False, stop=NEVER) for seq in range(20)]
    )
    reader.start()
    deadline = time.monotonic() + WAIT_S
    while len(results) < 20 and time.monotonic() < deadline:
        pipeline.step(timeout_s=0.1)
    reader.join(WAIT_S)
    assert [result.seq for result in results] == list(range(20))


def test_knows_since_when_a_batch_is_due():
    gate = threading.Event()
    pipeline, _, _ = make_pipeline(FakeEngine(gate=gate))
    assert pipeline.is_idle()
    pipeline.accept(make_frame(0), is_live=True, stop=NEVER)
    assert pipeline.due_since_s() is not None
    worker = threading.Thread(target=lambda: pipeline.step(timeout_s=1.0))
    worker.start()
    assert pipeline.due_since_s() is not None
    gate.set()
    worker.join(WAIT_S)
    assert pipeline.is_idle()


def test_a_batch_waits_for_the_earlier_one_of_its_stream_even_when_that_one_fails():
    gate = threading.Event()
    slow, quick = FakeEngine(gate=gate, failures=1), FakeEngine()
    pipeline, results, errors = make_pipeline(slow, workers=2, max_batch_size=1)
    first = threading.Thread(target=lambda: pipeline.step(timeout_s=5.0))
    second = threading.Thread(target=lambda: pipeline.step(timeout_s=5.0))
    for seq in range(2):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
    first.start()
    assert until(lambda: slow.batch_sizes)
    pipeline.slot.swap(Generation("parts/1", "p1"), quick)
    second.start()
    assert until(lambda: quick.batch_sizes)
    second.join(0.1)
    assert second.is_alive()
    assert results == []
    gate.set()
    first.join(WAIT_S)
    second.join(WAIT_S)
    assert [result.seq for result in results] == [1]
    assert len(errors) == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_swap_in_the_middle_drops_and_mixes_nothing(count):
    engines = [FakeEngine() for _ in range(31)]
    pipeline, results, errors = make_pipeline(engines[0], workers=count, queue_limit=4)
    crashes = Crashes(on_fatal=pytest.fail)
    workers = [InferenceWorker(f"infer-{number}", pipeline, crashes) for number in range(count)]
    for worker in workers:
        worker.thread.start()
    for seq in range(300):
        pipeline.accept(make_frame(seq), is_live=False, stop=NEVER)
        if seq % 10 == 9:
            number = seq // 10 + 1
            pipeline.slot.swap(Generation("parts/1", f"p{number}"), engines[number])
    for worker in workers:
        worker.thread.stop()
    assert all(worker.thread.join(WAIT_S) for worker in workers)
    assert [result.seq for result in results] == list(range(300))
    assert errors == []
    assert crashes.total == 0
    deployment = [result.generation for result in results]
    assert deployment == sorted(deployment, key=lambda name: int(name.partition("+p")[2] or 0))
    assert all(engine.is_closed for engine in engines[:-1])


class Settled(list):
    """Frames with an origin, and those of them that were settled; ``lost`` are those that the engine lost."""

    def __init__(self):
        super().__init__()
        self.lost = []

    def frame(self, seq, **options):
        origin = Origin(name=f"{seq}.jpg")

        def settle(is_judged):
            (self if is_judged else self.lost).append(seq)

        return replace(make_frame(seq, **options), origin=origin, settle=settle)


def test_the_origin_comes_out_with_the_result_and_the_rejection_and_both_settle_the_frame():
    settled, rejections = Settled(), []
    pipeline, results, _ = make_pipeline(rejections=rejections, queue_limit=8)
    pipeline.accept(settled.frame(0), is_live=False, stop=NEVER)
    pipeline.accept(settled.frame(1, picture=b"garbage"), is_live=False, stop=NEVER)
    assert settled == [1]
    pipeline.step(timeout_s=1.0)
    assert settled == [1, 0]
    assert [result.origin.name for result in results] == ["0.jpg"]
    [rejected] = rejections
    assert (rejected.origin.name, rejected.seq) == ("1.jpg", 1)
    assert rejected.captured_at_wall_s is not None


def test_a_bad_answer_and_a_failed_inference_are_told_for_each_frame_and_settle_it():
    settled, rejections = Settled(), []
    pipeline, _, errors = make_pipeline(
        FakeEngine(failures=1), rejections=rejections, queue_limit=8, max_batch_size=2, max_queue_delay_s=9.0
    )
    for seq in range(4):
        pipeline.accept(settled.frame(seq), is_live=False, stop=NEVER)
    while not pipeline.is_empty():
        pipeline.step(timeout_s=1.0)
    assert len(errors) == 1
    lost = [rejected for rejected in rejections if rejected.reason is RejectReason.ENGINE_ERROR]
    assert len(lost) == 2
    assert (settled.lost, settled) == ([0, 1], [2, 3])
    assert pipeline.metrics.lost_to_errors == 2
    assert sum(pipeline.metrics.stream("belt").rejected.values()) == 0  # counted once


def test_a_frame_that_is_dropped_with_its_stream_is_not_settled():
    settled = Settled()
    pipeline, _, _ = make_pipeline(queue_limit=8)
    pipeline.accept(settled.frame(0), is_live=False, stop=NEVER)
    pipeline.forget("belt")
    assert settled == []


def test_who_waits_for_a_pause_is_woken_when_the_last_frame_is_answered():
    pipeline, results, _ = make_pipeline()
    assert pipeline.wait_for_pause(0.0)
    for seq in range(2):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
    assert not pipeline.wait_for_pause(0.0)
    paused = []
    waiter = threading.Thread(target=lambda: paused.append((pipeline.wait_for_pause(WAIT_S), len(results))))
    waiter.start()
    while not pipeline.is_empty():
        pipeline.step(0.0)
    waiter.join(WAIT_S)
    assert paused == [(True, 2)]


class Asks:
    """An asker that keeps what it gets."""

    def __init__(self):
        self.gives_up_at_s = float("inf")
        self.got = []

    def take(self, answer, outputs):
        self.got.append((answer, {name: array.copy() for name, array in outputs.items()}))


def question(seq=0, **keys):
    asker = Asks()
    return asker, replace(make_frame(seq, REQUESTS), colour="rgb", asker=asker, **keys)


class Everything:
    """Whatever learns from frames or tells of them."""

    def __init__(self):
        self.heard = []

    def offer(self, sample, result):
        self.heard.append(("observer", sample.stream))

    def note_answer(self, generation, arm, sample, answer):
        self.heard.append(("answers", sample.stream))

    def note_result(self, result, outputs):
        self.heard.append(("tap", result.stream))

    def note_rejection(self, model, rejected):
        self.heard.append(("tap rejected", rejected.stream))


def test_a_tap_gets_every_answer_with_the_raw_outputs_and_every_rejection():
    feed = Feed()
    feed.begin(taking := Taking(frozenset({"belt"}), 0.0, lambda _: True))
    pipeline, _, _ = make_pipeline(FakeEngine(failures=1), queue_limit=8)
    pipeline.tap = feed
    for seq, picture in enumerate((b"no picture", None, None)):
        frame = make_frame(seq, picture=picture)
        feed.offer_frame(frame)
        pipeline.accept(frame, is_live=True, stop=NEVER)
        pipeline.step(timeout_s=0.0)
    answers = [one for one in iter(lambda: taking.take(0.0), None) if not isinstance(one, Frame)]
    reasons = [one.rejected.reason for one in answers if isinstance(one, TakenRejection)]
    assert reasons == [RejectReason.UNSUPPORTED, RejectReason.ENGINE_ERROR]
    assert answers[2].result.seq == 2
    assert answers[2].raw["scores"].shape == (3,)
    assert taking.is_complete


def test_who_asks_is_answered_alone_and_nothing_learns_from_the_frame():
    told, rejections = Everything(), []
    pipeline, results, _ = make_pipeline(observer=told, rejections=rejections)
    pipeline.answers = pipeline.tap = told
    asker, frame = question(3)
    bad_asker, bad = question(4, payload=b"no picture")
    assert [pipeline.ask(frame), pipeline.ask(bad)] == [Asked.TAKEN, Asked.TAKEN]
    pipeline.accept(make_frame(7), is_live=True, stop=NEVER)
    while pipeline.step(timeout_s=0.0):
        pass
    [(result, outputs)] = asker.got
    assert (result.stream, result.seq, result.generation) == (REQUESTS, 3, "parts/1")
    assert result.top[0].label in ("a", "b", "c")
    assert outputs["scores"].shape == (3,)
    [(rejected, nothing)] = bad_asker.got
    assert (rejected.reason, nothing) == (RejectReason.UNSUPPORTED, {})
    assert [one.stream for one in results] == ["belt"]
    assert told.heard == [("answers", "belt"), ("tap", "belt"), ("observer", "belt")]
    assert rejections == []
    counts = pipeline.metrics.stream(REQUESTS)
    assert (counts.frames, counts.results, counts.rejected) == (2, 1, {"unsupported": 1})


def test_who_asks_hears_of_a_full_queue_at_once_and_of_an_end():
    pipeline, _, _ = make_pipeline(request_limit=1)
    first, frame = question(0)
    assert pipeline.ask(frame) is Asked.TAKEN
    assert pipeline.ask(question(1)[1]) is Asked.FULL
    pipeline.drain()
    assert pipeline.ask(question(2)[1]) is Asked.ENDED
    pipeline.step(timeout_s=0.0)
    assert len(first.got) == 1  # what was taken is answered


def test_who_asks_is_told_when_the_engine_fails():
    pipeline, _, errors = make_pipeline(FakeEngine(failures=1))
    asker, frame = question(0)
    pipeline.ask(frame)
    pipeline.step(timeout_s=0.0)
    assert asker.got[0][0].reason is RejectReason.ENGINE_ERROR
    assert len(errors) == 1
