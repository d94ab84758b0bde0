"""Takes requests from the broker and publishes the answers.

The network thread only queues requests; a second thread answers them, so that a slow command delays neither results
nor acknowledgements. The rules are in ``protocol``.
"""

import queue
import time

import structlog

from edge_runtime.errors import ConfigError
from edge_runtime.messaging.commands.protocol import CommandHandler
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.session import Message
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

MAX_QUEUED = 256
"""More requests than this are dropped."""
ANSWER_EXPIRY_S = 60
"""A caller that connects again later has given up."""


class CommandListener:
    """See the module."""

    def __init__(
        self,
        client: MqttClient,
        handler: CommandHandler,
        topics: Topics,
        crashes: Crashes,
    ) -> None:
        """Subscribe to all requests of this device; call before ``client.start()`` to miss none."""
        self._client, self._handler, self._topics = client, handler, topics
        self._queue: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._dropped = 0
        # Not vital: a command must not be able to end the daemon.
        self._thread = SupervisedThread("commands", self._run, crashes, is_vital=False)
        self._thread.start()
        client.subscribe(topics.requests, self._enqueue)

    @property
    def counts(self) -> dict[str, int]:
        """Requests by what became of them; ``dropped`` are those that found too many waiting."""
        return {**self._handler.counts, "dropped": self._dropped}

    def stop(self, timeout_s: float = 2.0) -> None:
        """Execute no more, also none that waits; a command that is running is waited for this long. Idempotent."""
        self._thread.stop()
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _enqueue(self, message: Message) -> None:
        if self._queue.qsize() < MAX_QUEUED:
            self._queue.put(message)
        else:
            self._dropped += 1
            log.warning("command dropped: too many wait", topic=message.topic)

    def _run(self) -> None:
        while (message := self._queue.get()) is not None and not self._thread.stopping.is_set():
            self._serve(message)
            self._thread.succeeded()

    def _serve(self, message: Message) -> None:
        """Answer one request; also when its handler raises, which is left to the supervision of the thread."""
        verb = message.topic.rpartition("/")[2]
        try:
            answer = self._handler.answer(
                verb,
                message.payload,
                is_retained=message.is_retained,
                now_s=time.monotonic(),
                now_wall_s=time.time(),
            )
        except Exception:
            self._publish(message, verb, self._handler.encode_unexpected(message.payload))
            raise
        if answer is not None:
            self._publish(message, verb, answer)

    def _publish(self, message: Message, verb: str, answer: bytes) -> None:
        """Answer where the caller wants it, when that is harmless; else on the verb's own response topic."""
        topic = message.response_topic
        if topic is None or not self._topics.allows_response_to(topic):
            try:
                topic = self._topics.response(verb)
            except ConfigError:
                return  # such a verb cannot be part of a topic
        self._client.publish(topic, answer, expiry_s=ANSWER_EXPIRY_S, correlation=message.correlation)
