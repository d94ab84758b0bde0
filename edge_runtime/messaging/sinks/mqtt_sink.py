"""Publishes rows to the MQTT broker. Reconnecting is the client's work."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.problems import TOO_LARGE, explain_denial
from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.publisher import DeliveryReport, Denial, Loss

if TYPE_CHECKING:
    from edge_runtime.messaging.mqtt.session import MqttSession

log = structlog.get_logger()

UNANSWERED = "the broker does not acknowledge it"
CUT = "the broker ends the connection over it"
NOT_SENDABLE = "not a message that MQTT can carry"
_HOPELESS = {code: explain_denial(code) for code in (0x95, 0x99)}
"""These say that the message itself is wrong; sending it again cannot help. MQTT v5 section 3.4.2.1."""
_QUOTA = 0x97
MAX_BYTES_IN_FLIGHT = 16 * 2**20
"""paho keeps what is unacknowledged in memory."""
LONGEST_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class _Published:
    row_id: int
    size_bytes: int
    sent_at_s: float


class MqttSink:
    """Publishes rows at QoS 1 and reports the broker's acknowledgements.

    A broker acknowledges in the order of sending (MQTT-4.6.0-2). A row that is still open long after it was sent, when
    later ones were acknowledged, was forgotten: it is sent again. When nothing at all is acknowledged for that long,
    the connection is made anew. A broker that is slow gets more time.
    """

    def __init__(
        self,
        client: MqttClient,
        *,
        patience_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``patience_s``: an acknowledgement may take this long, and longer with a broker that has shown to be slow."""
        self._client, self._monotonic = client, monotonic
        self._least_patience_s = self._patience_s = patience_s
        self._session: MqttSession | None = None
        self._open: dict[int, _Published] = {}
        """Unacknowledged rows of this session by packet id, in the order of sending."""
        self._forgotten: dict[int, int] = {}
        """Rows that were given back to be sent again, by packet id: each still takes a place in paho's window."""
        self._bytes = 0
        self._refused: dict[int, str] = {}
        self._acked_at_s = self._newest_acked_s = monotonic()
        """When the last acknowledgement came, and when the newest acknowledged row was sent."""
        self._problem: str | None = None
        self._progress = threading.Event()
        client.listen(self._progress.set)

    @property
    def epoch(self) -> object:
        """The session; None while there is none, or its end was not reported yet."""
        session = self._client.session
        return session if session is self._session else None

    @property
    def problem(self) -> str | None:
        """The last refusal of the broker, or why there is no connection."""
        return self._problem or self._client.problem

    def capacity(self) -> int:
        """Free places in the window of unacknowledged messages."""
        if self._session is None or self.epoch is None:
            return 0
        if self._open and self._bytes >= MAX_BYTES_IN_FLIGHT:
            return 0
        return max(0, self._session.max_inflight - len(self._open) - len(self._forgotten))

    def send(self, row: Row) -> bool:
        """Publish; a row that is too large for this broker, or that MQTT cannot carry, is refused."""
        session = self._session
        if session is None or self.epoch is None:
            return False
        if not session.fits(row.topic, row.payload):
            self._problem = (
                f"{row.topic}: {len(row.payload)} bytes, the broker takes {session.max_packet_bytes};"
                " raise the broker's limit (mosquitto: max_packet_size)"
            )
            self._refused[row.id] = TOO_LARGE
            return True
        try:
            mid = session.send(row.topic, row.payload)
        except ValueError as err:
            self._problem = f"{row.topic[:100]!r}: {err}"
            self._refused[row.id] = NOT_SENDABLE
            return True
        if mid is None:
            return False
        if not self._open:
            self._acked_at_s = self._monotonic()  # nothing was due before
        self._open[mid] = _Published(row.id, row.size_bytes, self._monotonic())
        self._bytes += row.size_bytes
        return True

    def poll(self) -> DeliveryReport:
        """Acknowledgements, and the end of a session whose other rows have to be sent again."""
        report = DeliveryReport(refused=self._refused)
        self._refused = {}
        self._take_acks(report)
        session = self._client.session
        if session is not self._session:
            self._follow(session, report)
        elif self._open and session is not None:
            self._look_for_stall(session, report)
        return report

    def _take_acks(self, report: DeliveryReport) -> None:
        now_s = self._monotonic()
        for mid, code in self._session.take_acks() if self._session is not None else ():
            published = self._open.pop(mid, None)
            if published is None:
                if mid in self._forgotten and code < 0x80:
                    report.delivered.append(self._forgotten[mid])
                self._forgotten.pop(mid, None)
                continue  # or not a row: an answer, the state
            self._bytes -= published.size_bytes
            self._acked_at_s = now_s
            self._newest_acked_s = max(self._newest_acked_s, published.sent_at_s)
            self._patience_s = max(self._least_patience_s, 4 * (now_s - published.sent_at_s))
            self._settle(published.row_id, code, report)

    def _settle(self, row_id: int, code: int, report: DeliveryReport) -> None:
        if code < 0x80:
            report.delivered.append(row_id)
            self._problem = None
        elif code in _HOPELESS:
            report.refused[row_id] = _HOPELESS[code]
            self._problem = f"the broker dropped a message: {_HOPELESS[code]}"
        else:
            cause = explain_denial(code)
            report.denied[row_id] = Denial(cause, may_be_the_row=code != _QUOTA)
            self._problem = f"the broker refuses messages: {cause}; they wait in the outbox"

    def _follow(self, session: "MqttSession | None", report: DeliveryReport) -> None:
        """Go on with another session; unacknowledged rows of the old one take no place in its window."""
        old, self._session = self._session, session
        if old is not None and self._open:
            is_certain = old.unacknowledged == len(self._open)
            report.loss = Loss(UNANSWERED if old.is_given_up else CUT, old.is_ended_by_broker, is_certain)
        self._open, self._forgotten, self._bytes = {}, {}, 0

    def _look_for_stall(self, session: "MqttSession", report: DeliveryReport) -> None:
        now_s = self._monotonic()
        oldest_mid, oldest = next(iter(self._open.items()))
        if now_s - oldest.sent_at_s < self._patience_s:
            return
        if self._newest_acked_s > oldest.sent_at_s:
            del self._open[oldest_mid]
            self._bytes -= oldest.size_bytes
            self._forgotten[oldest_mid] = oldest.row_id
            report.denied[oldest.row_id] = Denial(UNANSWERED)
            self._problem = "the broker did not acknowledge a message; it is sent again"
            if 2 * len(self._forgotten) < session.max_inflight:
                return
        elif now_s - self._acked_at_s < self._patience_s:
            return  # it comes to it: earlier ones were acknowledged just now
        self._patience_s = min(LONGEST_PATIENCE_S, 2 * self._patience_s)
        session.give_up("the broker acknowledges nothing although it is connected")

    def hurry(self) -> None:
        """Do nothing: every row was sent at once."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Hear of acknowledgements and connections."""
        self._client.listen(listener)

    def close(self, timeout_s: float) -> DeliveryReport:
        """Wait for the last acknowledgements; the client stays open."""
        end_s = time.monotonic() + timeout_s
        report = self.poll()
        while self._open and report.loss is None and time.monotonic() < end_s:
            self._progress.wait(0.05)
            self._progress.clear()
            more = self.poll()
            report.delivered.extend(more.delivered)
            report.refused.update(more.refused)
            report.denied.update(more.denied)
            report.loss = more.loss
        return report
