from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.datatypes import REQUESTS, Sample
from edge_runtime.inference.scheduler import BatchPolicy, BatchScheduler


def sample(stream="a", seq=0, captured_at_s=0.0, shape=(3, 4, 4)):
    return Sample(
        stream=stream,
        seq=seq,
        tensor=np.zeros(shape, np.float32),
        values=None,
        geometry=None,
        captured_at_s=captured_at_s,
        captured_at_wall_s=0.0,
        prepared_at_s=captured_at_s,
        decode_ms=0.0,
        prepare_ms=0.0,
    )


def names(batch):
    return [(q.sample.stream, q.sample.seq) for q in batch]


def run(s, now_s=0.0):
    batch = s.take(now_s)
    s.finish(batch)
    return batch


def schedule(workers=1, **policy):
    usual = {"max_batch_size": 4, "max_queue_delay_s": 0.0, "max_age_s": 1.0, "queue_limit": 4}
    return BatchScheduler(BatchPolicy(**{**usual, **policy}), workers)


def test_runs_at_once_without_a_queue_delay():
    s = schedule()
    s.offer(sample(), is_live=True, now_s=0.0)
    assert names(s.take(0.0)) == [("a", 0)]
    assert s.take(0.0) == ()


def test_waits_for_company_until_the_delay_is_over():
    s = schedule(max_queue_delay_s=0.010)
    s.offer(sample(captured_at_s=1.0), is_live=True, now_s=1.0)
    assert s.take(1.005) == ()
    assert s.wait_s(1.005) == pytest.approx(0.005)
    assert names(s.take(1.011)) == [("a", 0)]


def test_a_full_batch_does_not_wait():
    s = schedule(max_queue_delay_s=10.0, max_batch_size=2)
    for seq in range(2):
        s.offer(sample(seq=seq), is_live=True, now_s=0.0)
    assert s.wait_s(0.0) == 0.0
    assert len(s.take(0.0)) == 2


def test_flush_does_not_wait():
    s = schedule(max_queue_delay_s=10.0)
    s.offer(sample(), is_live=True, now_s=0.0)
    assert len(s.take(0.0, flush=True)) == 1


def test_drops_oldest_when_full_on_a_live_stream():
    s = schedule(queue_limit=2)
    for seq in range(5):
        assert s.offer(sample(seq=seq), is_live=True, now_s=0.0)
    assert names(s.take(0.0)) == [("a", 3), ("a", 4)]
    assert s.counters.dropped_oldest == 3


def test_refuses_when_full_on_a_file_and_changes_nothing():
    s = schedule(queue_limit=1)
    assert s.offer(sample(seq=0), is_live=False, now_s=0.0)
    assert not s.offer(sample(seq=1), is_live=False, now_s=0.0)
    assert names(s.take(0.0)) == [("a", 0)]
    assert s.counters.dropped_oldest == 0


def test_stale_live_samples_are_dropped_but_file_samples_are_not():
    s = schedule(max_age_s=1.0)
    s.offer(sample("live", captured_at_s=0.0), is_live=True, now_s=0.0)
    s.offer(sample("file", captured_at_s=0.0), is_live=False, now_s=0.0)
    assert names(s.take(1.5)) == [("file", 0)]
    assert s.counters.dropped_stale == 1


def test_takes_from_streams_in_turn():
    s = schedule(max_batch_size=3, queue_limit=8)
    for seq in range(6):
        s.offer(sample("busy", seq), is_live=True, now_s=0.0)
    s.offer(sample("quiet", 0), is_live=True, now_s=0.0)
    first = names(s.take(0.0))
    assert ("quiet", 0) in first
    assert len(first) == 3


