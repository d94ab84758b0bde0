"""The durable outbox: what the pipeline produced waits here until its destination has taken it.

``put`` never waits for the disk, nor does delivery: a row may be taken at once. One writer thread commits, with a full
fsync, the rows that have not been acknowledged 20 ms after they were put. A broker that answers within that time keeps
live results off the disk; only the account of them is written, once a second.
Bounded in memory, bytes and age; the oldest rows go first and every loss is counted in the same file, so that
``enqueued == delivered + dropped + pending`` holds at any moment and after any crash. Rows that were queued but not
committed when the process is killed were never accepted; nothing of them is counted.

When the disk is full or failing, rows stay in the bounded queue, and live results keep flowing; the writer tries
the file again every second. A damaged file is moved aside, its rows are counted as lost. Not here: SQL, MQTT.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from math import inf
from pathlib import Path

from edge_runtime.errors import StateError
from edge_runtime.messaging.outbox.ledger import (
    DoubtfulCommit,
    Ledger,
    OutboxStats,
    Row,
    RowsInMemory,
    balanced,
    committed,
    continued,
    reopened,
)
from edge_runtime.messaging.outbox.store import Store, StoreDamaged, StoreUnavailable, open_or_replace

_log = logging.getLogger(__name__)

GROUP_COMMIT_S = 0.02
"""A row gets this long to be delivered without being written, and commits begin at least this far apart, so a row that
nobody acknowledges is on the disk after at most twice this and the write itself.

One commit per row is 134 rows/s, 128 rows per commit 27,000 rows/s (MEASURED.md).
"""
LONE_ACK_S = (
    1.0  # deletions alone are worth an fsync (and flash wear) once a second; a crash repeats that much
)
EXPIRY_POLL_S = 1.0  # how often the file is asked for rows that are too old
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Bounds of an outbox; the oldest rows go first when one is reached."""

    max_bytes: int = 256 * 2**20
    max_age_s: float = 86_400.0
    max_queue_rows: int = 4096
    """Rows in memory that are not on the disk yet; at 30 results/s more than two minutes of a dead disk."""
    max_queue_bytes: int = 16 * 2**20


@dataclass(frozen=True, slots=True)
class _Commit:
    """What the writer is writing; the rows are still in memory."""

    before: Ledger
    rows: RowsInMemory
    acked: list[int]
    refused: list[int]


