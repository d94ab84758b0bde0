"""Takes rows from the outbox to one destination, in order, and acknowledges the delivered ones.

A row is delivered at least once; a duplicate (after a lost connection) has the same payload and so the same id. Order
per stream is kept, also while a backlog is sent. A row or a topic that the destination does not take holds up no
other: see ``set_aside``.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

import structlog

from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.messaging.outbox.set_aside import Choice, SetAside
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread
from edge_runtime.system.wake_ups import sleep_until

log = structlog.get_logger()

READ_ROWS = 512
"""A read costs about 0.1 ms plus 2 us a row; these are enough rows for a tenth of a second."""
IDLE_S = 0.25
"""How often sinks that work on a clock (file sync, retry after an error) are asked."""
TICK_S = 0.001
"""Ticks begin at least this far apart: at 1,000 rows a second each row and each acknowledgement would wake the thread,
which costs the threads that wake it a fifth of their time."""
SKIPPED_ROWS = 4 * READ_ROWS
"""So many rows of topics that are set aside are passed over before acknowledgements are looked at again."""
LOG_EVERY_S = 60.0
"""Dropped rows are logged this often for each cause, with their number."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A connection ended over rows that have no acknowledgement."""

    cause: str
    is_by_peer: bool
    """The other side ended it, or stopped answering; not the network, nor this program."""
    is_certain: bool
    """Nothing but rows was unacknowledged."""


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a row was not taken now; the destination's rules may change."""

    cause: str
    """A few words without numbers."""
    may_be_the_row: bool = True
    """False for a quota, which may hit any row."""


@dataclass(slots=True)
class DeliveryReport:
    """Rows that were sent and are settled, by row id."""

    delivered: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    """The destination will never take these, and why: a few words without numbers."""
    denied: dict[int, Denial] = field(default_factory=dict)
    """The destination did not take these now."""
    loss: Loss | None = None
    """Set when the connection ended; rows that are still in flight have to be sent again."""


_NOTHING = DeliveryReport()


@dataclass(frozen=True, slots=True)
class Dropped:
    """The topic of a row that is given up, and the cause."""

    topic: str
    cause: str


class Sink(Protocol):
    """A destination. Used by the publisher's thread only, except ``listen`` and ``problem``."""

    @property
    def epoch(self) -> object:
        """Changes (by ``!=``) when all unacknowledged rows must be sent again; None while not ready.

        A connection that was lost is reported by :meth:`poll` before another one gives its epoch.
        """

    @property
    def problem(self) -> str | None:
        """Why it is not ready or slow; None when all is well."""

    def capacity(self) -> int:
        """How many rows may be sent now."""

    def send(self, row: Row) -> bool:
        """Begin to deliver; False when the sink is no longer ready (the row was not sent)."""

    def poll(self) -> DeliveryReport:
        """Rows delivered or refused since the last call; waits for no more than one write."""

    def hurry(self) -> None:
        """The last rows are on their way: wait for no further ones to settle them together."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this when :meth:`poll` may have news or the sink became ready; from any thread."""

    def close(self, timeout_s: float) -> DeliveryReport:
        """Wait at most this long for the rows that were sent, and release everything."""


