"""Takes rows from the outbox to one destination, in order, and acknowledges the delivered ones.

A row is delivered at least once; a duplicate (after a lost connection) has the same payload and so the same id. Order
per stream is kept, also while a backlog is sent.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.outbox import Outbox
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

READ_ROWS = 512
"""A read costs about 0.1 ms plus 2 us a row; these are enough rows for a tenth of a second."""
IDLE_S = 0.25
"""How often sinks that work on a clock (file sync, retry after an error) are asked."""


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """Rows that were sent and are settled, by row id."""

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


class Publisher:
    """See the module."""

    def __init__(self, outbox: Outbox, sink: Sink, crashes: Crashes, *, name: str = "publisher") -> None:
        """Nothing is sent before :meth:`start`."""
        self._outbox, self._sink = outbox, sink
        self._after_id = 0
        self._read: deque[Row] = deque()
        """Rows that were read but not sent."""
        self._in_flight: set[int] = set()
        self._epochs: tuple[object, int] = (None, 0)
        self.repeated = 0
        """Rows that had to be sent again because the connection was lost before their acknowledgement."""
        self._drain_until_s = 0.0
        self._failure: str | None = None
        self._wake = threading.Event()
        self._thread = SupervisedThread(name, self._run, crashes, at_end=self._close_sink)

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

    @property
    def problem(self) -> str | None:
        """Why delivery fails or waits; None when all is well."""
        return self._failure or self._sink.problem

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

    def _close_sink(self) -> None:
        self._record(self._sink.close(max(0.0, self._drain_until_s - time.monotonic())))

    def _tick(self) -> bool:
        """Record settled rows, notice a lost connection, send; True when there may be more to do at once."""
        self._record(self._sink.poll())
        epochs = (self._sink.epoch, self._outbox.epoch)
        if epochs[0] is None:
            return False
        if epochs != self._epochs:
            if epochs[0] != self._epochs[0]:
                self.repeated += len(self._in_flight)
                self._in_flight.clear()
            # From the oldest row: everything that was delivered is gone from the outbox.
            self._after_id = 0
            self._read.clear()
            self._epochs = epochs
        is_busy = False
        for row in self._next_rows(self._sink.capacity()):
            # Before sending: the acknowledgement may be quicker than this thread.
            self._in_flight.add(row.id)
            if not self._sink.send(row):
                self._in_flight.discard(row.id)
                self._epochs = (None, 0)  # look again from the start; the sink says when it is ready
                return False
            is_busy = True
        return is_busy

    def _record(self, report: DeliveryReport) -> None:
        if report.delivered:
            self._outbox.ack(report.delivered)
            self._in_flight.difference_update(report.delivered)
        if report.refused:
            self._outbox.refuse(report.refused)
            self._in_flight.difference_update(report.refused)

    def _next_rows(self, room: int) -> Iterator[Row]:
        """At most ``room`` rows that are not in flight, oldest first."""
        while room > 0:
            if not self._read:
                rows = self._outbox.fetch(self._after_id, READ_ROWS)
                if not rows:
                    return
                self._after_id = rows[-1].id
                self._read.extend(row for row in rows if row.id not in self._in_flight)
                continue
            room -= 1
            yield self._read.popleft()
