"""Whether accepted results and events are delivered, and what is lost on the way: status in, findings and events out.

A connection is no proof of delivery: a broker may refuse everything. Pure: the time is an argument.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edge_runtime.daemon.health import Finding, Weight
from edge_runtime.messaging.delivery import ChannelStatus
from edge_runtime.messaging.events import DeliveryRecovered, DeliveryTrouble

STALLED_S = 60.0
"""The destination is there, and nothing that may be sent was delivered for so long."""
RECENT_S = 60.0
"""A trouble that was not seen for so long is over; one that comes and goes is reported once."""

Key = tuple[str, str]


@dataclass(slots=True)
class _Channel:
    """What is remembered of a channel."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    delivered: int = 0
    losing_since_s: float | None = None
    """When the first loss was seen after the last delivery; None without one."""
    seen_at_s: dict[Key, float] = field(default_factory=dict)
    """By trouble, when it was seen last."""
    findings: dict[Key, Finding] = field(default_factory=dict)


class DeliveryWatch:
    """See the module. Call :meth:`observe` every second or so, from one thread; any thread may read the findings."""

    def __init__(self) -> None:
        self._channels: dict[str, _Channel] = {}
        self.findings: tuple[Finding, ...] = ()
        """As of the last observation, for the health verdict."""

    def observe(
        self, channels: Mapping[str, ChannelStatus], now_s: float
    ) -> list[DeliveryTrouble | DeliveryRecovered]:
        """Look at every channel; gives what is new about them."""
        events = [event for name, status in channels.items() for event in self._look(name, status, now_s)]
        self._channels = {name: known for name, known in self._channels.items() if name in channels}
        found = (finding for known in self._channels.values() for finding in known.findings.values())
        self.findings = tuple(found)
        return events

    def _look(
        self, name: str, status: ChannelStatus, now_s: float
    ) -> Iterator[DeliveryTrouble | DeliveryRecovered]:
        known = self._channels.get(name)
        if known is None:
            known = self._channels[name] = _Channel({}, status.delivered)
        if status.delivered != known.delivered:
            known.delivered, known.losing_since_s = status.delivered, None
        was_troubled = bool(known.seen_at_s)
        now = {key: Finding(f"delivery {name}", *found) for key, found in _judge(known, status, now_s)}
        known.dropped = dict(status.dropped_by)
        fresh = [finding.reason for key, finding in now.items() if key not in known.seen_at_s]
        known.seen_at_s |= dict.fromkeys(now, now_s)
        known.seen_at_s = {key: at_s for key, at_s in known.seen_at_s.items() if now_s - at_s < RECENT_S}
        losses = {key: found for key, found in known.findings.items() if key[0] == "lost"}
        known.findings = {key: one for key, one in (losses | now).items() if key in known.seen_at_s}
        if fresh:
            yield DeliveryTrouble(name, tuple(fresh))
        elif was_troubled and not known.seen_at_s:
            yield DeliveryRecovered(name)


def _judge(known: _Channel, status: ChannelStatus, now_s: float) -> Iterator[tuple[Key, tuple[Weight, str]]]:
    """Every trouble of now."""
    for cause, count in status.dropped_by.items():
        if count > known.dropped.get(cause, 0):
            if known.losing_since_s is None:
                known.losing_since_s = now_s
            is_all_lost = status.is_ready and now_s - known.losing_since_s > STALLED_S
            weight = Weight.UNREADY if is_all_lost else Weight.NOTE
            yield ("lost", cause), (weight, f"messages are dropped: {cause}; {count} in all")
    for topic, cause in status.set_aside.items():
        yield ("topic", topic), (Weight.NOTE, f"{topic} waits: {cause}")
    if status.damage is not None:
        yield ("damage", status.damage), (Weight.NOTE, f"since the start: {status.damage}")
    if status.stalled_s is not None and status.stalled_s > STALLED_S:
        reason = f"connected, but nothing was delivered for over a minute; {status.pending} messages wait"
        yield ("stalled", ""), (Weight.UNREADY, f"{reason} ({status.problem})" if status.problem else reason)