class Outbox:
    """See the module. All methods are safe from any thread; ``fetch`` from one thread at a time."""

    def __init__(
        self,
        path: Path,
        limits: OutboxLimits | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        open_store: Callable[[Path, float, str | None], tuple[Store, Ledger]] = open_or_replace,
    ) -> None:
        """Open the file (or move a damaged one aside and make a new one) and start the writer.

        Raises:
            StateError: the directory cannot be used at all. A full disk is no error: the outbox starts in memory.
        """
        self._path, self._limits = path, limits or OutboxLimits()
        self._monotonic, self._wall, self._open_store = monotonic, wall, open_store
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)  # for the writer
        self._left = threading.Condition(self._lock)  # rows left the memory: for flush
        self._queue = RowsInMemory()
        self._commit: _Commit | None = None
        self._doubt: DoubtfulCommit | None = None
        self._acked: set[int] = set()
        self._refused: set[int] = set()
        self._settled_at_s: float | None = None
        self._ledger = Ledger()
        self._store: Store | None = None
        self._problem: str | None = None
        self._suspect_at: tuple[int, int] | None = None
        self._must_reopen = self._is_damaged = self._has_account = False
        self._is_stopping = False
        self._commits = self._epoch = self._stored_id = self._flush_id = self._looked_id = 0
        self._has_expired = False
        self._asked_at_s = self._began_at_s = self._sleeps_until_s = -inf
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
        with self._lock:
            if self._is_stopping:
                return False
            row = Row(self._ledger.next_id, topic, payload, self._clock_s())
            self._ledger = replace(self._ledger, next_id=row.id + 1, enqueued=self._ledger.enqueued + 1)
            self._queue.append(row)
            kept_all = self._trim_queue()
            if self._sleeps_until_s > row.stored_at_s + (0.0 if self._is_queue_long() else GROUP_COMMIT_S):
                self._wake_writer()
        self._listener()
        return kept_all

    def _trim_queue(self) -> bool:
        dropped: set[int] = set()
        while self._is_queue_over() and (row := self._queue.oldest()) is not None:
            self._queue.pop(row.id)
            dropped.add(row.id)
        if dropped:
            self._ledger = replace(
                self._ledger, dropped_by_queue=self._ledger.dropped_by_queue + len(dropped)
            )
            if self._doubt is not None:
                self._doubt.dropped.update(one for one in dropped if one <= self._doubt.last_id)
            self._left.notify_all()
        return not dropped

    def _is_queue_over(self) -> bool:
        return (
            self._rows_in_memory() > self._limits.max_queue_rows
            or self._bytes_in_memory() > self._limits.max_queue_bytes
        )

    def _is_queue_long(self) -> bool:
        """Half-way to the limit nothing is gained by waiting for acknowledgements."""
        return (
            2 * len(self._queue) > self._limits.max_queue_rows
            or 2 * self._queue.size_bytes > self._limits.max_queue_bytes
        )

    def _rows_in_memory(self) -> int:
        return len(self._queue) + (0 if self._commit is None else len(self._commit.rows))

    def _bytes_in_memory(self) -> int:
        return self._queue.size_bytes + (0 if self._commit is None else self._commit.rows.size_bytes)

    def _wake_writer(self) -> None:
        self._sleeps_until_s = -inf  # once is enough
        self._work.notify()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put so far is on the disk or delivered; False when it took longer or the disk fails."""
        with self._lock:
            self._flush_id = last = self._ledger.next_id - 1
            self._wake_writer()
            return self._left.wait_for(lambda: all(row.id > last for row in self._uncommitted()), timeout_s)

    def _uncommitted(self) -> Iterator[Row]:
        return chain(() if self._commit is None else self._commit.rows, self._queue)

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
            with self._lock:
                waiting = [row for row in rows if row.id not in self._acked and row.id not in self._refused]
            if waiting or not rows:
                return waiting
            after_id = rows[-1].id

    def _read(self, after_id: int, limit: int) -> list[Row]:
        while True:
            with self._lock:
                store, commits, stored_id = self._store, self._commits, self._stored_id
            rows: list[Row] = []
            if store is not None and after_id < stored_id:
                try:
                    rows = store.read(after_id, limit)
                except (StoreDamaged, StoreUnavailable) as err:
                    with self._lock:
                        if self._store is store:  # else the writer has just closed it to open it again
                            self._problem, self._suspect_at = str(err), (after_id, limit)
                            self._wake_writer()
                    return []
            with self._lock:
                if len(rows) < limit and commits != self._commits:
                    continue  # a commit took rows from memory to the file behind what was read: look again
                last = rows[-1].id if rows else after_id
                in_memory = [row for row in self._uncommitted() if row.id > last]
                return rows + in_memory[: limit - len(rows)]

    def ack(self, ids: Iterable[int]) -> None:
        """These were delivered; they leave the memory at once, and the file with the next commit, within a second."""
        with self._lock:
            noted = set() if self._doubt is None else self._doubt.delivered
            delivered = self._leave(ids, self._acked, noted)
            self._ledger = replace(self._ledger, delivered=self._ledger.delivered + delivered)

    def refuse(self, ids: Iterable[int]) -> None:
        """The destination will never take these; they are dropped and counted in ``dropped_by_refusal``."""
        with self._lock:
            noted = set() if self._doubt is None else self._doubt.refused
            refused = self._leave(ids, self._refused, noted)
            self._ledger = replace(self._ledger, dropped_by_refusal=self._ledger.dropped_by_refusal + refused)

    def _leave(self, ids: Iterable[int], later: set[int], noted: set[int]) -> int:
        """Take out of the queue what is there; what is in the file, or may be, goes with a later commit."""
        doubtful_id = 0 if self._doubt is None else self._doubt.last_id
        count = 0
        for one in ids:
            if self._queue.pop(one) is None:
                later.add(one)
                continue
            count += 1
            if one <= doubtful_id:
                noted.add(one)
                later.add(one)
        if self._settled_at_s is None and (count or later):
            self._settled_at_s = self._clock_s()
        if count:
            self._left.notify_all()
        return count

    def stats(self) -> OutboxStats:
        """A consistent snapshot: ``enqueued == delivered + dropped + pending`` holds in it."""
        with self._lock:
            in_memory = self._rows_in_memory()
            ledger = replace(
                self._ledger,
                pending=self._ledger.pending + in_memory,
                pending_bytes=self._ledger.pending_bytes + self._bytes_in_memory(),
            )
            return OutboxStats(ledger, in_memory, self._problem is None, self._problem)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Commit what is queued and close; False when the disk did not allow it in time. Idempotent."""
        with self._lock:
            self._is_stopping = True
            self._wake_writer()
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
        store, found = self._open_store(self._path, self._wall(), damage)
        self._is_damaged = False
        self._take_over(store, found)

    def _take_over(self, store: Store, found: Ledger) -> None:
        with self._lock:
            doubt, self._doubt = self._doubt, None
            if not self._has_account:
                self._restamp(found)
                ledger = continued(found, self._ledger)
            elif doubt is not None and doubt.is_in(found) and not self._is_new(found):
                for row in [row for row in self._queue if row.id <= doubt.last_id]:
                    self._queue.pop(row.id)
                ledger = doubt.settled(self._ledger, found)
            else:  # nothing of what is in memory is in the file
                ledger = reopened(self._ledger, found)
            self._ledger = balanced(ledger, len(self._queue))
            self._store, self._has_account = store, True
            self._stored_id = found.next_id - 1 if found.pending else 0
            self._epoch += 1
            self._commits += 1  # rows may have gone from memory to the file

    def _is_new(self, found: Ledger) -> bool:
        """Whether the file was moved aside: what is found is then what the old one said, without its rows."""
        return found.files_damaged > self._ledger.files_damaged

    def _restamp(self, found: Ledger) -> None:
        """Continue the file's clock, and move what happened before the file could be opened onto it."""
        slept_s = max(0.0, self._wall() - found.wall_s) if found.wall_s else 0.0
        before_s = self._clock_s()
        self._clock_offset_s = found.clock_s + slept_s - self._monotonic()
        shift_s = self._clock_s() - before_s
        rows, self._queue = self._queue, RowsInMemory()
        for row in rows:
            self._queue.append(replace(row, stored_at_s=row.stored_at_s + shift_s))
        if self._settled_at_s is not None:
            self._settled_at_s += shift_s

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
        """Wait until something may have to be done; True when it is the last time."""
        with self._lock:
            if self._problem is not None and self._suspect_at is None:
                self._work.wait_for(lambda: self._is_stopping, RETRY_S)
                return self._is_stopping
            now_s = self._clock_s()
            due_s = self._due_s()
            if self.last_id != self._looked_id:  # more will come: rather look than be woken by each
                due_s = min(due_s, now_s + GROUP_COMMIT_S)
            self._looked_id = self.last_id
            if due_s > now_s:
                self._sleeps_until_s = due_s
                self._work.wait(due_s - now_s)
                self._sleeps_until_s = -inf
            return self._is_stopping

    def _due_s(self) -> float:
        """When the writer has something to do, on the outbox's clock; -inf for at once."""
        if self._is_stopping or self._suspect_at is not None or self._has_expired:
            return -inf
        due_s = self._asked_at_s + EXPIRY_POLL_S
        if self._settled_at_s is not None:
            due_s = min(due_s, self._settled_at_s + LONE_ACK_S)
        if (row := self._queue.oldest()) is not None:
            if self._must_take_all(row):
                return -inf
            due_s = min(due_s, max(row.stored_at_s, self._began_at_s) + GROUP_COMMIT_S)
        return due_s

    def _must_take_all(self, oldest: Row) -> bool:
        return self._is_stopping or oldest.id <= self._flush_id or self._is_queue_long()

    def _cycle(self) -> None:
        """One group commit, when there is something to commit; opens the file again after a failure."""
        if self._store is None or self._must_reopen or self._suspect_at is not None:
            self._reopen()
        store = self._store
        assert store is not None, "_reopen opens or raises"
        now_s = self._clock_s()
        expire_before_s = now_s - self._limits.max_age_s
        if now_s - self._asked_at_s >= EXPIRY_POLL_S:
            self._has_expired, self._asked_at_s = store.oldest_s() < expire_before_s, now_s
        with self._lock:
            if self._due_s() > now_s and self._problem is None:
                return
            commit = self._commit = self._begun(now_s)
        limits = (self._limits.max_bytes, expire_before_s)
        after = store.commit(commit.before, list(commit.rows), commit.acked, commit.refused, limits)
        self._adopt(commit, after)
        self._listener()

    def _begun(self, now_s: float) -> _Commit:
        """Take what is due out of the queue; what stays there is not accepted yet as far as the file is concerned."""
        oldest, rows = self._queue.oldest(), RowsInMemory()
        all_of_it = oldest is not None and self._must_take_all(oldest)
        while (row := self._queue.oldest()) is not None:
            if not all_of_it and row.stored_at_s + GROUP_COMMIT_S > now_s:
                break
            self._queue.pop(row.id)
            rows.append(row)
        self._began_at_s, self._settled_at_s = now_s, None
        enqueued = self._ledger.enqueued - len(self._queue)
        before = replace(self._ledger, enqueued=enqueued, clock_s=now_s, wall_s=self._wall())
        return _Commit(before, rows, sorted(self._acked), sorted(self._refused))

    def _adopt(self, commit: _Commit, after: Ledger) -> None:
        """The commit succeeded: what it changed is added to what was counted meanwhile."""
        with self._lock:
            self._commit, self._has_expired = None, False
            self._ledger = committed(self._ledger, commit.before, after)
            self._stored_id = max((row.id for row in commit.rows), default=self._stored_id)
            self._acked.difference_update(commit.acked)
            self._refused.difference_update(commit.refused)
            self._commits += 1
            if self._problem is not None:
                _log.warning("outbox file can be written again: %s", self._path)
            self._problem = None
            self._left.notify_all()

    def _reopen(self) -> None:
        """Open the file again; a read that fails twice at the same place means that the file is damaged."""
        with self._lock:
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
        with self._lock:
            if self._problem is None:
                _log.error("outbox file cannot be written, results wait in memory: %s", problem)
            if self._commit is not None:
                self._take_back(self._commit, is_doubtful=must_reopen)
            self._problem = problem
            self._must_reopen |= must_reopen
        self._listener()

    def _take_back(self, commit: _Commit, is_doubtful: bool) -> None:
        younger, self._queue, self._commit = self._queue, commit.rows, None
        ids = {row.id for row in commit.rows}
        for row in younger:
            self._queue.append(row)
        if is_doubtful:
            self._doubt = DoubtfulCommit(commit.before, max(ids, default=0))
        acked, refused = ids & self._acked, ids & self._refused
        self._acked -= acked
        self._refused -= refused
        self.ack(acked)
        self.refuse(refused - acked)
