"""mqtt_sink: a refusal is logged when it begins, not at each try. The broker is a list of acknowledgements."""

import structlog

from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.sinks.mqtt_sink import MqttSink

ACCEPTED, NOT_AUTHORIZED, QUOTA_EXCEEDED = 0x00, 0x87, 0x97


class FakeBroker:
    """Client and session in one; answers every row with ``code``."""

    max_inflight, problem, code = 20, None, ACCEPTED

    def __init__(self):
        self.session, self.acks, self.sent = self, [], 0

    def listen(self, listener):
        pass

    def fits(self, topic, payload):
        return True

    def send(self, topic, payload):
        self.sent += 1
        self.acks.append((self.sent, self.code))
        return self.sent

    def take_acks(self):
        acks, self.acks = self.acks, []
        return acks


def test_a_refusal_is_logged_when_it_changes_or_comes_back():
    broker = FakeBroker()
    sink, problems = MqttSink(broker), []
    with structlog.testing.capture_logs() as logged:
        for code in [NOT_AUTHORIZED] * 3 + [QUOTA_EXCEEDED] * 3 + [ACCEPTED] + [QUOTA_EXCEEDED] * 3:
            broker.code, sink._paused_until_s = code, 0.0
            sink.send(Row(1, "t", b"x", 0.0))
            sink.poll()
            problems.append(sink.problem)
    assert [line["problem"] for line in logged] == [problems[0], problems[3], problems[7]]
    assert problems[6] is None
    assert problems[0].startswith("the broker refuses results: not authorized; ")
