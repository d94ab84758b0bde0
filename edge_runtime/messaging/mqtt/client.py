"""The MQTT client of the daemon: keeps one session to the broker alive.

At every connection it announces the device (retained ``online``, ``offline`` as last will), publishes the retained
state and subscribes again. It reconnects by itself, also when the first connection fails: see ``backoff``. Durable
messages go through outbox and publisher, which use :attr:`MqttClient.session`.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from edge_runtime.errors import BrokerLost, ConfigError
from edge_runtime.messaging.mqtt.backoff import Backoff
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.problems import RETAIN_NOT_SUPPORTED, suspect_takeover
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.messaging.mqtt.topics import matches
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread, pause_s

if TYPE_CHECKING:
    from edge_runtime.messaging.mqtt.session import MqttSession

log = structlog.get_logger()

MessageHandler = Callable[[Message], None]

STATE_CUTS = 2
"""So often in a row a connection may end over the state before it is held back."""
RETAIN_ASKED_AGAIN_S = 3600.0
"""A broker that takes no retained messages may learn it; each attempt costs a refused connection."""
STATE_HELD_BACK_S = 600.0
NO_RETAIN = "the broker keeps no retained messages: only who listens at the time sees state and availability"


@dataclass(frozen=True, slots=True)
class _Subscription:
    topic_filter: str
    handler: MessageHandler
    keeps_retain_flag: bool


class MqttClient:
    """See the module. All methods may be called from any thread."""

    def __init__(self, settings: MqttSettings, crashes: Crashes) -> None:
        """Check the TLS files; nothing is connected before :meth:`start`.

        Raises:
            ConfigError: a TLS file cannot be used.
        """
        settings.tls_context()
        self._settings, self._topics, self._crashes = settings, settings.topics, crashes
        self._lock = threading.Lock()
        self._subscriptions: list[_Subscription] = []
        self._listeners: list[Callable[[], None]] = []
        self._state: bytes | None = None
        self._session: MqttSession | None = None
        self._max_inflight = settings.max_inflight
        self._may_retain, self._is_announced = True, False
        self._no_retain_until_s = 0.0
        self._state_cuts, self._held_back_bytes, self._held_back_until_s = 0, 0, 0.0
        self._backoff = Backoff(settings.reconnect_min_s, settings.reconnect_away_s, settings.reconnect_max_s)
        self.connects = 0
        """How often the broker has accepted the device."""
        self._problem, self._logged_problem = "not connected yet", ""
        # Not vital: without a broker results wait in the outbox.
        self._thread = SupervisedThread(
            "mqtt-keeper",
            self._run,
            crashes,
            on_failure=lambda err: self._note(f"unexpected: {err!r}"),
            is_vital=False,
            pause_s=self._pause_s,
        )
        self._stopping = self._thread.stopping

    # --- public, from any thread --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, in the background, until :meth:`stop`."""
        self._thread.start()

    def stop(self, deadline_s: float = 2.0) -> None:
        """Announce ``offline``, disconnect cleanly, end the threads; takes at most about the deadline. Idempotent."""
        end_s = time.monotonic() + deadline_s
        self._thread.stop()
        session = self._session
        if session is not None:
            session.send_and_wait(self._topics.availability, b"offline", deadline_s / 2)
            session.end()
        self._thread.join(max(0.1, end_s - time.monotonic()))

    def subscribe(
        self, topic_filter: str, handler: MessageHandler, *, keeps_retain_flag: bool = True
    ) -> Callable[[], None]:
        """Deliver matching messages to the handler, now and after every reconnection; returns how to unsubscribe.

        The handler runs in the network thread: it must only hand over. What it raises is logged. For
        ``keeps_retain_flag`` see :meth:`MqttSession.subscribe`.
        """
        subscription = _Subscription(topic_filter, handler, keeps_retain_flag)
        with self._lock:
            self._subscriptions.append(subscription)
            session = self._session
        if session is not None:
            session.subscribe(topic_filter, keeps_retain_flag=keeps_retain_flag)
        return lambda: self._unsubscribe(subscription)

    def _unsubscribe(self, subscription: _Subscription) -> None:
        with self._lock:
            if subscription not in self._subscriptions:
                return
            self._subscriptions.remove(subscription)
            is_last = all(other.topic_filter != subscription.topic_filter for other in self._subscriptions)
            session = self._session
        if is_last and session is not None:
            session.unsubscribe(subscription.topic_filter)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        expiry_s: int | None = None,
        correlation: bytes | None = None,
        is_light: bool = False,
    ) -> bool:
        """Send something that is not worth keeping (answers, health); False when it was not sent.

        ``is_light``: at QoS 0, and only while few bytes of that kind wait. Many of them never delay results.
        Nothing is queued while the broker is away. Results and events belong in the outbox.
        """
        session = self._session
        if session is None:
            return False
        send = session.send_light if is_light else session.send
        return send(topic, payload, expiry_s=expiry_s, correlation=correlation) is not None

    def publish_retained(self, topic: str, payload: bytes) -> bool:
        """Have the broker keep a message for those who come later, an empty one to forget it; False: not sent."""
        session = self.session
        return session is not None and session.send(topic, payload, retain=True) is not None

    def find_room(self, topic: str, correlation: bytes | None = None) -> int | None:
        """How many bytes of payload the broker takes in one message; None while it is away."""
        session = self._session
        return None if session is None else session.find_room(topic, correlation)

    def set_state(self, payload: bytes) -> None:
        """Make this the retained ``state``, now or as soon as the broker is there."""
        with self._lock:
            self._state = payload
            session = self._session
        if session is not None and self._may_send(payload):
            session.send(self._topics.state, payload, retain=True)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after every acknowledgement, connection and loss; from a network thread, so it must be quick."""
        self._listeners.append(listener)

    @property
    def session(self) -> "MqttSession | None":
        """The open connection, or None; each new connection is another object."""
        session = self._session
        is_ready = session is not None and session.is_open and self._is_announced
        return session if is_ready else None

    def is_subscribed(self, topic_filter: str) -> bool:
        """Whether the broker is connected, and has not refused this subscription."""
        session = self.session
        return session is not None and topic_filter not in session.refused_filters

    @property
    def problem(self) -> str | None:
        """The last reason for not being connected, or a refused subscription; None when all is well."""
        session = self.session
        return self._problem if session is None else session.problem

    # --- keeper thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                delay_s = self._serve_one_session()
            except ConfigError as err:
                self._note(str(err))
                delay_s = self._backoff.after_refusal()
            self._stopping.wait(_spread(delay_s))

    def _pause_s(self, in_a_row: int) -> float:
        """After unexpected failures."""
        return _spread(pause_s(in_a_row, self._settings.reconnect_min_s, self._settings.reconnect_max_s))

    def _make_session(self) -> "MqttSession":
        # Here, in the thread that connects: no start waits for paho, and one without a broker needs none.
        from edge_runtime.messaging.mqtt.session import MqttSession

        return MqttSession(
            self._settings,
            self._max_inflight,
            self._dispatch,
            self._notify,
            self._crashes,
            may_retain=self._may_retain,
        )

    def _serve_one_session(self) -> float:
        """Connect and stay until the connection ends; gives the pause before the next attempt, without jitter."""
        if time.monotonic() >= self._no_retain_until_s:
            self._may_retain = True
        session = self._make_session()
        try:
            with ExitStack() as on_failure:
                on_failure.callback(lambda: session.close(0.5))
                session.open()
                if session.broker_inflight < self._max_inflight:
                    # paho's limit can only be set before connecting: once more, with the limit of this broker.
                    self._max_inflight = session.broker_inflight
                    session.close(1.0)
                    session = self._make_session()
                    session.open()
                on_failure.pop_all()
        except BrokerLost as err:
            if session.refusal == RETAIN_NOT_SUPPORTED and self._may_retain:
                self._may_retain = False
                self._no_retain_until_s = time.monotonic() + RETAIN_ASKED_AGAIN_S
                return 0.0
            self._note(str(err))
            self._notify()
            return (
                self._backoff.after_unreachable()
                if session.refusal is None
                else self._backoff.after_refusal()
            )
        return self._stay(session)

    def _stay(self, session: "MqttSession") -> float:
        """Use a session until it ends; gives the pause after it."""
        accepted_at_s = time.monotonic()
        try:
            if not self._stopping.is_set():
                self._announce(session)
                session.wait_closed()
        except BrokerLost as err:
            session.problem = session.problem or str(err)
        finally:
            self._session, self._is_announced = None, False
            session.close(0.5)
            self._notify()
        lasted_s = time.monotonic() - accepted_at_s if session.has_acknowledged else 0.0
        delay_s = self._backoff.after_session(lasted_s, is_ended_by_broker=session.is_ended_by_broker)
        if not self._stopping.is_set():
            is_quiet = session.is_ended_by_broker and session.unacknowledged == 0
            is_fight = is_quiet and self._backoff.is_ended_often
            self._note(
                suspect_takeover(session.client_id) if is_fight else session.problem or "connection lost"
            )
        return delay_s

    def _announce(self, session: "MqttSession") -> None:
        """Subscribe first: a caller that sees ``online`` may send a command at once.

        Rows are sent only after the state was acknowledged, so that it is known over which the connection ends.
        """
        with self._lock:
            for one in self._subscriptions:
                session.subscribe(one.topic_filter, keeps_retain_flag=one.keeps_retain_flag)
            self._session = session
        if not session.wait_subscribed(self._settings.connect_timeout_s) or not session.is_open:
            raise BrokerLost(f"subscriptions were not answered: {session.problem or 'no answer in time'}")
        if not session.may_retain:
            session.problem = session.problem or NO_RETAIN
        with self._lock:
            session.send(self._topics.availability, b"online", retain=True)
            state = self._state if self._state is not None and self._may_send(self._state) else None
            if state is not None:
                session.send(self._topics.state, state, retain=True)
        session.wait_acknowledged(self._settings.connect_timeout_s)
        if not session.is_open:
            if state is not None and session.is_ended_by_broker:
                self._note_state_cut(state)
            raise BrokerLost(session.problem or "connection lost")
        self._state_cuts = 0
        self._is_announced = True
        self.connects += 1
        log.info("connected to the broker", host=self._settings.host, port=self._settings.port)
        self._logged_problem = ""
        self._thread.succeeded()
        self._notify()

    def _may_send(self, state: bytes) -> bool:
        is_held_back = time.monotonic() < self._held_back_until_s
        return not is_held_back or len(state) <= self._held_back_bytes // 2  # a much smaller one may fit

    def _note_state_cut(self, state: bytes) -> None:
        self._state_cuts += 1
        if self._state_cuts >= STATE_CUTS:
            self._held_back_bytes, self._state_cuts = len(state), 0
            self._held_back_until_s = time.monotonic() + STATE_HELD_BACK_S
            log.error("state held back, the broker ends the connection over it", topic=self._topics.state)

    def _note(self, problem: str) -> None:
        if problem != self._logged_problem:  # once, not at each try
            log.warning("not connected to the broker", problem=problem)
        self._problem = self._logged_problem = problem

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

    def _dispatch(self, message: Message) -> None:
        for one in tuple(self._subscriptions):
            if matches(one.topic_filter, message.topic):
                one.handler(message)


def _spread(delay_s: float) -> float:
    """A random half to whole of it: a fleet must not reconnect in step."""
    return delay_s * random.uniform(0.5, 1.0)  # noqa: S311
