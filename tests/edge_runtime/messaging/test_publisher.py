"""publisher: order, at-least-once, refusals, backlog; against a real outbox and a sink made of lists."""

import json
import threading
import time

import pytest

from edge_runtime.messaging.outbox.outbox import Outbox, OutboxLimits
from edge_runtime.messaging.outbox.publisher import DeliveryReport, Denial, Publisher
from edge_runtime.messaging.sinks import file_sink
from edge_runtime.messaging.sinks.file_sink import FileSink
from edge_runtime.system.supervised_thread import Crashes
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


class ListSink:
    """A destination under the test's control."""

    def __init__(self, *, window=10, is_ready=True, acks_by_itself=True):
        self.lock = threading.Lock()
        self.window, self.is_ready, self.acks_by_itself = window, is_ready, acks_by_itself
        self.connection = 1
        self.arrived, self.unacked, self.report = [], [], DeliveryReport()
        self.refuse_seqs, self.explode_once, self.is_broken = set(), False, False
        self.denied_topics = set()
        self.closed = 0
        self.listener = lambda: None
        self.pace_s = 0.0
        self.problem = None

    @property
    def epoch(self):
        return self.connection if self.is_ready else None

    def capacity(self):
        return self.window - len(self.unacked)

    def send(self, row):
        with self.lock:
            if self.explode_once or self.is_broken:
                self.explode_once = False
                raise ZeroDivisionError
            if not self.is_ready:
                return False
            seq = json.loads(row.payload)["seq"]
            if seq in self.refuse_seqs:
                self.report.refused[row.id] = "bad"
                return True
            if row.topic in self.denied_topics:
                self.report.denied[row.id] = Denial("rules")
                return True
            self.arrived.append((row.topic, seq))
            self.unacked.append(row.id)
        if self.acks_by_itself:
            threading.Event().wait(self.pace_s)
            self.ack_all()
        return True

    def ack_all(self):
        with self.lock:
            self.report.delivered.extend(self.unacked)
            self.unacked = []
        self.listener()

    def lose_connection(self):
        with self.lock:
            self.unacked, self.connection = [], self.connection + 1
        self.listener()

    def poll(self):
        with self.lock:
            report, self.report = self.report, DeliveryReport()
        return report

    def hurry(self):
        """Rows are settled at once anyway."""

    def listen(self, listener):
        self.listener = listener

    def close(self, timeout_s):
        self.closed += 1
        return self.poll()

    def seqs(self, topic=None):
        with self.lock:
            return [seq for name, seq in self.arrived if topic in (None, name)]


