"""One connection to the broker, over paho-mqtt.

A session lives from CONNECT to the end of that TCP connection and is never reused, so nothing of an old one (paho's
unlimited in-memory queue, half-sent packets) can be sent late or out of order. The client makes a new one after every
loss; the publisher sends unacknowledged rows again. Reconnecting is the client's work.
"""

import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_runtime.errors import BrokerLost
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.paho_client import PahoClient
from edge_runtime.messaging.mqtt.problems import (
    PACKET_TOO_LARGE,
    QOS_NOT_SUPPORTED,
    VERSION_NOT_SUPPORTED,
    WILDCARDS_NOT_SUPPORTED,
    explain_denial,
    explain_error,
    explain_refusal,
    explain_subscription,
    explain_takeover,
    may_be_over_a_message,
)
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.messaging.mqtt.version_probe import answers_version_3
from edge_runtime.system.rfc3339 import format_rfc3339
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()

MAX_PACKET_BYTES = 268_435_455
"""The largest remaining length; MQTT v5 section 1.5.5."""
_PROTOCOL_ERROR, _TAKEN_OVER = 0x82, 0x8E
_HEADER_BYTES = 64
"""Fixed header, packet id and the properties in use, rounded up."""
MAX_LIGHT_BYTES = 4 * 2**20
"""Of messages at QoS 0 that wait for the socket."""
_EARLY_CODES = 64
_KEPT_ACKS = 131_072
"""Two full turns of the 16-bit packet id; only reached when acknowledgements are not taken."""


