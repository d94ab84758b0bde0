"""Workers: a stream is opened again when it is lost, inference goes on, and both say what happened."""

import os
import threading
import time
from types import SimpleNamespace

import structlog

from edge_runtime.config import CameraConfig
from edge_runtime.daemon import model_runtime, workers
from edge_runtime.daemon.model_runtime import ModelRuntime
from edge_runtime.daemon.workers import QUIET_READS, InferenceWorker, StreamWorker
from edge_runtime.errors import SourceLost
from edge_runtime.inference.batch_times import LOOKED_AT
from edge_runtime.inference.pipeline import RETRY_S
from edge_runtime.sources.sequence import SequenceNumbers
from edge_runtime.system import supervised_thread
from edge_runtime.system.supervised_thread import Crashes
from tests.support.fake_engine import FakeEngine
from tests.support.fake_source import FakeSource
from tests.support.pipeline_bench import NEVER, make_frame, make_pipeline
from tests.support.waiting import WAIT_S, until


def stream_worker(tmp_path, pipeline, open_source, crashes=None):
    class NoDelay:
        def next_delay_s(self):
            return 0.0

        def reset(self):
            pass

    crashes = crashes or Crashes(on_fatal=lambda reason: None)
    camera = CameraConfig(path="rtsp://camera/1", model="parts")
    sequence = SequenceNumbers(tmp_path / "belt.seq")
    return StreamWorker("belt", camera, open_source, pipeline, crashes, NoDelay(), sequence)


def test_a_lost_source_is_opened_again(tmp_path):
    pipeline, _, _ = make_pipeline(queue_limit=8)
    sources = iter(
        [
            FakeSource("belt", [make_frame(0), SourceLost("belt", "unplugged")]),
            FakeSource("belt", [None, make_frame(1)]),
        ]
    )
    worker = stream_worker(tmp_path, pipeline, lambda _: next(sources))
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert worker.is_finished
    assert pipeline.metrics.stream("belt").frames == 2
    assert worker.last_problem == "unplugged"
    assert worker.source_counts().restarts == 1


def test_a_source_that_was_never_there_is_not_called_lost(tmp_path):
    pipeline, _, _ = make_pipeline(queue_limit=8)
    answers = iter(
        [
            SourceLost("belt", "no such folder"),
            FakeSource("belt", [make_frame(0), SourceLost("belt", "unplugged")]),
            FakeSource("belt", []),
        ]
    )

    def open_source(_):
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
    pipeline, _, _ = make_pipeline(queue_limit=8)
    rested_after = []
    monkeypatch.setattr(
        pipeline, "rest", lambda stream: rested_after.append(pipeline.metrics.stream(stream).frames)
    )
    pauses = [None] * (QUIET_READS - 1), [None] * (QUIET_READS + 3)
    script = [make_frame(0), *pauses[0], make_frame(1), *pauses[1], make_frame(2)]
    worker = stream_worker(tmp_path, pipeline, lambda _: FakeSource("belt", script))
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert rested_after == [2, 3], "once in the long pause, and at the end"


def test_an_unexpected_failure_is_counted_and_the_stream_goes_on(tmp_path, monkeypatch):
    pipeline, _, _ = make_pipeline(queue_limit=8)
    sources = iter([FakeSource("belt", [RuntimeError("bug")]), FakeSource("belt", [make_frame(0)])])
    crashes = Crashes(on_fatal=lambda reason: None)
    worker = stream_worker(tmp_path, pipeline, lambda _: next(sources), crashes)
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert crashes.total == 1
    assert pipeline.metrics.stream("belt").frames == 1


def test_a_camera_that_is_merely_off_does_not_go_on_with_a_row_of_failures(tmp_path):
    pipeline, _, _ = make_pipeline(queue_limit=8)
    answers = iter([RuntimeError("bug")] * 3 + [SourceLost("belt", "off")])
    rows = []

    def open_source(_):
        rows.append(crashes.in_a_row())
        if (answer := next(answers, None)) is None:
            return FakeSource("belt", [])
        raise answer

    crashes = Crashes()
    worker = stream_worker(tmp_path, pipeline, open_source, crashes)
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert rows == [{}, *({"stream-belt": row} for row in (1, 2, 3)), {}]


def test_inference_that_can_never_work_ends_the_daemon(monkeypatch):
    def broken(timeout_s):
        raise RuntimeError("bug")

    reasons = []
    pipeline, _, _ = make_pipeline()
    monkeypatch.setattr(supervised_thread, "CRASHES_IN_A_ROW", 2)
    monkeypatch.setattr(pipeline, "step", broken)
    monkeypatch.setattr(pipeline, "is_empty", lambda: False)
    worker = InferenceWorker("infer-parts", pipeline, Crashes(reasons.append))
    worker.thread.start()
    assert until(lambda: reasons)
    worker.thread.stop()
    assert worker.thread.join(WAIT_S)
    assert [reason.partition(" ")[0] for reason in reasons] == ["infer-parts"]


