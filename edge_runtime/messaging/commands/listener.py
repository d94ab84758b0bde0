"""Takes requests from the broker and publishes the answers.

The network thread only queues requests; threads answer them, so that a slow command delays neither results nor
acknowledgements. There are two *lanes*, each with its own queue, thread and handler: verbs that are answered at once,
and all others, which may wait for a recalibration loop. Work that takes longer leaves its lane (``under_way``). The
rules are in ``protocol``.
"""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from edge_runtime.errors import ConfigError
from edge_runtime.messaging.commands.callers import Request
from edge_runtime.messaging.commands.later import Begun
from edge_runtime.messaging.commands.protocol import CommandHandler
from edge_runtime.messaging.commands.request import QUICK
from edge_runtime.messaging.commands.request_text import MAX_REQUEST_BYTES
from edge_runtime.messaging.commands.unanswered import Unanswered, UnansweredRequest
from edge_runtime.messaging.commands.under_way import UnderWay
from edge_runtime.messaging.mqtt.client import MqttClient
from edge_runtime.messaging.mqtt.session import Message
from edge_runtime.messaging.mqtt.topics import Topics, progress_topic
from edge_runtime.system.rfc3339 import format_rfc3339
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
        self._quick = _Lane("commands-quick", make_handler(), self, self._under_way, crashes)
        self._others = _Lane("commands", make_handler(), self, self._under_way, crashes)
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
        return {**total, "forgotten": self._others.handler.forgotten}

    def _count_own(self) -> Counter[str]:
        """Those of this listener and the ones before it."""
        total = Counter(self._before)
        for lane in (self._quick, self._others):
            total.update(lane.handler.counts)
            total["dropped"] += lane.dropped
        total["redirected"] += self._redirected
        return total

    def continue_counts(self, before: "CommandListener") -> None:
        """Go on with the counts of a listener that has ended: an edit of the connection forgets none."""
        self._before = before._count_own()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Execute no more, also none that waits; a command that is running is waited for this long. Idempotent.

        One that is under way goes on, and is answered through ``find_commands`` where that takes longer.
        """
        for lane in (self._quick, self._others):
            lane.stop(timeout_s)
        self._under_way.wait_idle(timeout_s)
        self._has_ended = True

    def _enqueue(self, message: Message) -> None:
        lane = self._quick if _verb(message) in QUICK else self._others
        lane.put(message)

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
            answer = self._others.handler.encode_too_large(message.payload, len(answer), room)
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
    """Who sent a request; implements ``under_way.Caller``."""

    def __init__(self, listener: CommandListener, message: Message, now_wall_s: float) -> None:
        """``now_wall_s``: POSIX time of the request, which its line in the log of commands may have as well."""
        self._listener, self._message, self._now_wall_s = listener, message, now_wall_s
        self._number: int | None = None

    def begin(self, request: Request) -> None:
        """The request is a change, and acts now."""
        if (unanswered := self._listener.unanswered) is None:
            return
        message, arguments = self._message, request.arguments
        self._number = unanswered.begin(
            UnansweredRequest(
                verb=_verb(message),
                arguments=arguments.as_noted(),
                by=request.by,
                transaction=arguments.transaction,
                used_as=request.used_as,
                at=format_rfc3339(self._now_wall_s),
                response_topic=message.response_topic,
                correlation=message.correlation,
            )
        )

    def answer(self, payload: bytes) -> None:
        self._listener.find_in_force().publish(self._message, payload)
        if self._listener.unanswered is not None:
            self._listener.unanswered.end(self._number)

    def report(self, payload: bytes) -> None:
        self._listener.find_in_force().report(self._message, payload)


class _Lane:
    """One queue of requests and the thread that answers them in turn."""

    def __init__(
        self,
        name: str,
        handler: CommandHandler,
        listener: CommandListener,
        under_way: UnderWay,
        crashes: Crashes,
    ) -> None:
        self.handler, self.dropped = handler, 0
        self._listener, self._under_way = listener, under_way
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
        answer: bytes | Begun | None = None
        now_wall_s, is_done = time.time(), False
        caller = _Caller(self._listener, message, now_wall_s)
        try:
            answer = self.handler.answer(
                _verb(message),
                message.payload,
                is_retained=message.is_retained,
                now_s=time.monotonic(),
                now_wall_s=now_wall_s,
                on_begin=caller.begin,
            )
            is_done = True
        finally:
            if not is_done:
                answer = self.handler.encode_unexpected(message.payload)
            if isinstance(answer, Begun):
                self._under_way.start(answer, caller)
            elif answer is not None:
                caller.answer(answer)


def _verb(message: Message) -> str:
    return message.topic.rpartition("/")[2]


def _size_bytes(message: Message) -> int:
    """At least; characters count as one."""
    return len(message.payload) + len(message.correlation or b"") + len(message.response_topic or "")
