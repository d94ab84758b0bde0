"""The durable outbox: what the pipeline produced waits here until its destination has taken it.

``put`` never waits for the disk, nor does delivery: a row may be taken at once. One writer thread commits, 20 ms after
the first row, what has not been acknowledged by then, with a full fsync. A broker that answers within that time keeps
live results off the disk; only the account of them is written, once a second.
Bounded in memory, bytes and age; the oldest rows go first and every loss is counted in the same file, so that
``enqueued == delivered + dropped + pending`` holds at any moment and after any crash. Rows that were queued but not
committed when the process is killed were never accepted; nothing of them is counted.

When the disk is full or failing, rows stay in the bounded queue, and live results keep flowing; the writer tries the
file again every second. A damaged file is moved aside, its rows are counted as lost.

Called by the pipeline (``put``) and the publisher (``fetch``, ``ack``, ``refuse``). Not here: SQL, MQTT.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from edge_runtime.errors import StateError
from edge_runtime.outbox_ledger import Ledger, OutboxStats, Row, balanced, continued, newest
from edge_runtime.outbox_store import Store, StoreDamaged, StoreUnavailable, open_or_replace

_log = logging.getLogger(__name__)

GROUP_COMMIT_S = 0.02  # one commit per row is 134 rows/s, 128 rows per commit 27,000 rows/s (MEASURED.md)
LONE_ACK_S = (
    1.0  # deletions alone are worth an fsync (and flash wear) once a second; a crash repeats that much
)
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Bounds of an outbox; the oldest rows go first when one is reached."""

    max_bytes: int = 256 * 2**20
    max_age_s: float = 86_400.0
    max_queue_rows: int = 4096
    """Rows in memory that are not on the disk yet; at 30 results/s more than two minutes of a dead disk."""
    max_queue_bytes: int = 16 * 2**20


