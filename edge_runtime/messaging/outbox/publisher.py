"""Takes rows from the outbox to one destination, in order, and acknowledges the delivered ones.

A row is delivered at least once; a duplicate (after a lost connection) has the same payload and so the same id. Order
per stream is kept. With ``live_first`` a backlog is sent between the live results instead of before them: live lag
stays low, and order then holds within the backlog and within the live results only.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

READ_ROWS = 512
"""A read costs about 0.1 ms plus 2 us a row; these are enough rows for a tenth of a second."""
IDLE_S = 0.25
"""How often sinks that work on a clock (file sync, retry after an error) are asked."""
LIVE_LAG_S = 0.5
"""With ``live_first``: a row that waited longer belongs to the backlog."""


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """The end of rows that were sent, by row id."""

    delivered: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    """The destination will never take these."""


class Sink(Protocol):
    """A destination. Used by the publisher's thread only, except ``listen`` and ``problem``."""

    @property
    def epoch(self) -> object:
        """Changes (by ``!=``) when all unacknowledged rows must be sent again; None while not ready."""

    @property
    def problem(self) -> str | None:
        """Why it is not ready or slow; None when all is well."""

    def capacity(self) -> int:
        """How many rows may be sent now."""

    def send(self, row: Row) -> bool:
        """Begin to deliver; False when the sink is no longer ready (the row was not sent)."""

    def poll(self) -> DeliveryReport:
        """Rows delivered or refused since the last call; waits for no more than one write."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this when :meth:`poll` may have news or the sink became ready; from any thread."""

    def close(self, timeout_s: float) -> DeliveryReport:
        """Wait at most this long for the rows that were sent, and release everything."""


@dataclass(slots=True)
class _Lane:
    """A run of rows that is sent in order."""

    after_id: int = 0
    until_id: int | None = None
    """Last row of the lane; None follows the live end."""
    buffer: list[Row] = field(default_factory=list)
    """Read but not sent, oldest last."""
    is_read: bool = False
    """Nothing of a bounded lane is left to read."""


@dataclass(frozen=True, slots=True)
class PublisherStats:
    """How delivery is doing."""

    sent: int
    """Rows handed to the sink, repetitions included."""
    in_flight: int
    repeated: int
    """Rows that had to be sent again because the connection was lost before their acknowledgement."""
    problem: str | None


class Publisher:
    """See the module."""

    def __init__(
        self, outbox: Outbox, sink: Sink, *, live_first: bool = False, crashes: Crashes | None = None
    ) -> None:
        """Nothing is sent before :meth:`start`."""
        self._outbox, self._sink, self._live_first = outbox, sink, live_first
        self._lanes = [_Lane()]
        self._in_flight: set[int] = set()
        self._epochs: tuple[object, int] = (None, 0)
        self._sent = self._repeated = 0
        self._drain_until_s = 0.0
        self._failure: str | None = None
        self._wake = threading.Event()
        self._thread = SupervisedThread("publisher", self._run, crashes or Crashes())

    def start(self) -> None:
        """Begin to deliver; another publisher of this outbox must have been stopped."""
        self._outbox.listen(self._wake.set)
        self._sink.listen(self._wake.set)
        self._thread.start()

    def stop(self, drain_s: float = 2.0) -> None:
        """Deliver waiting rows for at most this long, then stop; the rest stays in the outbox. Idempotent."""
        self._drain_until_s = time.monotonic() + drain_s
        self._outbox.flush(drain_s / 2)
        self._thread.stop()
        self._wake.set()
        self._thread.join(drain_s + 1.0)

    def stats(self) -> PublisherStats:
        """A snapshot."""
        return PublisherStats(
            self._sent, len(self._in_flight), self._repeated, self._failure or self._sink.problem
        )

    # --- thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        is_done = False
        while not is_done:
            is_stopping = self._thread.stopping.is_set()
            self._wake.clear()
            try:
                is_busy = self._tick()
            except Exception as err:
                self._failure, self._epochs = f"unexpected: {err!r}", (None, 0)
                raise
            self._failure = None
            self._thread.succeeded()
            if not is_busy:
                self._wake.wait(0.0 if is_stopping and not self._in_flight else IDLE_S)
            has_more = is_busy or (bool(self._in_flight) and self._sink.epoch is not None)
            is_done = is_stopping and not (has_more and time.monotonic() < self._drain_until_s)
        self._record(self._sink.close(max(0.0, self._drain_until_s - time.monotonic())))

    def _tick(self) -> bool:
        """Record the ends of rows, notice losses, send; True when there may be more to do at once."""
        self._record(self._sink.poll())
        epochs = (self._sink.epoch, self._outbox.epoch)
        if epochs[0] is None:
            return False
        if epochs != self._epochs:
            self._begin_again(sink_changed=epochs[0] != self._epochs[0])
            self._epochs = epochs
        room = self._sink.capacity()
        sent = 0
        for row in self._next_rows(room):
            # Before sending: the acknowledgement may be quicker than this thread.
            self._in_flight.add(row.id)
            if not self._sink.send(row):
                self._in_flight.discard(row.id)
                self._epochs = (None, 0)  # look again from the start; the sink says when it is ready
                return False
            sent += 1
        self._sent += sent
        return sent > 0

    def _record(self, report: DeliveryReport) -> None:
        if report.delivered:
            self._outbox.ack(report.delivered)
            self._in_flight.difference_update(report.delivered)
        if report.refused:
            self._outbox.refuse(report.refused)
            self._in_flight.difference_update(report.refused)

    def _begin_again(self, sink_changed: bool) -> None:
        """Start from the oldest row: everything that was delivered is gone from the outbox."""
        if sink_changed:
            self._repeated += len(self._in_flight)
            self._in_flight.clear()
        self._lanes = [_Lane()]
        if self._live_first:
            self._split()

    def _split(self) -> None:
        """All rows accepted so far become the backlog; later ones are live."""
        last_id = self._outbox.last_id
        oldest = min(self._oldest(lane) for lane in self._lanes)
        self._lanes = [_Lane(after_id=last_id), _Lane(after_id=oldest, until_id=last_id)]

    @staticmethod
    def _oldest(lane: _Lane) -> int:
        return lane.buffer[-1].id - 1 if lane.buffer else lane.after_id

    def _next_rows(self, room: int) -> Iterable[Row]:
        """Up to ``room`` rows, the live lane first."""
        for lane in tuple(self._lanes):
            while room > 0 and (row := self._pop(lane)) is not None:
                room -= 1
                yield row

    def _pop(self, lane: _Lane) -> Row | None:
        if not lane.buffer and not lane.is_read:
            self._fill(lane)
        if lane.buffer:
            return lane.buffer.pop()
        if lane.is_read and lane in self._lanes:
            self._lanes.remove(lane)
        return None

    def _fill(self, lane: _Lane) -> None:
        rows = self._outbox.fetch(lane.after_id, READ_ROWS)
        if lane.until_id is None and self._is_late(rows):
            self._split()
            return
        if lane.until_id is not None:
            until_id = lane.until_id
            lane.is_read = not rows or rows[-1].id >= until_id
            rows = [row for row in rows if row.id <= until_id]
        if rows:
            lane.after_id = rows[-1].id
        lane.buffer = [row for row in reversed(rows) if row.id not in self._in_flight]

    def _is_late(self, rows: list[Row]) -> bool:
        """With ``live_first``: the destination is slower than the results; the newest go first from here on as well."""
        return self._live_first and bool(rows) and self._outbox.age_s(rows[0]) > LIVE_LAG_S