class Publisher:
    """See the module."""

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        crashes: Crashes,
        *,
        name: str = "publisher",
        side_topics: frozenset[str] = frozenset(),
        tick_s: float = TICK_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is sent before :meth:`start`.

        ``side_topics``: that the destination takes these, as events, does not prove that it takes results.
        ``tick_s``: ticks begin at least so far apart.
        """
        self._outbox, self._sink, self._name, self._monotonic = outbox, sink, name, monotonic
        self._side_topics, self._tick_s = side_topics, tick_s
        self._after_id = 0
        self._read: deque[Row] = deque()
        """Rows that were read but not sent."""
        self._in_flight: dict[int, str] = {}
        """Topics of the rows that were sent and have not ended."""
        self._set_aside = SetAside()
        self._epochs: tuple[object, int] = (None, 0)
        self.repeated = 0
        """Rows that had to be sent again because the connection was lost before their acknowledgement."""
        self.refusals: Counter[str] = Counter()
        """Rows dropped because the destination does not take them, by cause, since the start."""
        self._moved_at_s = monotonic()
        """When a row was delivered last, or there was none to deliver but those of topics that are set aside."""
        self.ready_since_s: float | None = None
        """Since when the destination takes rows; None while it does not."""
        self._logged_at_s: dict[Dropped, float] = {}
        self._unlogged: Counter[Dropped] = Counter()
        self._drain_until_s = 0.0
        self._failure: str | None = None
        self._wake = threading.Event()
        self._thread = SupervisedThread(
            name, self._run, crashes, at_end=self._close_sink, on_failure=self._note_failure
        )

    def start(self) -> None:
        """Begin to deliver; another publisher of this outbox must have been stopped."""
        self._outbox.listen(self._look)
        self._sink.listen(self._look)
        self._thread.start()

    def stop(self, drain_s: float = 2.0) -> None:
        """Deliver waiting rows for at most this long, then stop; the rest stays in the outbox. Idempotent."""
        self._drain_until_s = time.monotonic() + drain_s
        self._outbox.flush(drain_s / 2)
        self._thread.stop()
        self._wake.set()
        self._thread.join(drain_s + 1.0)

    @property
    def problem(self) -> str | None:
        """Why delivery fails or waits; None when all is well."""
        return self._failure or self._sink.problem

    def stalled_s(self) -> float | None:
        """For how long the destination has been there and a row that may be sent has waited without one delivered.

        None without the destination. Rows of topics that are set aside count only while no topic is known to be taken.
        """
        since_s = self.ready_since_s
        return None if since_s is None else self._monotonic() - max(since_s, self._moved_at_s)

    def set_aside(self) -> dict[str, str]:
        """Topics whose rows wait because the destination does not take them, and why."""
        return self._set_aside.causes()

    def _look(self) -> None:
        """There may be something to do; from any thread."""
        if not self._wake.is_set():  # to set it takes a lock
            self._wake.set()

    # --- thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        is_done, began_s = False, -inf
        while not is_done:
            if is_stopping := self._thread.stopping.is_set():
                self._sink.hurry()
            sleep_until(began_s + self._tick_s)
            began_s = time.monotonic()
            self._wake.clear()
            is_busy = self._tick()
            self._failure = None
            self._thread.succeeded()
            if not is_busy:
                self._wake.wait(0.0 if is_stopping and not self._in_flight else IDLE_S)
            has_more = is_busy or (bool(self._in_flight) and self._sink.epoch is not None)
            is_done = is_stopping and not (has_more and time.monotonic() < self._drain_until_s)

    def _note_failure(self, error: Exception) -> None:
        self._failure, self._epochs = f"unexpected: {error!r}", (None, 0)

    def _close_sink(self) -> None:
        self._record(self._sink.close(max(0.0, self._drain_until_s - time.monotonic())))

    def _tick(self) -> bool:
        """Record the ends of rows, notice losses, send; True when there may be more to do at once."""
        self._record(self._sink.poll())
        epochs = (self._sink.epoch, self._outbox.epoch)
        if epochs[0] is None:
            self.ready_since_s = None
            return False
        if self.ready_since_s is None:
            self.ready_since_s = self._monotonic()
        if epochs != self._epochs:
            if epochs[0] != self._epochs[0]:
                self.repeated += len(self._in_flight)
                self._in_flight.clear()
            self._look_from(0)  # everything that was delivered is gone from the outbox
            self._epochs = epochs
        self._set_aside.tick(self._monotonic())
        rewind_to = self._set_aside.take_rewind()
        if rewind_to is not None and rewind_to <= self._after_id:
            self._look_from(rewind_to - 1)
        return self._send()

    def _look_from(self, after_id: int) -> None:
        self._after_id = after_id
        self._read.clear()

    def _send(self) -> bool:
        """Send as many rows as the destination takes now, oldest first; True when there may be more."""
        room, skipped, is_busy = self._sink.capacity(), 0, False
        while room > 0 and (row := self._peek()) is not None:
            choice = self._set_aside.choose(row.id, row.topic, self._in_flight)
            if choice is Choice.WAIT:
                room = 0
                break
            self._read.popleft()
            if choice is Choice.SKIP:
                skipped += 1
                if skipped == SKIPPED_ROWS:
                    return True
                continue
            if not self._begin(row):
                self._epochs = (None, 0)  # look again from the start; the sink says when it is ready
                return False
            room, is_busy = room - 1, True
        if is_busy:
            self._record(self._sink.poll())  # a file has taken them by now
        return is_busy and (room == 0 or bool(self._in_flight))

    def _begin(self, row: Row) -> bool:
        # Before sending: the acknowledgement may be quicker than this thread.
        self._in_flight[row.id] = row.topic
        is_sent: bool | None = None
        try:
            is_sent = self._sink.send(row)
        finally:
            if is_sent is None:  # a row that the sink fails on must not stop the others
                self._record(DeliveryReport(denied={row.id: Denial("unexpected failure")}))
        if not is_sent:
            self._in_flight.pop(row.id, None)
        return is_sent

    def _record(self, report: DeliveryReport) -> None:
        if report == _NOTHING:
            return
        now_s, before = self._monotonic(), self._set_aside.causes()
        dropped = {
            row_id: Dropped(self._in_flight.get(row_id, ""), cause)
            for row_id, cause in report.refused.items()
        }
        for row_id in report.delivered:
            topic = self._in_flight.pop(row_id, None)
            if topic is not None:
                self._set_aside.accept(row_id, topic)
            else:
                self._set_aside.accept_late(row_id)
        for row_id, denial in report.denied.items():
            topic = self._in_flight.pop(row_id, None)
            if topic is not None and self._set_aside.refuse(
                row_id, topic, denial.cause, now_s, may_be_the_row=denial.may_be_the_row
            ):
                dropped[row_id] = Dropped(topic, denial.cause)
        if report.delivered:
            self._outbox.ack(report.delivered)
            self._moved_at_s = now_s
        if report.loss is not None:
            dropped |= self._record_loss(report.loss, now_s)
        if dropped:
            self._outbox.refuse(dropped)
            for row_id, one in dropped.items():
                self._in_flight.pop(row_id, None)
                self._count(one, now_s)
        self._log_changes(before)

    def _note_end(self) -> None:
        """No row waits but those in flight and those of topics that are set aside."""
        for topic in self._set_aside.end_of_rows(self._in_flight):
            log.warning("no message of a topic that was set aside is left", topic=topic, channel=self._name)
        if not all(map(self._set_aside.is_waiting, self._in_flight.values())):
            return
        # What waits for a topic proves no stall as long as another topic is taken; quiet streams send seldom.
        if self._set_aside.takes_other_than(self._side_topics) or not self._set_aside.causes():
            self._moved_at_s = self._monotonic()

    def _record_loss(self, loss: Loss, now_s: float) -> dict[int, Dropped]:
        """All rows in flight are sent again; those that may have caused the loss a few at a time."""
        given_up = None
        if self._in_flight and loss.is_by_peer:
            given_up = self._set_aside.cut(self._in_flight, loss.is_certain, loss.cause, now_s)
        dropped = (
            {} if given_up is None else {given_up: Dropped(self._in_flight.get(given_up, ""), loss.cause)}
        )
        self.repeated += len(self._in_flight) - len(dropped)
        self._in_flight.clear()
        self._epochs = (None, 0)
        return dropped

    def _count(self, dropped: Dropped, now_s: float) -> None:
        """Count a dropped row; log it when the last line about the same is long ago."""
        self.refusals[dropped.cause] += 1
        self._unlogged[dropped] += 1
        if now_s - self._logged_at_s.get(dropped, float("-inf")) >= LOG_EVERY_S:
            self._logged_at_s[dropped] = now_s
            facts = {"topic": dropped.topic, "cause": dropped.cause, "channel": self._name}
            count = self._unlogged.pop(dropped)
            log.error("message dropped, the destination does not take it", messages=count, **facts)

    def _log_changes(self, before: dict[str, str]) -> None:
        """Log the topics that were set aside or opened."""
        after = self._set_aside.causes()
        for topic in after.keys() - before.keys():
            log.error(
                "topic set aside, its messages wait", topic=topic, cause=after[topic], channel=self._name
            )
        for topic in before.keys() - after.keys():
            log.warning("topic is taken again", topic=topic, cause=before[topic], channel=self._name)

    def _peek(self) -> Row | None:
        """The oldest row that was not sent; None when there is none."""
        while not self._read:
            rows = self._outbox.fetch(self._after_id, READ_ROWS)
            if not rows:
                self._note_end()
                return None
            self._after_id = rows[-1].id
            self._read.extend(row for row in rows if row.id not in self._in_flight)
        return self._read[0]
