"""Results, rejections and events on their way out: one durable channel a destination, and the newest ones in memory.

The answer to a picture whose sender named a response topic goes there as well. That copy is not stored: the
sender listens, and the same message waits in the outbox for the result's own topic.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import structlog

from edge_runtime.datatypes import Origin, Rejected, Result
from edge_runtime.messaging.encoding import (
    encode_deprecated_event,
    encode_event,
    encode_rejection,
    encode_result,
)
from edge_runtime.messaging.event_counts import EventCounts
from edge_runtime.messaging.event_text import describe, is_trouble
from edge_runtime.messaging.events import Event
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.outbox.ledger import COUNTED, Ledger
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.messaging.outbox.publisher import Publisher
from edge_runtime.messaging.rejections import RejectionQuota
from edge_runtime.system.redaction import PROCESS

log = structlog.get_logger()

RECENT_RESULTS = 256
RECENT_BYTES = 8 * 2**20
"""Of results; a raw output of a large model is megabytes."""
RECENT_EVENTS = 256

SendAnswer = Callable[[str, bytes, bytes | None], bool]
"""Response topic, payload, correlation data; False when it could not be sent. Must not wait."""
Mark = tuple[tuple[Outbox, int], ...]
"""How far each outbox was filled at one moment."""


def _send_nowhere(_topic: str, _payload: bytes, _correlation: bytes | None) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class SentResult:
    """A result as it goes out."""

    id: str
    stream: str
    payload: bytes


Follower = Callable[[SentResult], None]


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """Rows of one channel; ``enqueued = delivered + dropped + pending`` at any moment."""

    enqueued: int
    """That were to be sent."""
    delivered: int
    """That the destination has confirmed."""
    dropped: int
    """That will not be sent."""
    pending: int
    """That wait."""
    pending_bytes: int
    """Of those that wait."""
    repeated: int
    """Sent again after a lost connection."""
    durable: bool
    """False while the outbox cannot be written."""
    problem: str | None
    """Why nothing is sent; None: it is."""
    is_ready: bool = True
    """Whether the destination is there."""
    stalled_s: float | None = None
    """For how long it has been there and rows that may be sent have waited in vain; None while none waits."""
    dropped_by: dict[str, int] = field(default_factory=dict)
    """Rows dropped since the start, by cause."""
    set_aside: dict[str, str] = field(default_factory=dict)
    """Topics whose rows wait because the destination does not take them, and why."""
    damage: str | None = None
    """What was lost of the outbox file since the start of the daemon."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A destination with its own outbox, so that a slow one does not hold up the other."""

    name: str
    outbox: Outbox
    publisher: Publisher

    def count_since_start(self) -> dict[str, int]:
        """Rows since the start of the daemon that were ``enqueued``, ``delivered`` or ``dropped_by_*``."""
        now, before = self.outbox.ledger(), self.outbox.ledger_at_start
        return {name: getattr(now, name) - getattr(before, name) for name in COUNTED}

    def status(self) -> ChannelStatus:
        """A snapshot."""
        ledger, problem = self.outbox.ledger(), self.outbox.problem
        return ChannelStatus(
            enqueued=ledger.enqueued,
            delivered=ledger.delivered,
            dropped=ledger.dropped,
            pending=ledger.pending,
            pending_bytes=ledger.pending_bytes,
            repeated=self.publisher.repeated,
            durable=problem is None,
            problem=problem or self.publisher.problem,
            is_ready=self.publisher.ready_since_s is not None,
            stalled_s=self.publisher.stalled_s() if ledger.pending else None,
            dropped_by=_drops(ledger, self.outbox.ledger_at_start) | dict(self.publisher.refusals),
            set_aside=self.publisher.set_aside(),
            damage=self.outbox.damage,
        )


def _drops(now: Ledger, before: Ledger) -> dict[str, int]:
    """Losses on this device by cause; those by refusal have their own causes."""
    drops = {
        "the outbox is full": now.dropped_by_size - before.dropped_by_size,
        "too old": now.dropped_by_age - before.dropped_by_age,
        "the disk is slower than the results": now.dropped_by_queue - before.dropped_by_queue,
        "the outbox file was damaged": now.dropped_by_damage - before.dropped_by_damage,
    }
    return {cause: count for cause, count in drops.items() if count > 0}


