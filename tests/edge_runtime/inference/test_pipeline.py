import os
import threading
import time

import numpy as np
import pytest
import structlog

from edge_runtime.daemon.workers import QUIET_READS, InferenceWorker, StreamWorker
from edge_runtime.datatypes import Frame, Generation, Rejected
from edge_runtime.errors import SourceLost
from edge_runtime.inference.engine_slot import EngineSlot
from edge_runtime.inference.pipeline import Pipeline, PipelineParts
from edge_runtime.inference.postprocess.postprocessor import Postprocessor
from edge_runtime.inference.preprocess import Preprocessor
from edge_runtime.inference.scheduler import BatchPolicy, BatchScheduler
from edge_runtime.inference.specs import ClassificationSpec, PreprocessSpec
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_engine import FakeEngine
from tests.support.fake_source import FakeSource
from tests.support.waiting import WAIT_S, until

SPEC = PreprocessSpec(
    colour="rgb", width=8, height=8, geometry="stretch", filter="area", mean=(0, 0, 0), std=(255, 255, 255)
)


class Manifest:
    """What a postprocessor reads of a manifest."""

    preprocess = SPEC
    postprocess = ClassificationSpec(scores="logits", top_k=1)


class Seen:
    """An observer that remembers."""

    def __init__(self):
        self.offered = []

    def offer(self, sample, result):
        self.offered.append((sample.seq, result.id))


def frame(seq, stream="belt", picture=None, age_s=0.0):
    rng = np.random.default_rng(seq)
    picture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) if picture is None else picture
    return Frame(stream, seq, picture, time.monotonic() - age_s, time.time())


def make(engine=None, *, results=None, observer=None, workers=1, **policy):
    results = [] if results is None else results
    errors = []
    parts = PipelineParts(
        device="box",
        model="parts",
        preprocessor=Preprocessor(SPEC),
        scheduler=BatchScheduler(BatchPolicy(**policy), workers),
        slot=EngineSlot(Generation("parts/1"), engine or FakeEngine()),
        postprocessor=Postprocessor(Manifest, ("a", "b", "c")),
        deliver=results.append,
        observer=observer,
        on_engine_error=errors.append,
        clock=time.monotonic,
    )
    return Pipeline(parts), results, errors


NEVER = threading.Event()


def test_a_frame_becomes_a_result_with_all_its_facts():
    observer = Seen()
    pipeline, results, _ = make(observer=observer)
    assert pipeline.accept(frame(7), is_live=True, stop=NEVER) is None
    assert pipeline.step(timeout_s=1.0) == 1
    [result] = results
    assert (result.id, result.model, result.generation) == ("box/belt/000000007", "parts", "parts/1")
    assert result.top[0].label in ("a", "b", "c")
    assert result.timings.total >= result.timings.infer > 0
    assert observer.offered == [(7, result.id)]


def test_a_bad_picture_is_counted_by_reason_and_goes_no_further():
    observer = Seen()
    pipeline, results, _ = make(observer=observer)
    rejected = pipeline.accept(frame(0, picture=b"\xff\xd8garbage"), is_live=True, stop=NEVER)
    assert isinstance(rejected, Rejected)
    assert pipeline.step(timeout_s=0.0) == 0
    assert results == observer.offered == []
    assert sum(pipeline.metrics.stream("belt").rejected.values()) == 1


def test_non_finite_outputs_are_rejected():
    engine = FakeEngine(answer=lambda batch: {"scores": np.full((len(batch), 3), np.nan, np.float32)})
    pipeline, results, _ = make(engine)
    pipeline.accept(frame(0), is_live=True, stop=NEVER)
    pipeline.step(timeout_s=1.0)
    assert results == []
    assert pipeline.metrics.stream("belt").rejected == {"bad_output": 1}


def test_samples_that_wait_together_run_together():
    engine = FakeEngine()
    pipeline, results, _ = make(engine, max_batch_size=4)
    for seq in range(4):
        pipeline.accept(frame(seq), is_live=True, stop=NEVER)
    assert pipeline.step(timeout_s=1.0) == 4
    assert engine.batch_sizes == [4]
    assert [result.seq for result in results] == [0, 1, 2, 3]