class Outbox:
    """See the module. All methods are safe from any thread; ``fetch`` from one thread at a time."""

    def __init__(
        self,
        path: Path,
        limits: OutboxLimits | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Open the file (or move a damaged one aside and make a new one) and start the writer.

        Raises:
            StateError: the directory cannot be used at all. A full disk is no error: the outbox starts in memory.
        """
        self._path, self._limits = path, limits or OutboxLimits()
        self._monotonic, self._wall = monotonic, wall
        self._changed = threading.Condition()
        self._queue: deque[Row] = deque()
        self._committing: list[Row] = []
        self._queue_bytes = 0
        self._acked: set[int] = set()
        self._refused: set[int] = set()
        self._settled_at_s: float | None = None
        self._ledger = Ledger()
        self._store: Store | None = None
        self._problem: str | None = None
        self._suspect_at: tuple[int, int] | None = None
        self._must_reopen = self._is_damaged = self._has_account = False
        self._is_stopping = self._must_commit = False
        self._commits = self._epoch = self._stored_id = 0
        self._listener: Callable[[], None] = lambda: None
        self._clock_offset_s = -monotonic()
        self._open_first_time()
        self._thread = threading.Thread(target=self._run, name="outbox-writer", daemon=True)
        self._thread.start()

    # --- pipeline side -------------------------------------------------------------------------------------------

    def put(self, topic: str, payload: bytes) -> bool:
        """Accept a message without waiting; False when this or an older queued one had to be dropped for it.

        The queue is full only when the disk is slower than the pipeline or failing; the oldest queued row goes first
        and is counted in ``dropped_by_queue``.
        """
        with self._changed:
            if self._is_stopping:
                return False
            row = Row(self._ledger.next_id, topic, payload, self._clock_s())
            self._ledger = replace(self._ledger, next_id=row.id + 1, enqueued=self._ledger.enqueued + 1)
            self._queue.append(row)
            self._queue_bytes += row.size_bytes
            kept_all = self._trim_queue()
            if len(self._queue) == 1 or not kept_all:
                self._changed.notify_all()
        self._listener()
        return kept_all

    def _trim_queue(self) -> bool:
        kept_all = True
        if self._is_queue_over():
            self._count_settled_in_memory()  # delivered is not lost, however long the writer waits for the disk
        while self._queue and self._is_queue_over():
            self._queue_bytes -= self._queue.popleft().size_bytes
            self._ledger = replace(self._ledger, dropped_by_queue=self._ledger.dropped_by_queue + 1)
            kept_all = False
        return kept_all

    def _is_queue_over(self) -> bool:
        rows = len(self._queue) + len(self._committing)
        return rows > self._limits.max_queue_rows or self._queue_bytes > self._limits.max_queue_bytes

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put so far is on the disk or delivered; False when it took longer or the disk fails."""
        with self._changed:
            last, self._must_commit = self._ledger.next_id - 1, bool(self._queue)
            self._changed.notify_all()
            return self._changed.wait_for(lambda: all(r.id > last for r in self._uncommitted()), timeout_s)

    def _uncommitted(self) -> Iterator[Row]:
        return chain(self._committing, self._queue)

    # --- publisher side ------------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this (from the writer's or a ``put`` thread; it must be quick) whenever there may be more to fetch."""
        self._listener = listener

    @property
    def epoch(self) -> int:
        """Changes when the file was reopened: rows with a smaller id than fetched last may have turned up again."""
        return self._epoch

    @property
    def last_id(self) -> int:
        """Id of the newest row accepted so far; 0 when there never was one."""
        return self._ledger.next_id - 1

    def age_s(self, row: Row) -> float:
        """How long a row has been waiting."""
        return max(0.0, self._clock_s() - row.stored_at_s)

    def fetch(self, after_id: int, limit: int) -> list[Row]:
        """Rows with a greater id, oldest first, without those already acknowledged; empty when there are none.

        They come from the file, and behind its last one from memory.
        """
        while True:
            rows = self._read(after_id, limit)
            with self._changed:
                waiting = [row for row in rows if row.id not in self._acked and row.id not in self._refused]
            if waiting or not rows:
                return waiting
            after_id = rows[-1].id

    def _read(self, after_id: int, limit: int) -> list[Row]:
        while True:
            with self._changed:
                store, commits, stored_id = self._store, self._commits, self._stored_id
            rows: list[Row] = []
            if store is not None and after_id < stored_id:
                try:
                    rows = store.read(after_id, limit)
                except (StoreDamaged, StoreUnavailable) as err:
                    with self._changed:
                        if self._store is store:  # else the writer has just closed it to open it again
                            self._problem, self._suspect_at = str(err), (after_id, limit)
                            self._changed.notify_all()
                    return []
            with self._changed:
                if len(rows) < limit and commits != self._commits:
                    continue  # a commit took rows from memory to the file behind what was read: look again
                last = rows[-1].id if rows else after_id
                in_memory = [row for row in self._uncommitted() if row.id > last]
                return rows + in_memory[: limit - len(rows)]

    def ack(self, ids: Iterable[int]) -> None:
        """These were delivered; they are deleted with the next commit, at the latest after a second."""
        self._settle(self._acked, ids)

    def refuse(self, ids: Iterable[int]) -> None:
        """The destination will never take these; they are dropped and counted in ``dropped_by_refusal``."""
        self._settle(self._refused, ids)

    def _settle(self, into: set[int], ids: Iterable[int]) -> None:
        with self._changed:
            into.update(ids)
            if into and self._settled_at_s is None:
                self._settled_at_s = time.monotonic()

    def stats(self) -> OutboxStats:
        """A consistent snapshot: ``enqueued == delivered + dropped + pending`` holds in it."""
        with self._changed:
            in_memory = len(self._queue) + len(self._committing)
            ledger = replace(
                self._ledger,
                pending=self._ledger.pending + in_memory,
                pending_bytes=self._ledger.pending_bytes + self._queue_bytes,
            )
            return OutboxStats(ledger, in_memory, self._problem is None, self._problem)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Commit what is queued and close; False when the disk did not allow it in time. Idempotent."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and not self._queue

    # --- opening -------------------------------------------------------------------------------------------------

    def _open_first_time(self) -> None:
        if self._path.is_dir():
            raise StateError(f"outbox {self._path} is a directory; name a file or remove it")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not os.access(self._path.parent, os.W_OK | os.X_OK):
                raise PermissionError(f"no permission to write in {self._path.parent}")
        except OSError as err:
            raise StateError(
                f"outbox {self._path}: {err}; make the state directory writable for this user"
            ) from err
        try:
            self._open()
        except StoreUnavailable as err:
            # Ids must stay above those in the file that cannot be read now; the wall clock has always moved on.
            self._ledger = Ledger(next_id=int(self._wall() * 1000) << 10)
            self._fail(str(err), must_reopen=True)

    def _open(self) -> None:
        """Open the file (a damaged one is moved aside and replaced) and take over its account."""
        damage = self._problem or "unreadable" if self._is_damaged else None
        store, found = open_or_replace(self._path, self._wall(), damage)
        if found.files_damaged > self._ledger.files_damaged and self._has_account:
            found = replace(found, next_id=0)  # nothing in memory can be in the new file
        self._is_damaged = False
        self._take_over(store, found)

    def _take_over(self, store: Store, found: Ledger) -> None:
        with self._changed:
            if self._has_account:
                kept = [row for row in self._queue if row.id >= found.next_id]
                ledger = newest(found, self._ledger)
            else:
                kept = self._restamped(found)
                ledger = continued(found, self._ledger)
            self._queue = deque(kept)
            self._queue_bytes = sum(row.size_bytes for row in kept)
            self._ledger = balanced(replace(ledger, files_damaged=found.files_damaged), len(kept))
            self._store, self._has_account, self._stored_id = store, True, found.next_id - 1
            self._epoch += 1

    def _restamped(self, found: Ledger) -> list[Row]:
        """Continue the file's clock, and move rows that were put before the file could be opened onto it."""
        slept_s = max(0.0, self._wall() - found.wall_s) if found.wall_s else 0.0
        before_s = self._clock_s()
        self._clock_offset_s = found.clock_s + slept_s - self._monotonic()
        shift_s = self._clock_s() - before_s
        return [replace(row, stored_at_s=row.stored_at_s + shift_s) for row in self._queue]

    def _clock_s(self) -> float:
        return self._monotonic() + self._clock_offset_s

    # --- writer thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._wait_for_work()
            try:
                self._cycle()
            except StoreDamaged as err:
                self._is_damaged = True
                self._fail(str(err), must_reopen=True)
            except StoreUnavailable as err:
                self._fail(str(err), must_reopen=not err.is_full)
            except Exception as err:  # noqa: BLE001 - thread boundary
                _log.exception("outbox writer failed, trying again")
                self._fail(f"unexpected: {err!r}", must_reopen=True)
        if self._store is not None:
            self._store.close()

    def _wait_for_work(self) -> bool:
        """Wait for the next group commit; True when it is the last one."""
        with self._changed:
            if self._problem is not None and self._suspect_at is None:
                self._changed.wait_for(lambda: self._is_stopping, RETRY_S)
                return self._is_stopping
            self._changed.wait_for(
                lambda: self._is_stopping or self._queue or self._suspect_at or self._has_late_acks(),
                LONE_ACK_S / 4,
            )
            self._changed.wait_for(lambda: self._is_stopping or self._must_commit, GROUP_COMMIT_S)
            return self._is_stopping

    def _has_late_acks(self) -> bool:
        return self._settled_at_s is not None and time.monotonic() - self._settled_at_s >= LONE_ACK_S

    def _cycle(self) -> None:
        """One group commit, when there is something to commit; opens the file again after a failure."""
        if self._store is None or self._must_reopen or self._suspect_at is not None:
            self._reopen()
        store = self._store
        assert store is not None, "_reopen opens or raises"
        expire_before_s = self._clock_s() - self._limits.max_age_s
        with self._changed:
            self._must_commit = False
            self._count_settled_in_memory()
            is_due = bool(self._queue or self._is_stopping or self._has_late_acks())
            if not is_due and self._problem is None and store.oldest_s() >= expire_before_s:
                return
            rows, acked, refused = list(self._queue), sorted(self._acked), sorted(self._refused)
            self._committing = rows
            self._queue.clear()
            before = replace(self._ledger, clock_s=self._clock_s(), wall_s=self._wall())
        after = store.commit(before, rows, acked, refused, (self._limits.max_bytes, expire_before_s))
        self._adopt(after, acked, refused)
        self._listener()

    def _count_settled_in_memory(self) -> None:
        """Rows settled before they reached the file never go there: they are only counted."""
        delivered = [row.id for row in self._queue if row.id in self._acked]
        refused = [row.id for row in self._queue if row.id in self._refused]
        if not delivered and not refused:
            return
        self._acked.difference_update(delivered)
        self._refused.difference_update(refused)
        gone = {*delivered, *refused}
        self._queue = deque(row for row in self._queue if row.id not in gone)
        self._queue_bytes = sum(row.size_bytes for row in self._queue)
        self._ledger = replace(
            self._ledger,
            delivered=self._ledger.delivered + len(delivered),
            dropped_by_refusal=self._ledger.dropped_by_refusal + len(refused),
        )
        self._changed.notify_all()

    def _adopt(self, after: Ledger, acked: list[int], refused: list[int]) -> None:
        """The commit succeeded: its account is ours, except for what ``put`` counted meanwhile."""
        with self._changed:
            self._queue_bytes -= sum(row.size_bytes for row in self._committing)
            if self._committing:
                self._stored_id = self._committing[-1].id
            self._committing = []
            self._ledger = replace(
                after,
                enqueued=self._ledger.enqueued,
                next_id=self._ledger.next_id,
                dropped_by_queue=self._ledger.dropped_by_queue,
            )
            self._acked.difference_update(acked)
            self._refused.difference_update(refused)
            self._settled_at_s = time.monotonic() if self._acked or self._refused else None
            self._commits += 1
            if self._problem is not None:
                _log.warning("outbox file can be written again: %s", self._path)
            self._problem = None
            self._changed.notify_all()

    def _reopen(self) -> None:
        """Open the file again; a read that fails twice at the same place means that the file is damaged."""
        with self._changed:
            old, self._store = self._store, None
            suspect_at, self._suspect_at = self._suspect_at, None
        if old is not None:
            old.close()
        self._must_reopen = True  # until everything below has worked
        self._open()
        if suspect_at is not None:
            assert self._store is not None, "_open opens or raises"
            try:
                self._store.read(*suspect_at)
            except (StoreDamaged, StoreUnavailable) as err:
                raise StoreDamaged(f"cannot be read: {err}") from err
        self._must_reopen = False

    def _fail(self, problem: str, must_reopen: bool) -> None:
        """Keep the rows in memory, say so once, and let the publisher take them from there."""
        with self._changed:
            if self._problem is None:
                _log.error("outbox file cannot be written, results wait in memory: %s", problem)
            self._queue.extendleft(reversed(self._committing))
            self._committing = []
            self._problem = problem
            self._must_reopen |= must_reopen
        self._listener()
