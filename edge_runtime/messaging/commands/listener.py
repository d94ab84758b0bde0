"""Takes requests from the broker and publishes the answers.

The network thread only queues requests; threads answer them, so that a slow command delays neither results nor
acknowledgements. There are two *lanes*, each with its own queue, thread and handler: verbs that are answered at once,
and all others, which may wait for a recalibration loop. The rules are in ``protocol``.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from edge_runtime.errors import ConfigError
from edge_runtime.messaging.commands.protocol import CommandHandler
from edge_runtime.messaging.commands.request import MAX_REQUEST_BYTES, QUICK
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.session import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

MAX_QUEUED, MAX_QUEUED_BYTES = 1024, 4 * 2**20
"""More requests than this, or more bytes of them, are dropped; of each lane."""
ANSWER_EXPIRY_S = 60
"""A caller that connects again later has given up."""


class CommandListener:
    """See the module."""

    def __init__(
        self,
        client: MqttClient,
        make_handler: Callable[[], CommandHandler],
        topics: Topics,
        crashes: Crashes,
        response_prefixes: Sequence[str] = (),
        groups: Sequence[str] = (),
    ) -> None:
        """Subscribe to all requests of this device and of its groups; call before ``client.start()`` to miss none.

        ``response_prefixes`` are the first levels of further topics that a caller may have its answer sent to.
        """
        self._client, self._topics, self._response_prefixes = client, topics, tuple(response_prefixes)
        self._redirected = 0
        self._quick = _Lane("commands-quick", make_handler(), self._publish, crashes)
        self._others = _Lane("commands", make_handler(), self._publish, crashes)
        for wanted in (topics.requests, *map(topics.group_requests, groups)):
            client.subscribe(wanted, self._enqueue)

    @property
    def counts(self) -> dict[str, int]:
        """Requests by what became of them; ``dropped`` are those that found too many waiting.

        ``redirected``: answers whose caller named a response topic that is not allowed; ``forgotten``: used
        transactions that a damaged file has lost.
        """
        total: Counter[str] = Counter()
        for lane in (self._quick, self._others):
            total.update(lane.handler.counts)
            total["dropped"] += lane.dropped
        return {**total, "redirected": self._redirected, "forgotten": self._others.handler.forgotten}

    def stop(self, timeout_s: float = 2.0) -> None:
        """Execute no more, also none that waits; a command that is running is waited for this long. Idempotent."""
        for lane in (self._quick, self._others):
            lane.stop(timeout_s)

    def _enqueue(self, message: Message) -> None:
        lane = self._quick if _verb(message) in QUICK else self._others
        lane.put(message)

    def _publish(self, message: Message, answer: bytes) -> None:
        """Answer where the caller wants it, when that is allowed; else on the verb's own response topic."""
        topic, verb = message.response_topic, _verb(message)
        if topic is not None and not self._topics.allows_response_to(topic, self._response_prefixes):
            self._redirected += 1
            log.warning(
                "answer not sent to the response topic that the caller named; mqtt.response_prefixes allows others",
                asked=topic[:200], expected=f"{self._topics.root}/response/...",
            )  # fmt: skip
            topic = None
        try:
            topic = topic or self._topics.response(verb)
        except ConfigError:
            return  # such a verb cannot be part of a topic
        self._client.publish(
            topic, answer, expiry_s=ANSWER_EXPIRY_S, correlation=message.correlation, is_light=verb in QUICK
        )


class _Lane:
    """One queue of requests and the thread that answers them in turn."""

    def __init__(
        self, name: str, handler: CommandHandler, publish: Callable[[Message, bytes], None], crashes: Crashes
    ) -> None:
        self.handler, self.dropped = handler, 0
        self._publish = publish
        self._queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._lock, self._waiting_bytes = threading.Lock(), 0
        # Not vital: a command must not be able to end the daemon.
        self._thread = SupervisedThread(name, self._run, crashes, is_vital=False)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Have it answered if there is room."""
        # Longer ones are refused whatever stands behind; a message may have 32 MiB.
        message = replace(message, payload=message.payload[: MAX_REQUEST_BYTES + 1])
        with self._lock:
            has_room = self._queue.qsize() < MAX_QUEUED and self._waiting_bytes < MAX_QUEUED_BYTES
            self._waiting_bytes += _size_bytes(message) if has_room else 0
        if has_room:
            self._queue.put(message)
        else:
            self.dropped += 1
            log.warning("command dropped: too many wait", topic=message.topic)

    def stop(self, timeout_s: float) -> None:
        self._thread.stop()
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (message := self._queue.get()) is not None and not self._thread.stopping.is_set():
            with self._lock:
                self._waiting_bytes -= _size_bytes(message)
            self._serve(message)
            self._thread.succeeded()

    def _serve(self, message: Message) -> None:
        """Answer one request; also when its handler raises, which is left to the supervision of the thread."""
        answer, is_done = None, False
        try:
            answer = self.handler.answer(
                _verb(message),
                message.payload,
                is_retained=message.is_retained,
                now_s=time.monotonic(),
                now_wall_s=time.time(),
            )
            is_done = True
        finally:
            if not is_done:
                answer = self.handler.encode_unexpected(message.payload)
            if answer is not None:
                self._publish(message, answer)


def _verb(message: Message) -> str:
    return message.topic.rpartition("/")[2]


def _size_bytes(message: Message) -> int:
    """At least; characters count as one."""
    return len(message.payload) + len(message.correlation or b"") + len(message.response_topic or "")
