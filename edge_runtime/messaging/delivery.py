"""Results and events on their way out: one durable channel a destination, and the newest ones in memory."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from edge_runtime.datatypes import Result
from edge_runtime.messaging.encoding import encode_deprecated_event, encode_event, encode_result
from edge_runtime.messaging.event_text import describe, is_trouble
from edge_runtime.messaging.events import Event
from edge_runtime.messaging.mqtt.topics import Topics
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.messaging.outbox.publisher import Publisher

log = structlog.get_logger()

RECENT_RESULTS = 256
RECENT_EVENTS = 256


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """Rows of one channel; ``enqueued = delivered + dropped + pending`` at any moment."""

    enqueued: int
    delivered: int
    dropped: int
    pending: int
    pending_bytes: int
    repeated: int
    """Sent again after a lost connection."""
    durable: bool
    """False while the outbox cannot be written."""
    problem: str | None


@dataclass(frozen=True, slots=True)
class Channel:
    """A destination with its own outbox, so that a slow one does not hold up the other."""

    name: str
    outbox: Outbox
    publisher: Publisher

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
        )


class Delivery:
    """Takes results and events; see the module."""

    def __init__(self, device: str, on_result: Callable[[Result], None]) -> None:
        """Nothing is delivered before :meth:`use_channels`."""
        self._device, self._on_result = device, on_result
        self._topics = Topics("edge", device)
        self.channels: tuple[Channel, ...] = ()
        self._results: deque[bytes] = deque(maxlen=RECENT_RESULTS)
        self._events: deque[tuple[Event, bytes]] = deque(maxlen=RECENT_EVENTS)

    def use_channels(self, topics: Topics, channels: Sequence[Channel]) -> None:
        """Put results and events into the outboxes of these channels from now on."""
        self._topics, self.channels = topics, tuple(channels)

    def add_result(self, result: Result) -> None:
        """Accept a result; returns at once."""
        payload = encode_result(result)
        self._results.append(payload)
        self._put(self._topics.result(result.stream), payload)
        self._on_result(result)

    def add_event(self, event: Event) -> None:
        """Accept an event; returns at once."""
        headline, *details = describe(event.fact)
        about = {"model": event.model, "details": details}
        say = log.warning if is_trouble(event.fact) else log.info
        say(event.fact.kind, what=headline, **{name: value for name, value in about.items() if value})
        payload = encode_event(event, self._device)
        self._events.append((event, payload))
        self._put(self._topics.event, payload)
        deprecated = encode_deprecated_event(event, self._device)
        if deprecated is not None:  # for one release; see CHANGELOG
            self._put(self._topics.event, deprecated)

    def recent_results(self, most: int) -> list[dict[str, Any]]:
        """The newest results, newest first."""
        return [orjson.loads(payload) for payload in reversed(list(self._results)[-most:])]

    def recent_events(self, most: int) -> list[dict[str, Any]]:
        """The newest events as published, newest first, with ``text``: a headline and lines of detail for people."""
        return [
            {**orjson.loads(payload), "text": describe(event.fact)}
            for event, payload in reversed(list(self._events)[-most:])
        ]

    def events(self) -> list[Event]:
        """The newest events, oldest first."""
        return [event for event, _ in list(self._events)]

    def _put(self, topic: str, payload: bytes) -> None:
        for channel in self.channels:
            channel.outbox.put(topic, payload)
