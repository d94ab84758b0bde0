"""mqtt_sink: what it makes of acknowledgements and of their absence. The broker is a list of acknowledgements."""

import pytest

from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.publisher import Denial, Loss
from edge_runtime.messaging.sinks.mqtt_sink import CUT, MAX_BYTES_IN_FLIGHT, UNANSWERED, MqttSink

ACCEPTED, NOT_AUTHORIZED, QUOTA_EXCEEDED = 0x00, 0x87, 0x97
PATIENCE_S = 30.0


class FakeSession:
    """Notes what is sent; the test acknowledges."""

    is_ended_by_broker = is_given_up = False

    def __init__(self, max_inflight=20):
        self.max_inflight, self.acks, self.sent, self.others, self.given_up = max_inflight, [], 0, 0, []

    @property
    def unacknowledged(self):
        return self.sent + self.others

    def fits(self, topic, payload):
        return True

    def send(self, topic, payload):
        self.sent += 1
        return self.sent

    def take_acks(self):
        acks, self.acks = self.acks, []
        return acks

    def give_up(self, problem):
        self.given_up.append(problem)


class FakeClient:
    problem = None

    def __init__(self):
        self.session = FakeSession()

    def listen(self, listener):
        pass


@pytest.fixture
def client():
    return FakeClient()


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def sink(client, now):
    sink = MqttSink(client, patience_s=PATIENCE_S, monotonic=lambda: now[0])
    sink.poll()
    return sink


def send(sink, now, count=1, step_s=0.001):
    for number in range(1, count + 1):
        assert sink.send(Row(number, "t", b"x", 0.0))
        now[0] += step_s


def test_a_refusal_is_the_problem_until_something_is_taken(client, sink, now):
    problems = []
    for code in (NOT_AUTHORIZED, QUOTA_EXCEEDED, ACCEPTED, QUOTA_EXCEEDED):
        send(sink, now)
        client.session.acks.append((client.session.sent, code))
        sink.poll()
        problems.append(sink.problem)
    assert [problem is None for problem in problems] == [False, False, True, False]
    assert problems[1] == problems[3] != problems[0]


def test_a_quota_says_nothing_about_the_row(client, sink, now):
    send(sink, now, 2)
    client.session.acks += [(1, NOT_AUTHORIZED), (2, QUOTA_EXCEEDED)]
    denied = sink.poll().denied
    assert [denied[row].may_be_the_row for row in (1, 2)] == [True, False]


def test_acknowledgements_that_came_before_the_connection_ended_count(client, sink, now):
    send(sink, now, 3)
    client.session.acks += [(1, ACCEPTED), (2, NOT_AUTHORIZED)]
    client.session.is_ended_by_broker = True
    client.session = None
    report = sink.poll()
    assert (report.delivered, list(report.denied)) == ([1], [2])
    assert report.loss == Loss(CUT, True, False)
    assert sink.poll().loss is None


def test_a_session_that_ends_with_nothing_open_is_no_loss(client, sink):
    client.session = None
    assert sink.poll().loss is None


def test_a_new_session_is_used_only_after_the_end_of_the_old_one_was_reported(client, sink, now):
    send(sink, now)
    client.session = FakeSession()
    assert sink.epoch is None
    assert sink.capacity() == 0
    assert not sink.send(Row(2, "t", b"x", 0.0))
    assert sink.poll().loss is not None
    assert sink.epoch is client.session
    assert sink.capacity() == 20


def test_a_row_that_was_passed_over_is_given_back_and_its_late_acknowledgement_counts(client, sink, now):
    send(sink, now, 5)
    client.session.acks += [(1, ACCEPTED), (3, ACCEPTED), (4, ACCEPTED), (5, ACCEPTED)]
    sink.poll()
    now[0] += PATIENCE_S + 1
    assert sink.poll().denied == {2: Denial(UNANSWERED)}
    assert sink.capacity() == 19  # paho keeps the place
    client.session.acks.append((2, ACCEPTED))
    assert sink.poll().delivered == [2]
    assert (sink.capacity(), client.session.given_up) == (20, [])


def test_when_half_of_the_window_is_passed_over_the_connection_is_made_anew(client, sink, now):
    send(sink, now, 20)
    client.session.acks.append((20, ACCEPTED))
    sink.poll()
    now[0] += PATIENCE_S + 1
    given_back = [row for _ in range(10) for row in sink.poll().denied]
    assert given_back == list(range(1, 11))
    assert len(client.session.given_up) == 1


def test_a_connection_on_which_nothing_is_acknowledged_is_made_anew_and_then_gets_twice_the_time(
    client, sink, now
):
    for patience_s in (PATIENCE_S, 2 * PATIENCE_S, 4 * PATIENCE_S):
        session = client.session = FakeSession()
        sink.poll()
        send(sink, now, 3)
        now[0] += patience_s - 1
        assert (sink.poll().denied, session.given_up) == ({}, [])
        now[0] += 2
        sink.poll()
        assert len(session.given_up) == 1
        session.is_given_up = session.is_ended_by_broker = True
        client.session = None
        assert sink.poll().loss.cause == UNANSWERED


def test_a_slow_broker_gets_four_times_as_long_as_it_needed(client, sink, now):
    send(sink, now, 1)
    now[0] += PATIENCE_S - 1
    client.session.acks.append((1, ACCEPTED))
    sink.poll()
    send(sink, now, 1)
    now[0] += 3 * PATIENCE_S
    sink.poll()
    assert client.session.given_up == []


def test_a_wait_without_anything_open_is_no_stall(client, sink, now):
    now[0] += 10 * PATIENCE_S
    send(sink, now)
    sink.poll()
    assert client.session.given_up == []


def test_few_large_rows_fill_the_window(client, sink):
    half = bytes(MAX_BYTES_IN_FLIGHT // 2)
    for number in (1, 2):
        assert sink.capacity() > 0
        sink.send(Row(number, "t", half, 0.0))
    assert sink.capacity() == 0
    client.session.acks += [(1, ACCEPTED), (2, ACCEPTED)]
    sink.poll()
    assert sink.capacity() == 20