class MqttSession:
    """See the module. ``open`` and ``close`` belong to one thread; everything else may be called from any."""

    def __init__(
        self,
        settings: MqttSettings,
        max_inflight: int,
        on_message: Callable[[Message], None],
        on_progress: Callable[[], None],
        crashes: Crashes,
        *,
        may_retain: bool = True,
    ) -> None:
        """Prepare a connection.

        Args:
            settings: Where and how.
            max_inflight: Unacknowledged QoS 1 messages at a time; at most the limit of the broker.
            on_message: Called in the network thread; must be quick.
            on_progress: Called in the network thread after every acknowledgement and when the connection ends.
            crashes: Counts what these two raise.
            may_retain: False for a broker that keeps no retained messages: nothing is retained then.
        """
        self._settings, self._handle_message, self._report_progress = settings, on_message, on_progress
        self._crashes = crashes
        self.may_retain, self._may_use_wildcards = may_retain, True
        """Whether this broker keeps retained messages, and takes filters with + and #."""
        self.max_inflight = max_inflight
        self.broker_inflight, self.max_packet_bytes = 65_535, MAX_PACKET_BYTES
        """The limits of this broker, which it announces when it accepts the connection."""
        self._asked: dict[int | None, str] = {}
        self.refused_filters: set[str] = set()
        """Subscriptions that the broker has refused."""
        self.problem: str | None = None
        """Why the connection ended or was refused."""
        self._light: deque[tuple[paho.MQTTMessageInfo, int]] = deque()
        self._light_bytes, self._light_lock = 0, threading.Lock()
        self.refusal: int | None = None
        """Reason code of a refused connection."""
        self.is_ended_by_broker = False
        """True when the broker ended the connection, perhaps over a message; not the network, nor this device."""
        self.is_given_up = False
        """True when the broker kept the connection and answered nothing."""
        self._sent = self._acknowledged = 0
        self._counting = threading.Condition()
        self._retained: dict[int, str] = {}
        """Topics of retained messages that are not acknowledged yet, by packet id."""
        self._early_codes: OrderedDict[int, int] = OrderedDict()
        """Of acknowledgements that came before the packet id was known here."""
        self._refused_topic: str | None = None
        self._acks: deque[tuple[int, int]] = deque(maxlen=_KEPT_ACKS)
        self._answered, self._closed = threading.Event(), threading.Event()
        self._subscribing, self._open_subscriptions = threading.Condition(), 0
        self._is_accepted = False
        self._client = self._make_client()

    @property
    def client_id(self) -> str:
        """The name that the broker knows."""
        return self._settings.client_id or self._settings.topics.root

    def _make_client(self) -> PahoClient:
        settings = self._settings
        client = PahoClient(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.max_packet_bytes = settings.max_message_bytes
        client.connect_timeout = settings.connect_timeout_s
        client.max_inflight_messages = self.max_inflight
        client.username_pw_set(settings.user, settings.password)
        if settings.client_id is None:
            client.will_set(settings.topics.availability, b"offline", qos=1, retain=self.may_retain)
        client.on_socket_open = self._tune_socket
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    # --- life ----------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and wait for the broker's answer, at most five connect timeouts in all.

        Raises:
            BrokerLost: with the reason and what to check.
            ConfigError: a TLS file cannot be used (it may have been replaced by a broken one).
        """
        settings = self._settings
        where = f"broker {settings.host}:{settings.port}"
        if (context := settings.tls_context()) is not None:
            self._client.tls_set_context(context)
        properties = _properties(PacketTypes.CONNECT, MaximumPacketSize=settings.max_message_bytes)
        try:
            self._client.connect(
                settings.host, settings.port, settings.keepalive_s, clean_start=True, properties=properties
            )
        except (OSError, ValueError) as err:  # ValueError: a host name that no resolver can encode
            now_text = format_rfc3339(time.time())[:10]  # the day: a text that changes is logged each time
            reason = explain_error(err, is_tls=context is not None, now_text=now_text)
            raise BrokerLost(f"{where}: {reason}") from err
        self._client.loop_start()
        if not self._answered.wait(settings.connect_timeout_s):
            self.problem = f"connected, but no answer in {settings.connect_timeout_s:g} s; is it MQTT v5?"
        if not self._is_accepted:
            if self.refusal is None and answers_version_3(settings):
                self._refuse(VERSION_NOT_SUPPORTED, "it answers MQTT 3.1.1 but not MQTT v5")
            raise BrokerLost(f"{where}: {self.problem}")

    def _refuse(self, code: int, found: str) -> None:
        self.refusal, self.problem = code, explain_refusal(code, found, self.client_id)

    @property
    def is_open(self) -> bool:
        """True from the broker's acceptance until the connection ends."""
        return self._is_accepted and not self._closed.is_set()

    def wait_closed(self) -> None:
        """Wait for the end of the connection."""
        self._closed.wait()

    def give_up(self, problem: str) -> None:
        """Cut a connection that does not work although it stands."""
        if self.problem is None:
            self.problem = problem
        self.is_ended_by_broker = self.is_given_up = True
        self._cut()

    def _cut(self) -> None:
        with suppress(OSError):
            sock: Any = self._client.socket()
            if sock is not None:
                sock.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Ask for the end of the connection; the thread that opened the session sees it closed."""
        self._client.disconnect()

    def close(self, deadline_s: float) -> None:
        """Send DISCONNECT, so that the last will is not sent; cut the connection when that takes too long."""
        self._client.disconnect()
        if not self._closed.wait(deadline_s if self._is_accepted else 0.0):
            self._cut()
        self._client.loop_stop()
        self._closed.set()
        self._is_accepted = False
        # Without these references the client and its sockets are freed now and not at some later collection.
        self._client.on_socket_open = self._client.on_connect = self._client.on_disconnect = None
        self._client.on_publish = self._client.on_subscribe = self._client.on_message = None

    # --- sending -------------------------------------------------------------------------------------------------

    def fits(self, topic: str, payload: bytes, correlation: bytes | None = None) -> bool:
        """Whether the broker takes a packet of this size; a larger one would end the connection."""
        return len(payload) <= self.find_room(topic, correlation)

    def find_room(self, topic: str, correlation: bytes | None = None) -> int:
        """How many bytes of payload fit into a packet that the broker takes."""
        return self.max_packet_bytes - len(topic.encode()) - len(correlation or b"") - _HEADER_BYTES

    def send(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
        correlation: bytes | None = None,
    ) -> int | None:
        """Hand one message at QoS 1 to the network thread; never waits.

        Returns:
            Its packet id, which :meth:`take_acks` names when the broker has taken it; None when the connection is
            gone or the message is too large for this broker: it was not sent.

        Raises:
            ValueError: MQTT cannot carry it: the topic is empty, too long or has a wildcard.
        """
        info = self._publish(topic, payload, 1, retain, _publish_properties(expiry_s, correlation))
        if info is not None and retain:
            self._watch_retained(info.mid, topic)
        elif retain and not self.fits(topic, payload, correlation):
            self._note_retained(topic, PACKET_TOO_LARGE)
        return None if info is None else info.mid

    def _publish(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties | None
    ) -> paho.MQTTMessageInfo | None:
        if not self.is_open or not self.fits(topic, payload, getattr(properties, "CorrelationData", None)):
            return None
        if not topic or "\0" in topic:  # paho leaves these to the broker, which ends the connection
            raise ValueError(f"a topic cannot be {topic!r}")
        self._count(sent=1)  # before it is acknowledged; at QoS 0 paho reports it when it is written
        is_sent = False
        try:
            info = self._client.publish(topic, payload, qos, retain and self.may_retain, properties)
            is_sent = info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS
        finally:
            if not is_sent:
                self._count(sent=-1)
        return info if is_sent else None

    def _watch_retained(self, mid: int, topic: str) -> None:
        """No caller waits for state and availability: a refusal of them is a problem of the session."""
        with self._counting:
            code = self._early_codes.pop(mid, None)
            if code is None:
                self._retained[mid] = topic
        if code is not None:
            self._note_retained(topic, code)

    def _settle_retained(self, mid: int, code: int) -> None:
        with self._counting:
            topic = self._retained.pop(mid, None)
            if topic is None:
                self._early_codes[mid] = code
                if len(self._early_codes) > _EARLY_CODES:
                    self._early_codes.popitem(last=False)
        if topic is not None:
            self._note_retained(topic, code)

    def _note_retained(self, topic: str, code: int) -> None:
        if code >= 0x80 and self.problem is None:
            self._refused_topic = topic
            self.problem = f"the broker refuses {topic}: {explain_denial(code)}"
            log.error("message refused by the broker", problem=self.problem)
        elif code < 0x80 and topic == self._refused_topic:
            self.problem = self._refused_topic = None

    @property
    def unacknowledged(self) -> int:
        """Messages that the broker was sent and has not answered."""
        with self._counting:
            return self._sent - self._acknowledged

    @property
    def has_acknowledged(self) -> bool:
        """Whether the broker has answered a message."""
        return self._acknowledged > 0

    def wait_acknowledged(self, timeout_s: float) -> bool:
        """Wait until the broker has answered everything."""
        with self._counting:
            return self._counting.wait_for(
                lambda: self._sent <= self._acknowledged or not self.is_open, timeout_s
            )

    def _count(self, *, sent: int = 0, acknowledged: int = 0) -> None:
        with self._counting:
            self._sent, self._acknowledged = self._sent + sent, self._acknowledged + acknowledged
            self._counting.notify_all()

    def send_light(
        self, topic: str, payload: bytes, *, expiry_s: int | None = None, correlation: bytes | None = None
    ) -> int | None:
        """Hand one message at QoS 0 to the network thread; as :meth:`send`.

        None also while ``MAX_LIGHT_BYTES`` of them are not on the way yet: paho's queue has no bound, and a broker may
        be slower than those who ask.
        """
        with self._light_lock:
            while self._light and self._light[0][0].is_published():
                self._light_bytes -= self._light.popleft()[1]
            if self._light_bytes + len(payload) > MAX_LIGHT_BYTES:
                return None
            info = self._publish(topic, payload, 0, False, _publish_properties(expiry_s, correlation))
            if info is None:
                return None
            self._light.append((info, len(payload)))
            self._light_bytes += len(payload)
            return info.mid

    def take_acks(self) -> list[tuple[int, int]]:
        """``(packet id, reason code)`` of every acknowledgement since the last call; below 0x80 is success."""
        return [self._acks.popleft() for _ in range(len(self._acks))]

    def send_and_wait(self, topic: str, payload: bytes, timeout_s: float) -> None:
        """Send a retained message at QoS 1 and wait until the broker has it; for the last message only."""
        if not self.is_open:
            return
        info = self._client.publish(topic, payload, qos=1, retain=self.may_retain)
        end_s = time.monotonic() + timeout_s
        with suppress(RuntimeError, ValueError):  # paho: the connection ended meanwhile
            while not info.is_published() and not self._closed.is_set() and time.monotonic() < end_s:
                info.wait_for_publish(0.05)

    def subscribe(self, topic_filter: str, *, keeps_retain_flag: bool = True) -> None:
        """Ask for messages at QoS 1; a broker without wildcards would end the connection over one, and is not asked.

        With ``keeps_retain_flag`` a message has the flag with which it was published; without, only one that the
        broker had stored has it (MQTT v5 section 3.8.3.1).
        """
        if not self._may_use_wildcards and not {"+", "#"}.isdisjoint(topic_filter):
            self._note_subscription(topic_filter, WILDCARDS_NOT_SUPPORTED)
            return
        options = SubscribeOptions(qos=1, retainAsPublished=keeps_retain_flag)
        with self._subscribing:
            self._open_subscriptions += 1
            _, mid = self._client.subscribe(topic_filter, options=options)
            self._asked[mid] = topic_filter

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask the broker to send no more of these; some may still arrive."""
        self._client.unsubscribe(topic_filter)

    def wait_subscribed(self, timeout_s: float) -> bool:
        """Wait until the broker has answered every subscription."""
        with self._subscribing:
            return self._subscribing.wait_for(
                lambda: self._open_subscriptions == 0 or not self.is_open, timeout_s
            )

    # --- paho's callbacks, in its network thread -----------------------------------------------------------------

    def _tune_socket(self, _client: paho.Client, _data: object, sock: Any) -> None:
        # Without NODELAY a round trip through mosquitto takes 47 ms instead of 0.2-0.6.
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A half-open connection with unsent data ends in this time.
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                limit_ms = self._settings.keepalive_s * 1000
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)

    def _on_connect(
        self, _client: object, _data: object, _flags: object, reason: ReasonCode, given: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refuse(reason.value, str(reason))
        elif getattr(given, "MaximumQoS", 2) == 0:
            self._refuse(QOS_NOT_SUPPORTED, "it takes QoS 0 only")
        else:
            self.may_retain &= getattr(given, "RetainAvailable", 1) == 1
            self._may_use_wildcards = getattr(given, "WildcardSubscriptionAvailable", 1) == 1
            self.broker_inflight = getattr(given, "ReceiveMaximum", 65_535)
            self.max_packet_bytes = getattr(given, "MaximumPacketSize", MAX_PACKET_BYTES)
            self._is_accepted = True
        self._answered.set()

    def _on_disconnect(
        self, _client: object, _data: object, flags: paho.DisconnectFlags, reason: ReasonCode, _more: object
    ) -> None:
        by_broker = flags.is_disconnect_packet_from_server
        is_protocol_error = not by_broker and reason.value == _PROTOCOL_ERROR
        is_closed = by_broker or is_protocol_error or self._client.is_closed_by_peer
        self.is_ended_by_broker |= is_closed and may_be_over_a_message(reason.value)
        if self.problem is None:
            self.problem = self._explain_end(by_broker, reason)
        self._closed.set()
        self._answered.set()
        for condition in (self._subscribing, self._counting):
            with condition:
                condition.notify_all()
        self._call_safely(self._report_progress)

    def _explain_end(self, by_broker: bool, reason: ReasonCode) -> str:
        if self._client.oversized_bytes is not None:
            most = self._settings.max_message_bytes
            return (
                f"the broker sent a packet of {self._client.oversized_bytes} bytes; at most {most} are taken"
            )
        if by_broker and reason.value == _TAKEN_OVER:
            return explain_takeover(self.client_id)
        end = "the broker ended the connection" if by_broker else "connection lost"
        if self._is_accepted:
            return f"{end}: {reason}"
        hint = "does the broker speak MQTT v5 here, or does it want TLS or a certificate?"
        return f"{end}: {reason} before it was accepted; {hint}"

    def _on_publish(
        self, _client: paho.Client, _data: object, mid: int, _reason: ReasonCode, _properties: object
    ) -> None:
        code = self._client.last_code
        self._acks.append((mid, code))
        self._settle_retained(mid, code)
        self._count(acknowledged=1)
        self._call_safely(self._report_progress)

    def _on_subscribe(
        self, _client: paho.Client, _data: object, mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        with self._subscribing:
            asked = self._asked.pop(mid, None)
        refused = next((reason.value for reason in reasons if reason.is_failure), None)
        if asked is not None and refused is not None:
            self._note_subscription(asked, refused)
        with self._subscribing:
            self._open_subscriptions -= 1
            self._subscribing.notify_all()

    def _note_subscription(self, topic_filter: str, code: int) -> None:
        self.refused_filters.add(topic_filter)
        self.problem = explain_subscription(topic_filter, code)
        log.error("subscription refused by the broker", problem=self.problem)

    def _on_message(self, _client: paho.Client, _data: object, raw: paho.MQTTMessage) -> None:
        properties = raw.properties
        try:
            message = Message(
                raw.topic,
                bytes(raw.payload),
                bool(raw.retain),
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
                getattr(properties, "ContentType", None),
                tuple(getattr(properties, "UserProperty", ())),
            )
        except UnicodeDecodeError:
            return  # a topic that is no UTF-8 can only come from a broken broker
        self._call_safely(lambda: self._handle_message(message))

    def _call_safely(self, call: Callable[[], None]) -> None:
        """Paho ends its thread, silently, when a callback raises."""
        with self._crashes.contain("mqtt-callback"):
            call()


def _publish_properties(expiry_s: int | None, correlation: bytes | None) -> Properties | None:
    wanted = {"MessageExpiryInterval": expiry_s, "CorrelationData": correlation}
    given = {name: value for name, value in wanted.items() if value is not None}
    return _properties(PacketTypes.PUBLISH, **given) if given else None


def _properties(packet: int, **values: object) -> Properties:
    """MQTT v5 properties of a packet; paho checks that each belongs there."""
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho has no types here
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