def test_an_engine_failure_costs_its_batch_and_is_reported():
    engine = FakeEngine(failures=1)
    pipeline, results, errors = make(engine)
    for seq in range(2):
        pipeline.accept(frame(seq), is_live=True, stop=NEVER)
        pipeline.step(timeout_s=1.0)
        assert pipeline.metrics.last_progress_at_s is not None  # it came back, even if with an error
    assert [result.seq for result in results] == [1]
    assert len(errors) == pipeline.metrics.lost_to_errors == 1
    assert pipeline.slot.failures_in_a_row == 0


def test_what_an_unexpected_failure_leaves_of_a_batch_is_counted(monkeypatch):
    pipeline, results, _ = make(max_batch_size=4)
    read, bug = pipeline._postprocessor.read, ZeroDivisionError("bug")

    def fails_on_the_second(sample, outputs):
        if sample.seq == 1:
            raise bug
        return read(sample, outputs)

    monkeypatch.setattr(pipeline._postprocessor, "read", fails_on_the_second)
    for seq in range(4):
        pipeline.accept(frame(seq), is_live=True, stop=NEVER)
    with pytest.raises(ZeroDivisionError):
        pipeline.step(timeout_s=1.0)
    assert [result.seq for result in results] == [0]
    assert pipeline.metrics.lost_to_errors == 3
    assert pipeline.is_idle()


def test_a_pipeline_that_replaces_another_goes_on_with_its_counters():
    old, _, _ = make(queue_limit=1)
    for seq in range(3):
        old.accept(frame(seq), is_live=True, stop=NEVER)
    new, results, _ = make(queue_limit=1)
    new.continue_counts(old)
    new.accept(frame(3), is_live=True, stop=NEVER)
    old.drain()
    assert [old.step(timeout_s=0.0), old.step(timeout_s=60.0)] == [1, 0], "drained: nothing is waited for"
    assert new.step(timeout_s=1.0) == 1
    counters, belt = new.scheduler.counters, new.metrics.stream("belt")
    assert (counters.offered, counters.taken, counters.dropped_oldest) == (4, 2, 2)
    assert (belt.frames, belt.results) == (4, 2)
    assert [result.seq for result in results] == [3]


def test_a_live_frame_that_is_too_old_is_never_published():
    pipeline, results, _ = make(max_age_s=0.5)
    pipeline.accept(frame(0, age_s=2.0), is_live=True, stop=NEVER)
    assert pipeline.step(timeout_s=0.0) == 0
    assert results == []
    assert pipeline.scheduler.counters.dropped_stale == 1


def test_a_file_waits_for_room_and_loses_nothing():
    pipeline, results, _ = make(queue_limit=1)
    reader = threading.Thread(
        target=lambda: [pipeline.accept(frame(seq), is_live=False, stop=NEVER) for seq in range(20)]
    )
    reader.start()
    deadline = time.monotonic() + WAIT_S
    while len(results) < 20 and time.monotonic() < deadline:
        pipeline.step(timeout_s=0.1)
    reader.join(WAIT_S)
    assert [result.seq for result in results] == list(range(20))


def test_knows_since_when_a_batch_is_due():
    gate = threading.Event()
    pipeline, _, _ = make(FakeEngine(gate=gate))
    assert pipeline.is_idle()
    pipeline.accept(frame(0), is_live=True, stop=NEVER)
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
    pipeline, results, errors = make(slow, workers=2, max_batch_size=1)
    first = threading.Thread(target=lambda: pipeline.step(timeout_s=5.0))
    second = threading.Thread(target=lambda: pipeline.step(timeout_s=5.0))
    for seq in range(2):
        pipeline.accept(frame(seq), is_live=True, stop=NEVER)
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
    pipeline, results, errors = make(engines[0], workers=count, queue_limit=4)
    crashes = Crashes(on_fatal=pytest.fail)
    workers = [InferenceWorker(f"infer-{number}", pipeline, crashes) for number in range(count)]
    for worker in workers:
        worker.thread.start()
    for seq in range(300):
        pipeline.accept(frame(seq), is_live=False, stop=NEVER)
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


def stream_worker(tmp_path, pipeline, open_source, crashes=None):
    class NoDelay:
        def next_delay_s(self):
            return 0.0

        def reset(self):
            pass

    crashes = crashes or Crashes(on_fatal=lambda reason: None)
    return StreamWorker(
        open_source, "belt", pipeline, crashes, NoDelay(), SequenceNumbers(tmp_path / "belt.seq")
    )