@pytest.fixture
def box(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db", Crashes(), OutboxLimits(max_queue_rows=50_000))
    yield outbox
    outbox.close()


def put(box, *seqs, topic="t"):
    for seq in seqs:
        box.put(topic, json.dumps({"seq": seq}).encode())


def run(box, sink, crashes=None, **options):
    publisher = Publisher(box, sink, crashes or Crashes(), **options)
    publisher.start()
    return publisher


def test_rows_arrive_in_order_and_leave_the_outbox(box):
    sink = ListSink()
    publisher = run(box, sink)
    put(box, *range(1000))
    assert until(lambda: len(sink.seqs()) == 1000)
    put(box, *range(1000, 1010))
    publisher.stop()
    assert sink.seqs() == list(range(1010))
    assert until(lambda: box.ledger().delivered == 1010)


def test_nothing_is_sent_while_the_destination_is_away(box):
    sink = ListSink(is_ready=False)
    sink.problem = "away"
    put(box, 1)
    publisher = run(box, sink)
    assert not until(sink.seqs, 0.4)
    assert publisher.problem == "away"
    sink.is_ready, sink.problem = True, None
    sink.listener()
    assert until(lambda: sink.seqs() == [1])
    assert publisher.problem is None
    publisher.stop()


def test_no_more_than_the_window_is_unacknowledged(box):
    sink = ListSink(window=7, acks_by_itself=False)
    put(box, *range(20))
    publisher = run(box, sink)
    assert until(lambda: len(sink.unacked) == 7)
    assert not until(lambda: len(sink.unacked) > 7, 0.3)
    sink.ack_all()
    assert until(lambda: len(sink.seqs()) == 14)
    publisher.stop(0.1)


def test_what_was_not_acknowledged_is_sent_again_in_order_after_a_loss(box):
    sink = ListSink(window=5, acks_by_itself=False)
    put(box, *range(12))
    publisher = run(box, sink)
    assert until(lambda: len(sink.unacked) == 5)
    sink.ack_all()
    assert until(lambda: len(sink.unacked) == 5)
    sink.acks_by_itself = True
    sink.lose_connection()
    assert until(lambda: len(sink.seqs()) == 17)
    publisher.stop()
    assert sink.seqs() == [*range(10), *range(5, 12)]
    assert publisher.repeated == 5
    assert box.ledger().dropped == 0


def test_a_refused_row_is_dropped_and_the_rest_goes_on(box):
    sink = ListSink()
    sink.refuse_seqs = {3}
    publisher = run(box, sink)
    put(box, *range(6))
    assert until(lambda: sink.seqs() == [0, 1, 2, 4, 5])
    publisher.stop()
    assert until(lambda: box.ledger().dropped_by_refusal == 1)


def test_a_failing_sink_is_counted_and_tried_again(box):
    sink, crashes = ListSink(), Crashes()
    sink.explode_once = True
    put(box, 1, 2)
    publisher = run(box, sink, crashes=crashes)
    assert until(lambda: sink.seqs() == [1, 2])
    assert crashes.by_thread() == {"publisher": 1}
    assert until(lambda: publisher.problem is None)
    publisher.stop()


def test_a_sink_that_fails_is_closed_at_a_stop_and_does_not_end_the_daemon(box):
    sink, reasons = ListSink(), []
    sink.is_broken = True
    crashes = Crashes(reasons.append)
    publisher = run(box, sink, crashes=crashes)
    put(box, 1)
    assert until(lambda: publisher.problem == "unexpected: ZeroDivisionError()")
    publisher.stop(WAIT_S)
    assert (sink.closed, reasons) == (1, [])
    assert crashes.total < 10


def test_stop_delivers_what_is_queued(box):
    sink = ListSink()
    publisher = run(box, sink)
    put(box, *range(500))
    publisher.stop(WAIT_S)
    assert sink.seqs() == list(range(500))


def test_stop_does_not_wait_for_a_destination_that_is_away(box):
    sink = ListSink(is_ready=False)
    put(box, 1)
    publisher = run(box, sink)
    started_s = time.monotonic()
    publisher.stop(WAIT_S)
    assert time.monotonic() - started_s < WAIT_S / 2
    assert box.ledger().pending == 1


class NotedEnd(FileSink):
    """Knows how much of the time for the last rows was left."""

    def close(self, timeout_s):
        self.left_s = timeout_s
        return super().close(timeout_s)


def test_stop_does_not_wait_for_the_next_sync_of_a_file_on_a_slow_disk(box, tmp_path, monkeypatch):
    monkeypatch.setattr(file_sink, "QUICK_SYNC_S", 0.0)
    sink = NotedEnd(tmp_path / "results.jsonl", max_bytes=2**20, sync_every_s=1e9)
    publisher = run(box, sink)
    put(box, 0)
    assert until(lambda: box.ledger().delivered == 1)  # the first row of a file is synced at once
    put(box, 1)
    publisher.stop(drain_s=WAIT_S)
    assert until(lambda: box.ledger().delivered == 2)
    assert sink.left_s > WAIT_S / 2


def test_order_is_strict_whatever_the_backlog(box):
    put(box, *range(500))
    sink = ListSink(window=3)
    publisher = run(box, sink)
    put(box, *range(500, 700))
    assert until(lambda: len(sink.seqs()) == 700)
    publisher.stop()
    assert sink.seqs() == list(range(700))


def test_without_a_broker_the_file_is_the_destination(box, tmp_path):
    path = tmp_path / "results.jsonl"
    publisher = run(box, FileSink(path, max_bytes=2**20))
    put(box, *range(300))
    assert until(lambda: path.exists() and len(path.read_text().splitlines()) == 300)
    publisher.stop()
    assert [json.loads(line)["payload"]["seq"] for line in path.read_text().splitlines()] == list(range(300))
    assert until(lambda: box.ledger().pending == 0)


class Timed:
    """A publisher whose clock the test moves; topic ``c`` is denied at first."""

    def __init__(self, box, *denied, **options):
        self.box, self.sink, self.now_s, self.seq = box, ListSink(), 0.0, 0
        self.sink.denied_topics = set(denied)
        self.publisher = run(box, self.sink, monotonic=lambda: self.now_s, **options)

    def put(self, *topics):
        for topic in topics:
            self.seq += 1
            put(self.box, self.seq, topic=topic)
        self.sink.listener()

    def is_still(self):
        """A whole look at the rows has passed since the clock was moved."""
        return until(lambda: self.publisher.stalled_s() == 0.0)

    def stalls(self):
        self.now_s += 100.0
        return not until(lambda: self.publisher.stalled_s() == 0.0, 0.6)


def test_rows_of_a_denied_topic_do_not_stall_streams_that_send_seldom(box):
    timed = Timed(box, "c")
    timed.put("a", "c")
    assert until(lambda: timed.publisher.set_aside() == {"c": "rules"} and timed.sink.seqs("a") == [1])
    for count in range(2, 5):
        timed.now_s += 90.0
        assert timed.is_still()
        timed.put("a")
        assert until(lambda count=count: len(timed.sink.seqs("a")) == count)
    timed.publisher.stop(0.1)


@pytest.mark.parametrize(
    ("denied", "sent"), [("a", "a"), ("ab", "ab"), ("a", "ae"), ("ab", "abe"), ("ae", "ae")]
)
def test_when_no_topic_of_results_is_taken_it_stalls(box, denied, sent):
    timed = Timed(box, *denied, side_topics=frozenset("e"))
    timed.put(*sent)
    assert until(lambda: timed.publisher.set_aside().keys() == set(denied))
    assert until(lambda: len(timed.sink.seqs()) == len(sent) - len(denied))
    assert timed.stalls()
    timed.publisher.stop(0.1)


def test_a_row_that_is_sent_and_not_acknowledged_stalls_from_when_it_was_put(box):
    timed = Timed(box)
    timed.now_s = 2000.0
    assert timed.is_still()
    timed.sink.acks_by_itself = False
    timed.put("a")
    assert until(lambda: timed.sink.seqs() == [1])
    assert timed.publisher.stalled_s() == 0.0
    timed.now_s += 61.0
    assert timed.publisher.stalled_s() == 61.0
    timed.publisher.stop(0.1)


def test_a_topic_whose_rows_have_left_the_outbox_is_open_again(box):
    timed = Timed(box, "c")
    timed.put("c", "c")
    assert until(lambda: timed.publisher.set_aside() == {"c": "rules"})
    box.refuse([1, 2])
    for _ in range(3):
        timed.now_s += 100.0
        timed.sink.listener()
    assert until(lambda: timed.publisher.set_aside() == {})
    assert timed.is_still()
    timed.publisher.stop(0.1)


def test_a_late_acknowledgement_opens_the_topic(box):
    timed = Timed(box, "c")
    timed.put("c")
    assert until(lambda: timed.publisher.set_aside() == {"c": "rules"})
    with timed.sink.lock:
        timed.sink.report.delivered.append(1)
    timed.sink.listener()
    assert until(lambda: timed.publisher.set_aside() == {})
    assert box.ledger().delivered == 1
    timed.publisher.stop(0.1)
