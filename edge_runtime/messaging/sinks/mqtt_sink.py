"""Publishes rows to the MQTT broker. Reconnecting is the client's work."""

import threading
import time
from collections.abc import Callable

import structlog

from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.session import MqttSession
from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.publisher import DeliveryReport

log = structlog.get_logger()

_PERMANENT = {0x90: "topic name invalid", 0x99: "payload format invalid", 0x95: "packet too large"}
"""These say that the message itself is wrong; sending it again cannot help. MQTT v5 section 3.4.2.1."""
RETRY_S = 5.0
"""Pause after "not authorized" or "quota exceeded": an operator must act, results wait meanwhile."""


class MqttSink:
    """Publishes rows at QoS 1 and reports the broker's acknowledgements."""

    def __init__(self, client: MqttClient) -> None:
        self._client = client
        self._session: MqttSession | None = None
        self._rows_by_mid: dict[int, int] = {}
        self._refused: list[int] = []
        self._paused_until_s = 0.0
        self._problem: str | None = None
        self._refusals = 0
        self._progress = threading.Event()
        client.listen(self._progress.set)

    @property
    def epoch(self) -> object:
        """Session and number of refusals that must be repeated."""
        session = self._client.session
        is_ready = session is not None and time.monotonic() >= self._paused_until_s
        return (session, self._refusals) if is_ready else None

    @property
    def problem(self) -> str | None:
        """The last refusal of the broker, or why there is no connection."""
        return self._problem or self._client.problem

    def capacity(self) -> int:
        """Free places in the window of unacknowledged messages."""
        session = self._follow()
        return 0 if session is None else max(0, session.max_inflight - len(self._rows_by_mid))

    def _follow(self) -> MqttSession | None:
        """The open connection; unacknowledged rows of an older one take no place in its window."""
        session = self._client.session
        if session is not self._session:
            self._session, self._rows_by_mid = session, {}
        return session

    def send(self, row: Row) -> bool:
        """Publish; a row that is too large for this broker is refused."""
        session = self._follow()
        if session is None:
            return False
        if not session.fits(row.topic, row.payload):
            limit = session.max_packet_bytes
            self._note(f"{row.topic}: {len(row.payload)} bytes, the broker takes {limit}")
            self._refused.append(row.id)
            return True
        mid = session.send(row.topic, row.payload)
        if mid is None:
            return False
        self._rows_by_mid[mid] = row.id
        return True

    def poll(self) -> DeliveryReport:
        """Acknowledgements of this session; those of a lost one do not count, its rows are sent again."""
        report = DeliveryReport(refused=self._refused)
        self._refused = []
        for mid, code in self._session.take_acks() if self._session is not None else ():
            row_id = self._rows_by_mid.pop(mid, None)
            if row_id is None:
                continue  # not a row: an answer, the state
            if code < 0x80:
                report.delivered.append(row_id)
            elif code in _PERMANENT:
                self._note(f"the broker refused a message for good: {_PERMANENT[code]}")
                report.refused.append(row_id)
            else:
                self._pause(code)
        if report.delivered and time.monotonic() >= self._paused_until_s:
            self._problem = None
        return report

    def _pause(self, code: int) -> None:
        """Wait and send everything unacknowledged again: the operator may be changing the broker's rules."""
        reason = {0x87: "not authorized", 0x97: "quota exceeded"}.get(code, f"reason code {code:#04x}")
        self._note(
            f"the broker refuses results: {reason}; check its access rules. Results wait in the outbox"
        )
        self._paused_until_s = time.monotonic() + RETRY_S
        self._rows_by_mid = {}
        self._refusals += 1

    def _note(self, problem: str) -> None:
        if problem != self._problem:  # once, not at each try
            log.error("result refused by the broker", problem=problem)
        self._problem = problem

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after acknowledgements and connections."""
        self._client.listen(listener)

    def close(self, timeout_s: float) -> DeliveryReport:
        """Wait for the last acknowledgements; the client stays open."""
        end_s = time.monotonic() + timeout_s
        report = self.poll()
        while self._rows_by_mid and self._client.session is self._session and time.monotonic() < end_s:
            self._progress.wait(0.05)
            self._progress.clear()
            more = self.poll()
            report.delivered.extend(more.delivered)
            report.refused.extend(more.refused)
        return report
