"""Takes requests from the broker and publishes the answers.

The network thread only queues requests; threads answer them (``lanes``), so that a slow command delays neither results
nor acknowledgements.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from edge_runtime.errors import ConfigError
from edge_runtime.messaging.commands.answers import Answer
from edge_runtime.messaging.commands.callers import Request
from edge_runtime.messaging.commands.lanes import Incoming, Lanes, shorten
from edge_runtime.messaging.commands.protocol import CommandHandler
from edge_runtime.messaging.commands.request import QUICK
from edge_runtime.messaging.commands.unanswered import Unanswered, UnansweredRequest
from edge_runtime.messaging.commands.under_way import UnderWay
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.message import Message
from edge_runtime.messaging.mqtt.topics import Topics, progress_topic
from edge_runtime.system.supervised_thread import Crashes

log = structlog.get_logger()

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
        under_way: UnderWay | None = None,
        find_commands: Callable[[], "CommandListener | None"] = lambda: None,
        unanswered: Unanswered | None = None,
    ) -> None:
        """Subscribe to all requests of this device and of its groups; call before ``client.start()`` to miss none.

        Args:
            client: Connected later.
            make_handler: A handler for each lane.
            topics: Of this device.
            crashes: The account of unexpected failures.
            response_prefixes: First levels of further topics that a caller may have its answer sent to.
            groups: That the device belongs to.
            under_way: Does the work of commands that are answered later; it may outlive this connection.
            find_commands: The listener that is in force when such an answer comes and this connection is gone.
            unanswered: Keeps on disk who waits for an answer, and knows whom an earlier process left without one.
        """
        self._client, self._topics, self._response_prefixes = client, topics, tuple(response_prefixes)
        self._under_way, self._find_commands = under_way or UnderWay(crashes), find_commands
        self._redirected, self._has_ended, self.unanswered = 0, False, unanswered
        self._before: Counter[str] = Counter()
        self._lanes = Lanes("commands", make_handler, self._under_way, crashes)
        for wanted in (topics.requests, *map(topics.group_requests, groups)):
            client.subscribe(wanted, self._enqueue)
        if unanswered is not None:
            client.listen(partial(self._answer_left, unanswered))

    @property
    def counts(self) -> dict[str, int]:
        """Requests by what became of them; ``dropped`` are those that found too many waiting, ``under_way`` are now.

        ``redirected``: answers whose caller named a response topic that is not allowed; ``forgotten``: used
        transactions that a damaged file has lost.
        """
        total = self._count_own()
        total.update(self._under_way.counts)
        return {**total, "forgotten": self._lanes.forgotten}

    def _count_own(self) -> Counter[str]:
        """Those of this listener and the ones before it."""
        total = Counter(self._before)
        total.update(self._lanes.counts)
        total["redirected"] += self._redirected
        return total

    def continue_counts(self, before: "CommandListener") -> None:
        """Go on with the counts of a listener that has ended: an edit of the connection forgets none."""
        self._before = before._count_own()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Execute no more, also none that waits; a command that is running is waited for this long. Idempotent.

        One that is under way goes on, and is answered through ``find_commands`` where that takes longer.
        """
        self._lanes.stop(timeout_s)
        self._under_way.wait_idle(timeout_s)
        self._has_ended = True

    def _enqueue(self, message: Message) -> None:
        message = replace(message, payload=shorten(message.payload))
        caller, size_bytes = _Caller(self, message), _size_bytes(message)
        self._lanes.put(
            Incoming(_verb(message), message.payload, caller, size_bytes, is_retained=message.is_retained)
        )

    def publish(self, message: Message, answer: bytes) -> bool:
        """Answer where the caller wants it, when that is allowed; else on the verb's own response topic."""
        if message.response_topic is not None and not self._allows(message.response_topic):
            self._redirected += 1
            log.warning(
                "answer not sent to the response topic that the caller named; mqtt.response_prefixes allows others",
                asked=message.response_topic[:200], expected=f"{self._topics.root}/response/...",
            )  # fmt: skip
        topic = self._find_topic(message)
        if topic is None:
            return False
        room = self._client.find_room(topic, message.correlation)
        if room is not None and len(answer) > room:
            answer = CommandHandler.encode_too_large(message.payload, len(answer), room)
        return self._send(message, topic, answer, is_light=_verb(message) in QUICK)

    def report(self, message: Message, progress: bytes) -> bool:
        """Say how far a command is, below the topic where its answer goes."""
        topic = self._find_topic(message)
        if topic is None or not self._allows(progress_topic(topic)):  # it may be too long now
            return False
        return self._send(message, progress_topic(topic), progress, is_light=True)

    def find_in_force(self) -> "CommandListener":
        """This one, or after it has ended the one that has its place."""
        return self if not self._has_ended else self._find_commands() or self

    def _answer_left(self, unanswered: Unanswered) -> None:
        """Answer those whom an earlier process left without, as soon as the broker is there."""

        def publish(request: UnansweredRequest, answer: bytes) -> bool:
            topic, to = self._topics.request(request.verb), request.response_topic
            message = Message(topic, b"", response_topic=to, correlation=request.correlation)
            return self.publish(message, answer)

        if self._client.session is not None:
            unanswered.hand_over(publish)

    def _allows(self, topic: str) -> bool:
        return self._topics.allows_response_to(topic, self._response_prefixes)

    def _find_topic(self, message: Message) -> str | None:
        """None where such a verb cannot be part of a topic."""
        topic = message.response_topic
        if topic is not None and self._allows(topic):
            return topic
        try:
            return self._topics.response(_verb(message))
        except ConfigError:
            return None

    def _send(self, message: Message, topic: str, payload: bytes, *, is_light: bool) -> bool:
        return self._client.publish(
            topic, payload, expiry_s=ANSWER_EXPIRY_S, correlation=message.correlation, is_light=is_light
        )


class _Caller:
    """Who sent a message; implements ``lanes.Caller``."""

    def __init__(self, listener: CommandListener, message: Message) -> None:
        self._listener, self._message = listener, message
        self._number: int | None = None

    def begin(self, request: Request, now_wall_s: float) -> None:
        if (unanswered := self._listener.unanswered) is None:
            return
        message = self._message
        self._number = unanswered.begin(
            UnansweredRequest.of(
                _verb(message),
                request,
                now_wall_s,
                response_topic=message.response_topic,
                correlation=message.correlation,
            )
        )

    def answer(self, answer: Answer) -> None:
        self._listener.find_in_force().publish(self._message, answer.payload)
        if self._listener.unanswered is not None:
            self._listener.unanswered.end(self._number)

    def report(self, payload: bytes) -> None:
        self._listener.find_in_force().report(self._message, payload)

    def drop(self) -> None:
        """Nothing is published: that is what the limit is for."""


def _verb(message: Message) -> str:
    return message.topic.rpartition("/")[2]


def _size_bytes(message: Message) -> int:
    """At least; characters count as one."""
    return len(message.payload) + len(message.correlation or b"") + len(message.response_topic or "")
