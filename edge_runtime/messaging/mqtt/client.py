"""The MQTT client of the daemon: keeps one session to the broker alive.

At every connection it announces the device (retained ``online``, ``offline`` as last will), publishes the retained
state and subscribes again. It reconnects after 1 to 30 s with jitter, also when the first connection fails. Durable
messages go through outbox and publisher, which use :attr:`MqttClient.session`.
"""

import random
import threading
import time
from collections.abc import Callable

import structlog

from edge_runtime.errors import BrokerLost, ConfigError
from edge_runtime.messaging.mqtt.session import Message, MqttSession
from edge_runtime.messaging.mqtt.settings import MqttSettings
from edge_runtime.messaging.mqtt.topics import matches
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread, pause_s

log = structlog.get_logger()

MessageHandler = Callable[[Message], None]


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
        self._subscriptions: list[tuple[str, MessageHandler]] = []
        self._listeners: list[Callable[[], None]] = []
        self._state: bytes | None = None
        self._session: MqttSession | None = None
        self._max_inflight = settings.max_inflight
        self.connects = 0
        """How often the broker has accepted the device."""
        self._problem, self._logged_problem = "not connected yet", ""
        # Not vital: without a broker results wait in the outbox.
        self._thread = SupervisedThread(
            "mqtt-keeper", self._run, crashes, is_vital=False, pause_s=self._pause_s
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

    def subscribe(self, topic_filter: str, handler: MessageHandler) -> Callable[[], None]:
        """Deliver matching messages to the handler, now and after every reconnection; returns how to unsubscribe.

        The handler runs in the network thread: it must only hand over. What it raises is logged.
        """
        subscription = (topic_filter, handler)
        with self._lock:
            self._subscriptions.append(subscription)
            session = self._session
        if session is not None:
            session.subscribe(topic_filter)
        return lambda: self._unsubscribe(subscription)

    def _unsubscribe(self, subscription: tuple[str, MessageHandler]) -> None:
        with self._lock:
            if subscription not in self._subscriptions:
                return
            self._subscriptions.remove(subscription)
            is_last = all(topic_filter != subscription[0] for topic_filter, _ in self._subscriptions)
            session = self._session
        if is_last and session is not None:
            session.unsubscribe(subscription[0])

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

    def set_state(self, payload: bytes) -> None:
        """Make this the retained ``state``, now or as soon as the broker is there."""
        with self._lock:
            self._state = payload
            session = self._session
        if session is not None:
            session.send(self._topics.state, payload, retain=True)

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after every acknowledgement, connection and loss; from a network thread, so it must be quick."""
        self._listeners.append(listener)

    @property
    def session(self) -> MqttSession | None:
        """The open connection, or None; each new connection is another object."""
        session = self._session
        return session if session is not None and session.is_open else None

    @property
    def problem(self) -> str | None:
        """The last reason for not being connected, or a refused subscription; None when all is well."""
        session = self.session
        return self._problem if session is None else session.problem

    # --- keeper thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        in_a_row = 0
        while not self._stopping.is_set():
            in_a_row += 1
            try:
                if self._serve_one_session():
                    in_a_row = 1
            except (BrokerLost, ConfigError) as err:
                self._note(str(err))
            except Exception as err:
                self._note(f"unexpected: {err!r}")
                raise
            self._stopping.wait(self._pause_s(in_a_row))

    def _pause_s(self, in_a_row: int) -> float:
        """A random half to whole of the back-off: a fleet must not reconnect in step."""
        longest_s = pause_s(in_a_row, self._settings.reconnect_min_s, self._settings.reconnect_max_s)
        return longest_s * random.uniform(0.5, 1.0)  # noqa: S311

    def _serve_one_session(self) -> bool:
        """Connect and stay until the connection ends; True when the next attempt should come soon."""
        session = MqttSession(self._settings, self._max_inflight, self._dispatch, self._notify, self._crashes)
        try:
            session.open()
            if session.broker_inflight < self._max_inflight:
                # paho's limit can only be set before connecting: once more, with the limit of this broker.
                self._max_inflight = session.broker_inflight
                session.close(1.0)
                session = MqttSession(
                    self._settings, self._max_inflight, self._dispatch, self._notify, self._crashes
                )
                session.open()
            if self._stopping.is_set():
                return True
            self._announce(session)
            session.wait_closed()
            if not self._stopping.is_set():
                self._note(session.problem or "connection lost")
            # Two devices of one name must not disconnect each other every second.
            return not session.is_taken_over
        finally:
            self._session = None
            session.close(0.5)
            self._notify()

    def _announce(self, session: MqttSession) -> None:
        """Subscribe first: a caller that sees ``online`` may send a command at once."""
        with self._lock:
            for topic_filter, _ in self._subscriptions:
                session.subscribe(topic_filter)
            self._session = session
        if not session.wait_subscribed(self._settings.connect_timeout_s) or not session.is_open:
            raise BrokerLost(f"subscriptions were not answered: {session.problem or 'no answer in time'}")
        with self._lock:
            session.send(self._topics.availability, b"online", retain=True)
            if self._state is not None:
                session.send(self._topics.state, self._state, retain=True)
            self.connects += 1
        log.info("connected to the broker", host=self._settings.host, port=self._settings.port)
        self._logged_problem = ""
        self._thread.succeeded()
        self._notify()

    def _note(self, problem: str) -> None:
        if problem != self._logged_problem:  # once, not at each try
            log.warning("not connected to the broker", problem=problem)
        self._problem = self._logged_problem = problem

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

    def _dispatch(self, message: Message) -> None:
        for topic_filter, handler in tuple(self._subscriptions):
            if matches(topic_filter, message.topic):
                handler(message)
