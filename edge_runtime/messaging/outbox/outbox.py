"""The durable outbox: results wait here until their destination has taken them.

``put`` never waits for the disk, nor does delivery: a row may be taken at once. One writer thread commits, with a full
fsync, the rows that have not been acknowledged 20 ms after they were put. A broker that answers within that time keeps
live results off the disk; only their counts are written, once a second.

Memory, bytes and age are bounded; the oldest rows go first and every loss is counted in the same file, so that
``enqueued == delivered + dropped + pending`` holds at any moment and after any crash. Rows that were queued but not
committed when the process is killed were never accepted; nothing of them is counted.

When the disk is full or failing, rows stay in the bounded queue, and live results keep flowing; the writer tries
the file again every second. A damaged file is moved aside, its rows are counted as lost.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from math import inf
from pathlib import Path

import structlog

from edge_runtime.errors import StateError
from edge_runtime.messaging.outbox.account import Account, Outcome
from edge_runtime.messaging.outbox.file_format import StoreDamaged, StoreTooNew, StoreUnavailable
from edge_runtime.messaging.outbox.ledger import Ledger, Row
from edge_runtime.messaging.outbox.salvage import Opened, open_or_replace
from edge_runtime.messaging.outbox.store import Found, Store
from edge_runtime.system.supervised_thread import Crashes, SupervisedThread

log = structlog.get_logger()

GROUP_COMMIT_S = 0.02
"""A row gets this long to be delivered without being written, and commits begin at least this far apart, so a row that
is not acknowledged is on the disk after at most twice this and the write itself.