def test_a_worker_runs_on_the_cpus_it_was_given_and_says_so():
    cpu, seen = max(os.sched_getaffinity(0)), []
    done = threading.Event()

    class Where(FakeEngine):
        def infer(self, batch):
            seen.append(os.sched_getaffinity(0))
            done.set()
            return super().infer(batch)

    pipeline, *_ = make_pipeline(Where())
    worker = InferenceWorker("infer", pipeline, Crashes(lambda reason: None), (cpu,))
    worker.thread.start()
    pipeline.accept(make_frame(1), is_live=True, stop=NEVER)
    assert done.wait(WAIT_S)
    worker.thread.stop()
    assert worker.thread.join(WAIT_S)
    assert (seen, worker.bound_to) == ([{cpu}], (cpu,))


def test_a_worker_whose_cpus_are_gone_runs_anywhere():
    pipeline, *_ = make_pipeline()
    worker = InferenceWorker("infer", pipeline, Crashes(lambda reason: None), (4095,))
    worker.thread.start()
    pipeline.accept(make_frame(1), is_live=True, stop=NEVER)
    worker.thread.stop()
    assert worker.thread.join(WAIT_S)
    assert worker.bound_to == ()
    assert pipeline.is_empty()


def test_a_full_batch_that_waits_begins_at_once_and_another_one_is_gathered(monkeypatch):
    pipeline, *_ = make_pipeline(max_batch_size=2, queue_limit=5, max_age_s=WAIT_S)
    for seq in range(5):
        pipeline.accept(make_frame(seq), is_live=True, stop=NEVER)
    waiting_at_sleep = []
    monkeypatch.setattr(workers, "sleep_until", lambda _: waiting_at_sleep.append(pipeline.count_waiting()))
    worker = InferenceWorker("infer", pipeline, Crashes(lambda reason: None))
    worker.thread.stop()
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert (waiting_at_sleep, pipeline.is_empty()) == ([1], True)


def test_a_frame_that_waits_for_room_in_a_pipeline_that_drains_goes_to_the_next_one(tmp_path):
    old, answered_by_old, _ = make_pipeline(queue_limit=1, max_batch_size=1)
    new, answered_by_new, _ = make_pipeline(queue_limit=1, max_batch_size=1)
    new.continue_counts(old)
    source = FakeSource("belt", [make_frame(seq) for seq in range(3)], is_live=False)
    worker = stream_worker(tmp_path, old, lambda _: source)
    worker.thread.start()
    belt = old.metrics.stream("belt")
    assert until(lambda: belt.frames == 2), "one is queued, another one waits"
    worker.begin_move(new)
    old.drain()
    while old.step(timeout_s=0.0):
        pass
    assert until(lambda: [new.step(timeout_s=0.1), len(answered_by_new)][1] == 2)
    assert worker.thread.join(WAIT_S)
    assert old.is_empty()
    assert [[result.seq for result in one] for one in (answered_by_old, answered_by_new)] == [[0], [1, 2]]
    assert (belt.frames, belt.results) == (3, 3)


def test_a_frame_for_which_no_pipeline_is_left_holds_up_no_stream(tmp_path):
    pipeline, results, _ = make_pipeline()
    pipeline.drain()
    source = FakeSource("belt", [make_frame(0)])
    worker = stream_worker(tmp_path, pipeline, lambda _: source)
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert (results, pipeline.is_empty(), worker.is_finished) == ([], True, True)


def run_short_batches(pipeline):
    """Until the pipeline has seen that its batches are short; the fake engine takes microseconds."""
    for seq in range(LOOKED_AT):
        pipeline.accept(make_frame(seq, stream="other"), is_live=True, stop=NEVER)
        pipeline.step(timeout_s=0.0)
    assert pipeline.is_short


def test_the_thread_of_a_stream_runs_short_batches_itself(tmp_path):
    engine = FakeEngine()
    pipeline, results, _ = make_pipeline(engine, max_batch_size=2, queue_limit=8)
    run_short_batches(pipeline)
    frames = [make_frame(seq) for seq in range(5)]
    source = FakeSource("belt", [*frames, None])
    worker = stream_worker(tmp_path, pipeline, lambda _: source)
    worker.thread.start()
    assert worker.thread.join(WAIT_S)
    assert [result.seq for result in results if result.stream == "belt"] == [0, 1, 2, 3, 4]
    assert engine.batch_sizes[LOOKED_AT:] == [2, 2, 1]
    assert pipeline.is_idle()