class Delivery:
    """Takes results and events; see the module."""

    def __init__(self, device: str, on_result: Callable[[Result], None]) -> None:
        """Nothing is delivered before :meth:`use_channels`."""
        self._device, self._on_result = device, on_result
        self._topics = Topics("edge", device)
        self.channels: tuple[Channel, ...] = ()
        self._results: deque[SentResult] = deque()
        self._results_bytes = 0
        self._remembering = threading.Lock()
        self._followers: tuple[Follower, ...] = ()
        self._events: deque[tuple[Event, bytes]] = deque(maxlen=RECENT_EVENTS)
        self.event_counts = EventCounts()
        self._send_answer: SendAnswer = _send_nowhere
        self._quota: RejectionQuota[tuple[str, Rejected]] = RejectionQuota()
        self._quota_lock = threading.Lock()

    def use_channels(
        self, topics: Topics, channels: Sequence[Channel], send_answer: SendAnswer | None = None
    ) -> None:
        """Put results and events into the outboxes of these channels from now on.

        ``send_answer`` takes answers to response topics; None loses them, and says so.
        """
        self._topics, self.channels = topics, tuple(channels)
        self._send_answer = send_answer or _send_nowhere

    def add_result(self, result: Result) -> None:
        """Accept a result; returns at once."""
        payload = encode_result(result)
        self._remember(SentResult(result.id, result.stream, payload))
        self._put(self._topics.result(result.stream), payload)
        self._answer(result.stream, result.origin, payload)
        self._on_result(result)

    def add_object_event(self, stream: str, payload: bytes) -> None:
        """Accept a step in the life of an object; returns at once."""
        self._put(self._topics.objects(stream), payload)

    def is_behind(self) -> bool:
        """Whether a destination is away: what would not be missed need not wait for it."""
        return any(channel.publisher.ready_since_s is None for channel in self.channels)

    def add_rejection(self, model: str, rejected: Rejected) -> None:
        """Say that a frame will have no result; returns at once. Beyond the quota it is logged and counted."""
        rejected = replace(rejected, detail=PROCESS.text(rejected.detail))
        name = None if rejected.origin is None else rejected.origin.name
        log.warning("frame rejected", stream=rejected.stream, seq=rejected.seq, reason=rejected.reason,
                    detail=rejected.detail, **({} if name is None else {"name": name}))  # fmt: skip
        with self._quota_lock:
            unsaid = self._quota.take(rejected.stream, (model, rejected), time.monotonic())
        payload = encode_rejection(rejected, self._device, model, unsaid or 0)
        if unsaid is not None:
            self._put(self._topics.rejected(rejected.stream), payload)
        self._answer(rejected.stream, rejected.origin, payload)

    def publish_last_rejections(self, now_s: float, *, is_end: bool = False) -> None:
        """Publish what the quota held back when no further rejection has said it; see ``RejectionQuota.take_last``."""
        with self._quota_lock:
            found = self._quota.take_last(now_s, is_end=is_end)
        for (model, rejected), unsaid in found:
            payload = encode_rejection(rejected, self._device, model, unsaid)
            self._put(self._topics.rejected(rejected.stream), payload)

    def mark(self) -> Mark:
        """How far the outboxes are filled now; see :meth:`is_kept`."""
        return tuple((channel.outbox, channel.outbox.last_id) for channel in self.channels)

    @staticmethod
    def is_kept(mark: Mark) -> bool:
        """Whether everything that was put before the mark is on the disk or has left the outbox: a kill loses none."""
        return all(outbox.is_kept(last_id) for outbox, last_id in mark)

    def _remember(self, sent: SentResult) -> None:
        """Keep the newest results, in number and bytes; the newest one always. Followers are told in the same order."""
        with self._remembering:
            self._results.append(sent)
            self._results_bytes += len(sent.payload)
            while len(self._results) > 1 and (
                len(self._results) > RECENT_RESULTS or self._results_bytes > RECENT_BYTES
            ):
                self._results_bytes -= len(self._results.popleft().payload)
            for follower in self._followers:
                follower(sent)

    def add_event(self, event: Event) -> None:
        """Accept an event, without the secrets in its texts; returns at once."""
        event = PROCESS.value(event)
        headline, *details = describe(event.fact)
        about = {"model": event.model, "details": details}
        say = log.warning if is_trouble(event.fact) else log.info
        say(event.fact.kind, what=headline, **{name: value for name, value in about.items() if value})
        payload = encode_event(event, self._device)
        self.event_counts.add(event)
        self._events.append((event, payload))
        self._put(self._topics.event, payload)
        deprecated = encode_deprecated_event(event, self._device)
        if deprecated is not None:  # for one release; see CHANGELOG
            self._put(self._topics.event, deprecated)

    def follow(self, follower: Follower) -> list[SentResult]:
        """Have it called with each result after those that are given, oldest first.

        It is called in the threads that make results, and must not wait.
        """
        with self._remembering:
            self._followers = (*self._followers, follower)
            return list(self._results)

    def unfollow(self, follower: Follower) -> None:
        """Have it called no longer."""
        with self._remembering:
            self._followers = tuple(one for one in self._followers if one != follower)

    def recent_results(self, most: int) -> list[dict[str, Any]]:
        """The newest results, newest first."""
        with self._remembering:
            newest = list(self._results)[-most:]
        return [orjson.loads(sent.payload) for sent in reversed(newest)]

    def recent_events(self, most: int) -> list[dict[str, Any]]:
        """The newest events as published, newest first, with ``text``: a headline and lines of detail for people."""
        return [
            {**orjson.loads(payload), "text": describe(event.fact)}
            for event, payload in reversed(list(self._events)[-most:])
        ]

    def events(self) -> list[Event]:
        """The newest events, oldest first."""
        return [event for event, _ in list(self._events)]

    def _answer(self, stream: str, origin: Origin | None, payload: bytes) -> None:
        if origin is None or origin.response_topic is None:
            return
        if not self._send_answer(origin.response_topic, payload, origin.correlation):
            log.warning(
                "answer not sent to the response topic", stream=stream, topic=origin.response_topic[:200]
            )

    def _put(self, topic: str, payload: bytes) -> None:
        for channel in self.channels:
            channel.outbox.put(topic, payload)