def test_a_batch_of_one_serves_all_streams_in_turn():
    s = schedule(max_batch_size=1)
    for stream in ("a", "b", "c"):
        for seq in range(2):
            s.offer(sample(stream, seq), is_live=True, now_s=0.0)
    assert [names(run(s))[0][0] for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_with_one_worker_one_batch_is_under_way():
    s = schedule(max_batch_size=1)
    for seq in range(2):
        s.offer(sample("a", seq), is_live=True, now_s=0.0)
    first = s.take(0.0)
    assert s.take(0.0) == ()
    assert s.wait_s(0.0) is None
    s.offer(sample("b", 0), is_live=True, now_s=0.0)
    assert s.take(0.0) == ()
    s.finish(first)
    assert [names(run(s, 0.0)) for _ in range(2)] == [[("a", 1)], [("b", 0)]]


def test_a_lone_stream_uses_every_worker_and_is_answered_in_order():
    s = schedule(workers=2, max_batch_size=1)
    for seq in range(3):
        s.offer(sample("a", seq), is_live=True, now_s=0.0)
    first, second = s.take(0.0), s.take(0.0)
    assert (names(first), names(second)) == ([("a", 0)], [("a", 1)])
    assert s.take(0.0) == ()
    assert s.may_answer(first)
    assert not s.may_answer(second)
    s.finish(first)
    assert s.may_answer(second)
    assert names(s.take(0.0)) == [("a", 2)]


def test_a_busy_stream_leaves_a_worker_to_a_quiet_one():
    s = schedule(workers=2, max_batch_size=1)
    s.offer(sample("quiet", 0), is_live=True, now_s=0.0)
    run(s)
    for seq in range(2):
        s.offer(sample("busy", seq), is_live=True, now_s=0.0)
    s.take(0.0)
    assert s.take(0.0) == ()
    s.offer(sample("quiet", 1), is_live=True, now_s=0.0)
    late = s.take(0.0)
    assert names(late) == [("quiet", 1)]
    assert s.may_answer(late)


def test_a_stream_that_ended_leaves_its_worker_until_it_comes_back():
    s = schedule(workers=2, max_batch_size=1)
    s.offer(sample("ended", 0), is_live=False, now_s=0.0)
    s.rest("ended")
    for seq in range(3):
        s.offer(sample("busy", seq), is_live=False, now_s=0.0)
    assert names(run(s)) == [("ended", 0)]  # what it still had is answered first
    under_way = [s.take(0.0), s.take(0.0)]
    assert [names(batch) for batch in under_way] == [[("busy", 0)], [("busy", 1)]]
    for batch in under_way:
        s.finish(batch)
    s.offer(sample("ended", 1), is_live=False, now_s=0.0)
    assert {names(s.take(0.0))[0][0] for _ in range(2)} == {"busy", "ended"}


def test_shapes_are_never_mixed_in_a_batch():
    s = schedule()
    s.offer(sample("a", 0, shape=(3, 4, 4)), is_live=True, now_s=0.0)
    s.offer(sample("b", 0, shape=(3, 8, 8)), is_live=True, now_s=0.0)
    assert [names(run(s, 0.0)) for _ in range(2)] == [[("a", 0)], [("b", 0)]]


def test_every_sample_is_accounted_for():
    rng = np.random.default_rng(0)
    s = schedule(queue_limit=2, max_age_s=0.5, max_batch_size=3)
    now = 0.0
    for seq in range(500):
        now += float(rng.exponential(0.1))
        s.offer(sample("ab"[seq % 2], seq, captured_at_s=now - float(rng.random())), is_live=True, now_s=now)
        if rng.random() < 0.3:
            run(s, now)
    c = s.counters
    assert c.offered == 500 == c.taken + c.dropped_oldest + c.dropped_stale + len(s)


def test_forgets_a_removed_stream():
    s = schedule()
    s.offer(sample(), is_live=True, now_s=0.0)
    assert s.forget("a") == 1
    assert s.wait_s(0.0) is None


def test_a_stream_of_higher_priority_is_served_first_and_the_others_take_turns():
    s = schedule(max_batch_size=1, queue_limit=8, priorities={"door": 1, "attic": -1})
    for seq in range(2):
        for stream in ("attic", "a", "b", "door"):
            s.offer(sample(stream, seq), is_live=True, now_s=0.0)
    served = [names(run(s))[0] for _ in range(8)]
    assert served == [
        ("door", 0),
        ("door", 1),
        ("a", 0),
        ("b", 0),
        ("a", 1),
        ("b", 1),
        ("attic", 0),
        ("attic", 1),
    ]


def test_under_overload_low_priority_grows_old_and_is_counted_while_high_keeps_its_pace():
    s = schedule(max_batch_size=1, queue_limit=2, max_age_s=0.5, priorities={"door": 1})
    answered = {"door": 0, "yard": 0}
    for step in range(100):  # two cameras of 10 pictures a second, and an engine that answers 10
        now_s = step / 10
        for stream in answered:
            s.offer(sample(stream, step, captured_at_s=now_s), is_live=True, now_s=now_s)
        for queued in run(s, now_s):
            answered[queued.sample.stream] += 1
    assert answered == {"door": 100, "yard": 0}
    dropped = s.counters.dropped_oldest + s.counters.dropped_stale
    assert s.counters.offered == s.counters.taken + dropped + len(s)


class Asks:
    """An asker that waits until a moment."""

    def __init__(self, gives_up_at_s=100.0):
        self.gives_up_at_s = gives_up_at_s

    def take(self, answer, outputs):
        raise AssertionError("the schedule answers nobody")


def ask(s, seq=0, now_s=0.0, gives_up_at_s=100.0):
    asked = replace(sample(REQUESTS, seq), asker=Asks(gives_up_at_s))
    return s.offer(asked, is_live=False, now_s=now_s)


def test_requests_have_a_limit_of_their_own_and_refuse_the_newest():
    s = schedule(queue_limit=1, request_limit=2, max_batch_size=8)
    assert [ask(s, 0), ask(s, 1), ask(s, 2)] == [True, True, False]
    assert names(s.take(0.0)) == [(REQUESTS, 0), (REQUESTS, 1)]


def test_many_requests_take_the_turns_of_one_camera():
    s = schedule(request_limit=8, max_batch_size=1)
    for seq in range(4):
        ask(s, seq)
        s.offer(sample("a", seq), is_live=True, now_s=0.0)
        s.offer(sample("b", seq), is_live=True, now_s=0.0)
    served = [run(s)[0].sample.stream for _ in range(9)]
    assert [served.count(stream) for stream in (REQUESTS, "a", "b")] == [3, 3, 3]


def test_requests_of_low_priority_get_what_cameras_leave():
    s = schedule(max_batch_size=1, priorities={REQUESTS: -1})
    ask(s, 0)
    for seq in range(3):
        s.offer(sample("a", seq), is_live=True, now_s=0.0)
    assert [run(s)[0].sample.stream for _ in range(4)] == ["a", "a", "a", REQUESTS]


def test_requests_keep_no_worker_free():
    """As a file that has ended; a camera's second batch may run when nobody asks."""
    s = schedule(workers=2, max_batch_size=1)
    ask(s, 0)
    s.finish(s.take(0.0))
    for seq in range(2):
        s.offer(sample("a", seq), is_live=True, now_s=0.0)
    assert [names(s.take(0.0)), names(s.take(0.0))] == [[("a", 0)], [("a", 1)]]


def test_what_nobody_waits_for_any_more_is_dropped_and_counted():
    s = schedule(max_age_s=0.1)
    ask(s, 0, gives_up_at_s=1.0)
    ask(s, 1, gives_up_at_s=3.0)
    assert names(s.take(2.0)) == [(REQUESTS, 1)]  # older than a live sample may be
    counted = s.counters
    assert (counted.offered, counted.taken, counted.dropped_stale) == (2, 1, 1)