Measured: 134 rows/s with one row a commit, 27,000 rows/s with 128.
"""
LONE_ACK_S = 1.0
"""Deletions alone are worth an fsync (and flash wear) this often; after a crash that much is delivered again."""
EXPIRY_POLL_S = 1.0
"""How often the file is asked for rows that are too old."""
RETRY_S = 1.0
MOST_OFF_SHARE = 24
"""A time between two runs counts for at most this part of the age limit: it is a difference of wall clocks, and a
device without a battery clock starts in 1970 and is set right when the network comes."""
LEAST_ID_WITHOUT_FILE = 1 << 51
"""Above every id that a wall clock of these decades gives."""
LONG_QUEUE = 0.5
"""From this share of the limit on nothing is gained by waiting for acknowledgements."""


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """Bounds of an outbox; the oldest rows go first when one is reached."""

    max_bytes: int = 256 * 2**20
    max_age_s: float = 72 * 3600.0
    max_queue_rows: int = 4096
    """Rows in memory that are not on the disk yet; at 30 results/s more than two minutes of a dead disk."""
    max_queue_bytes: int = 48 * 2**20
    """A dozen of the largest results; a second of a slow disk."""


class Outbox:
    """See the module. All methods are safe from any thread; ``fetch`` from one thread at a time."""

    def __init__(
        self,
        path: Path,
        crashes: Crashes,
        limits: OutboxLimits | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        open_store: Callable[[Path, float, str | None], Opened] = open_or_replace,
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
        self._account = Account()
        self._listener: Callable[[], None] = lambda: None
        self.epoch = 0
        """Changes when the file was opened again: rows with a smaller id than fetched last may have turned up again."""

        self._store: Store | None = None
        self._must_reopen = True  # also after an error; until then the old store is only read
        self.problem: str | None = None
        """Why the file cannot be written, which leaves results in memory only; None when all is well."""
        self._damage: str | None = None
        self.damage: str | None = None
        """What was lost of the file since the start, for people; None when nothing was."""
        self._suspect_at: tuple[int, int] | None = None

        self._is_stopping = False
        self._flush_id = self._looked_id = 0
        self._recorded_at_s = inf
        self._polled_at_s = self._began_at_s = self._sleeps_until_s = -inf
        self._clock_offset_s = -monotonic()

        self.ledger_at_start = Ledger()
        """The account that the file had when it was opened first: what was lost before is no news."""
        self._open_first_time()
        self._thread = SupervisedThread(
            f"{path.stem}-writer",
            self._run,
            crashes,
            at_end=self._close_store,
            on_failure=lambda err: self._fail(f"unexpected: {err!r}", must_reopen=True),
        )
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
            now_s = self._clock_s()
            self._account.put(topic, payload, now_s)
            kept_all = True
            while self._fills(1.0) and self._account.drop_oldest():
                kept_all = False
            if not kept_all:
                self._left.notify_all()
            if self._sleeps_until_s > now_s + (0.0 if self._fills(LONG_QUEUE) else GROUP_COMMIT_S):
                self._wake_writer()
        self._listener()
        return kept_all

    def _fills(self, share: float) -> bool:
        """Whether the rows in memory take more than this share of the room."""
        queue, limits = self._account.queue, self._limits
        return len(queue) > share * limits.max_queue_rows or queue.size_bytes > share * limits.max_queue_bytes

    def _wake_writer(self) -> None:
        self._sleeps_until_s = -inf  # once is enough
        self._work.notify()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything put so far is on the disk or delivered; False when it took longer or the disk fails."""
        with self._lock:
            self._flush_id = last = self.last_id
            self._wake_writer()
            return self._left.wait_for(
                lambda: (oldest := self._account.queue.peek()) is None or oldest.id > last, timeout_s
            )

    def is_kept(self, last_id: int) -> bool:
        """Whether no row up to this id is in memory only: all are on the disk, were delivered, or were dropped."""
        with self._lock:
            oldest = self._account.queue.peek()
            return oldest is None or oldest.id > last_id

    # --- publisher side ------------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this (from the writer's or a ``put`` thread; it must be quick) whenever there may be more to fetch."""
        self._listener = listener

    @property
    def last_id(self) -> int:
        """Id of the newest row accepted so far; 0 when there never was one."""
        return self._account.next_id - 1

    def fetch(self, after_id: int, limit: int) -> list[Row]:
        """Rows with a greater id, oldest first, without those already acknowledged; empty when there are none.

        They come from the file, and behind its last one from memory.
        """
        while True:
            with self._lock:
                store, file, last_id = self._store, self._account.file, self._account.last_written_id
            found = Found([], [], is_end=True)
            if store is not None and after_id < last_id:
                try:
                    found = store.read(after_id, limit)
                except (StoreDamaged, StoreUnavailable) as err:
                    self._suspect(store, str(err), (after_id, limit))
                    return []
                if found.rows and found.rows[-1].id > self.last_id:  # opening the file again proves it
                    self._suspect(
                        store, f"{self._path}: a row has an id that was not given", (after_id, limit)
                    )
                    return []
            rows = found.rows
            if found.unreadable:
                self._drop_unreadable(found.unreadable)
            with self._lock:
                if found.is_end and file is not self._account.file:
                    continue  # a commit took rows from memory to the file behind what was read: look again
                last_read_id = max([after_id, *found.unreadable, *(row.id for row in rows[-1:])])
                if found.is_end:
                    rows += islice(
                        (row for row in self._account.queue if row.id > last_read_id), limit - len(rows)
                    )
                waiting = [row for row in rows if self._account.is_waiting(row.id)]
            if not rows and not found.is_end:
                after_id = last_read_id
                continue
            if waiting or not rows:
                return waiting
            after_id = rows[-1].id

    def _drop_unreadable(self, ids: list[int]) -> None:
        """Rows of the file whose values are impossible; the others around them are delivered."""
        log.error(
            "rows of the outbox file cannot be read and are dropped", path=str(self._path), rows=len(ids)
        )
        self._record(ids, "dropped_by_damage")

    def _suspect(self, store: Store, problem: str, at: tuple[int, int]) -> None:
        """Let the writer open the file again and look whether the same read fails once more."""
        with self._lock:
            if self._store is store:  # else the writer has just closed it to open it again
                self.problem, self._suspect_at = problem, at
                self._wake_writer()

    def ack(self, ids: Iterable[int]) -> None:
        """These were delivered; they leave the memory at once, and the file with the next commit, within a second."""
        self._record(ids, "delivered")

    def refuse(self, ids: Iterable[int]) -> None:
        """The destination will never take these; they are dropped and counted in ``dropped_by_refusal``."""
        self._record(ids, "dropped_by_refusal")

    def _record(self, ids: Iterable[int], outcome: Outcome) -> None:
        with self._lock:
            has_left = self._account.record(ids, outcome)
            if has_left or self._account.has_outcomes:
                self._recorded_at_s = min(self._recorded_at_s, self._clock_s())
            if has_left:
                self._left.notify_all()

    def ledger(self) -> Ledger:
        """A consistent snapshot; ``pending`` and ``pending_bytes`` include rows that are still in memory."""
        with self._lock:
            return self._account.add_up()

    def close(self, timeout_s: float = 5.0) -> bool:
        """Commit the queued rows and close; False when the disk did not allow it in time. Idempotent."""
        with self._lock:
            self._is_stopping = True
            self._wake_writer()
        self._thread.stop()
        return self._thread.join(timeout_s) and not self._account.queue

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
        except StoreTooNew as err:
            raise StateError(f"outbox {err}") from err
        except StoreUnavailable as err:
            # Ids must stay above those in the file that cannot be read now; a clock that was never set starts in 1970.
            self._account.next_id = max(int(self._wall() * 1000) << 10, LEAST_ID_WITHOUT_FILE)
            self._fail(str(err), must_reopen=True)

    def _open(self) -> None:
        """Open the file and take over its ledger; a read that failed before and fails again proves damage."""
        with self._lock:
            suspect_at, self._suspect_at = self._suspect_at, None
        opened = self._open_store(self._path, self._wall(), self._damage)
        store, found = opened.store, opened.ledger
        self._damage, self._must_reopen = None, False
        self.damage = opened.damage or self.damage
        with self._lock:
            is_first = not self._account.has_file
            if is_first:
                self._continue_clock(found)
            self._account.take_over(found)
            if is_first:
                self.ledger_at_start = self._account.file
            self._store = store
            self.epoch += 1
        if suspect_at is not None:
            try:
                store.read(*suspect_at)
            except (StoreDamaged, StoreUnavailable) as err:
                raise StoreDamaged(f"cannot be read: {err}") from err

    def _continue_clock(self, found: Ledger) -> None:
        """Continue the file's clock, and move the rows that were stored before the file could be opened onto it."""
        slept_s = max(0.0, self._wall() - found.wall_s) if found.wall_s else 0.0
        slept_s = min(slept_s, self._limits.max_age_s / MOST_OFF_SHARE)
        before_s = self._clock_s()
        self._clock_offset_s = found.clock_s + slept_s - self._monotonic()
        self._account.shift(self._clock_s() - before_s)

    def _clock_s(self) -> float:
        return self._monotonic() + self._clock_offset_s

    # --- writer thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._wait_for_work()
            try:
                self._commit_what_is_due()
            except StoreDamaged as err:
                self._damage = str(err)
                self._fail(str(err), must_reopen=True)
            except StoreUnavailable as err:
                self._fail(str(err), must_reopen=not err.is_full)
            else:
                self._thread.succeeded()

    def _wait_for_work(self) -> bool:
        """Wait until something may have to be done; True when it is the last time."""
        with self._lock:
            if self.problem is not None and self._suspect_at is None:
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
        if self._is_stopping or self._suspect_at is not None:
            return -inf
        due_s = min(self._polled_at_s + EXPIRY_POLL_S, self._recorded_at_s + LONE_ACK_S)
        if (row := self._account.queue.peek()) is not None:
            if self._must_take_all(row):
                return -inf
            due_s = min(due_s, max(row.stored_at_s, self._began_at_s) + GROUP_COMMIT_S)
        return due_s

    def _must_take_all(self, oldest: Row) -> bool:
        return self._is_stopping or oldest.id <= self._flush_id or self._fills(LONG_QUEUE)

    def _commit_what_is_due(self) -> None:
        """One group commit, when there is something to commit; opens the file again after a failure."""
        if self._must_reopen or self._suspect_at is not None:
            self._close_store()
            self._open()
        store = self._store
        assert store is not None, "_open opens or raises"
        now_s = self._clock_s()
        expire_before_s = now_s - self._limits.max_age_s
        has_expired = False
        if now_s - self._polled_at_s >= EXPIRY_POLL_S:
            has_expired, self._polled_at_s = store.oldest_s() < expire_before_s, now_s
        with self._lock:
            if self._due_s() > now_s and not has_expired and self.problem is None:
                return
            oldest = self._account.queue.peek()
            takes_all = oldest is not None and self._must_take_all(oldest)
            commit = self._account.begin(
                lambda row: takes_all or row.stored_at_s + GROUP_COMMIT_S <= now_s, now_s, self._wall()
            )
            self._began_at_s, self._recorded_at_s = now_s, inf
        after = store.commit(commit, self._limits.max_bytes, expire_before_s)
        with self._lock:
            self._account.end(after)
            if self.problem is not None:
                log.warning("outbox file can be written again", path=str(self._path))
            self.problem = None
            self._left.notify_all()
        self._listener()

    def _close_store(self) -> None:
        with self._lock:
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def _fail(self, problem: str, must_reopen: bool) -> None:
        """Keep the rows in memory and let the publisher take them from there."""
        with self._lock:
            if self.problem is None:
                log.error("outbox file cannot be written, results wait in memory", reason=problem)
            self._account.fail(is_unknown=must_reopen)
            self.problem = problem
            self._must_reopen |= must_reopen
        self._listener()