def test_a_worker_takes_over_once_a_short_batch_failed_unexpectedly_and_the_source_stays_open(
    tmp_path, monkeypatch
):
    pipeline, results, _ = make_pipeline(queue_limit=8)
    run_short_batches(pipeline)
    read, failures = pipeline.postprocessor.read, iter([RuntimeError("once")])

    def fail_once(sample, outputs):
        if (error := next(failures, None)) is not None:
            raise error
        return read(sample, outputs)

    monkeypatch.setattr(pipeline.postprocessor, "read", fail_once)
    crashes = Crashes(on_fatal=lambda reason: None)
    sources = iter([FakeSource("belt", [make_frame(0), None, make_frame(1), None])])
    stream = stream_worker(tmp_path, pipeline, lambda _: next(sources), crashes)
    inference = InferenceWorker("infer", pipeline, crashes)
    stream.thread.start()
    inference.thread.start()
    assert stream.thread.join(WAIT_S)
    assert until(lambda: [result.seq for result in results if result.stream == "belt"] == [1])
    assert (pipeline.is_short, pipeline.metrics.lost_to_errors) == (False, 1)
    assert (crashes.by_thread(), stream.source_counts().restarts) == ({"infer-parts": 1}, 0)
    inference.thread.stop()
    assert inference.thread.join(WAIT_S)


def test_a_silent_stream_ends_when_told_to_while_its_model_is_busy_with_another_one(tmp_path):
    pipeline, _, _ = make_pipeline(max_batch_size=1, queue_limit=4096, max_age_s=WAIT_S)
    run_short_batches(pipeline)
    has_read, seqs = threading.Event(), iter(range(1000, 1_000_000))

    class Silent(FakeSource):
        def read(self, timeout_s):
            pipeline.accept(make_frame(next(seqs), "other"), is_live=True, stop=NEVER, runs_short=True)
            has_read.set()
            return super().read(timeout_s)

    worker = stream_worker(tmp_path, pipeline, lambda _: Silent("belt", iter(lambda: None, 0)))
    worker.thread.start()
    assert has_read.wait(WAIT_S)
    worker.thread.stop()
    assert worker.thread.join(WAIT_S)


def hang_in_the_thread_of_a_stream(tmp_path):
    """A stream whose thread runs a short batch that does not come back until the gate is set."""
    engine = FakeEngine()
    pipeline, _, _ = make_pipeline(engine, queue_limit=8)
    run_short_batches(pipeline)
    engine.gate = threading.Event()
    source = FakeSource("belt", [make_frame(0), *[None] * 3])
    worker = stream_worker(tmp_path, pipeline, lambda _: source)
    worker.thread.start()
    assert until(lambda: len(engine.batch_sizes) == LOOKED_AT + 1)
    return engine, pipeline, worker


def test_a_stream_whose_short_batch_hangs_is_moved_at_once(tmp_path):
    engine, _, worker = hang_in_the_thread_of_a_stream(tmp_path)
    other, _, _ = make_pipeline()
    worker.begin_move(other)
    worker.end_move(time.monotonic())
    assert worker.pipeline is other
    engine.gate.set()
    assert worker.thread.join(WAIT_S)


def test_a_model_whose_short_batch_hangs_has_not_ended_and_keeps_its_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(model_runtime, "STOP_S", 0.01)
    engine, pipeline, worker = hang_in_the_thread_of_a_stream(tmp_path)
    model = ModelRuntime("parts", SimpleNamespace(id="parts/1"), None, pipeline, (), None)
    assert not model.stop()
    assert not engine.is_closed
    engine.gate.set()
    assert worker.thread.join(WAIT_S)
    assert model.stop()
    assert engine.is_closed


def test_streams_run_no_more_batches_at_once_than_there_are_workers_and_look_again_soon(tmp_path):
    engine, pipeline, worker = hang_in_the_thread_of_a_stream(tmp_path)
    inference = InferenceWorker("infer", pipeline, Crashes(on_fatal=lambda reason: None))
    inference.thread.start()
    pipeline.accept(make_frame(0, stream="other"), is_live=True, stop=NEVER, runs_short=True)
    assert pipeline.run_short("other") == RETRY_S
    assert engine.batch_sizes[LOOKED_AT:] == [1]
    engine.gate.set()
    assert until(lambda: engine.batch_sizes[LOOKED_AT:] == [1, 1])
    assert worker.thread.join(WAIT_S)
    inference.thread.stop()
    assert inference.thread.join(WAIT_S)