def test_a_lost_source_is_opened_again(tmp_path):
    pipeline, _, _ = make(queue_limit=8)
    sources = iter(
        [
            FakeSource("belt", [frame(0), SourceLost("belt", "unplugged")]),
            FakeSource("belt", [None, frame(1)]),
        ]
    )
    worker = stream_worker(tmp_path, pipeline, lambda: next(sources))
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert worker.is_finished
    assert pipeline.metrics.stream("belt").frames == 2
    assert worker.last_problem == "unplugged"
    assert worker.source_counts()[2] == 1


def test_a_source_that_was_never_there_is_not_called_lost(tmp_path):
    pipeline, _, _ = make(queue_limit=8)
    answers = iter(
        [
            SourceLost("belt", "no such folder"),
            FakeSource("belt", [frame(0), SourceLost("belt", "unplugged")]),
            FakeSource("belt", []),
        ]
    )

    def open_source():
        answer = next(answers)
        if isinstance(answer, SourceLost):
            raise answer
        return answer

    worker = stream_worker(tmp_path, pipeline, open_source)
    with structlog.testing.capture_logs() as logged:
        worker.thread.start()
        assert worker.thread.join(WAIT_S)
    warnings = [(entry["event"], entry["reason"]) for entry in logged if entry["log_level"] == "warning"]
    assert warnings == [("source not available", "no such folder"), ("source lost", "unplugged")]


def test_a_stream_that_is_quiet_for_a_while_keeps_no_worker_free(tmp_path, monkeypatch):
    pipeline, _, _ = make(queue_limit=8)
    rested_after = []
    monkeypatch.setattr(
        pipeline, "rest", lambda stream: rested_after.append(pipeline.metrics.stream(stream).frames)
    )
    pauses = [None] * (QUIET_READS - 1), [None] * (QUIET_READS + 3)
    script = [frame(0), *pauses[0], frame(1), *pauses[1], frame(2)]
    worker = stream_worker(tmp_path, pipeline, lambda: FakeSource("belt", script))
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert rested_after == [2, 3], "once in the long pause, and at the end"


def test_an_unexpected_failure_is_counted_and_the_stream_goes_on(tmp_path, monkeypatch):
    pipeline, _, _ = make(queue_limit=8)
    sources = iter([FakeSource("belt", [RuntimeError("bug")]), FakeSource("belt", [frame(0)])])
    crashes = Crashes(on_fatal=lambda reason: None)
    worker = stream_worker(tmp_path, pipeline, lambda: next(sources), crashes)
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert crashes.total == 1
    assert pipeline.metrics.stream("belt").frames == 1


def test_inference_that_can_never_work_ends_the_daemon(monkeypatch):
    def broken(timeout_s):
        raise RuntimeError("bug")

    reasons = []
    pipeline, _, _ = make()
    monkeypatch.setattr(pipeline, "step", broken)
    monkeypatch.setattr(pipeline, "is_empty", lambda: False)
    worker = InferenceWorker("infer-parts", pipeline, Crashes(reasons.append))
    worker.thread.start()
    worker.thread.stop()
    assert worker.thread.join(WAIT_S)
    assert [reason.partition(" ")[0] for reason in reasons] == ["infer-parts"]


def test_a_damaged_sequence_file_starts_again_from_zero(tmp_path):
    (tmp_path / "belt.seq").write_text("garbage")
    assert SequenceNumbers(tmp_path / "belt.seq").next == 0


def test_a_worker_runs_on_the_cpus_it_was_given_and_says_so():
    cpu, seen = max(os.sched_getaffinity(0)), []
    done = threading.Event()

    class Where(FakeEngine):
        def infer(self, batch):
            seen.append(os.sched_getaffinity(0))
            done.set()
            return super().infer(batch)

    pipeline, *_ = make(Where())
    worker = InferenceWorker("infer", pipeline, Crashes(lambda reason: None), (cpu,))
    worker.thread.start()
    pipeline.accept(frame(1), is_live=True, stop=NEVER)
    assert done.wait(WAIT_S)
    worker.thread.stop()
    assert worker.thread.join(WAIT_S)
    assert (seen, worker.bound_to) == ([{cpu}], (cpu,))


def test_a_worker_whose_cpus_are_gone_runs_anywhere():
    pipeline, *_ = make()
    worker = InferenceWorker("infer", pipeline, Crashes(lambda reason: None), (4095,))
    worker.thread.start()
    pipeline.accept(frame(1), is_live=True, stop=NEVER)
    worker.thread.stop()
    assert worker.thread.join(WAIT_S)
    assert worker.bound_to == ()
    assert pipeline.is_empty()
