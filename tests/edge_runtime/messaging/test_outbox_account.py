"""outbox: whatever arrives before, during and after a commit, and however the commit ends, the account is right.

The file is a real one; the test holds every commit until it says how that one ends.
"""

import contextlib
import queue
import shutil
import sqlite3
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_runtime.messaging.outbox import outbox as outbox_module
from edge_runtime.messaging.outbox.file_format import StoreUnavailable
from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.outbox.outbox import GROUP_COMMIT_S, Outbox, OutboxLimits
from edge_runtime.messaging.outbox.salvage import Opened, open_or_replace
from edge_runtime.system.supervised_thread import Crashes
from tests.support.outbox_accounts import assert_balanced, assert_file_agrees
from tests.support.waiting import WAIT_S, pause, until

pytestmark = pytest.mark.integration

PAYLOAD = b"x" * 135
ROW_BYTES = Row(1, "t", PAYLOAD, 0.0).size_bytes
ALL = 100_000

OK, FULL, FAILED, UNSURE = "ok", "disk full", "failed, nothing written", "written, but an error came back"
BUG = "an exception that is not expected"


class HeldDisk:
    """Opens real outbox files; while it is held, every commit waits until the test says how it ends."""

    def __init__(self):
        self.is_held, self.is_away = True, False
        self.commits, self.written = 0, []  # ids that reached the file
        self._asked, self._endings = queue.SimpleQueue(), queue.SimpleQueue()

    def open_store(self, path, wall_s, damage):
        if self.is_away:
            raise StoreUnavailable("unplugged")
        opened = open_or_replace(path, wall_s, damage)
        return Opened(HeldStore(opened.store, self), opened.ledger, opened.damage)

    @property
    def is_idle(self):
        return self._asked.empty()

    def begun(self):
        """The ids of the rows that the writer wants to commit now; waits for it."""
        return self._asked.get(timeout=WAIT_S)

    def end(self, ending):
        self._endings.put(ending)

    def wait_for_ending(self, ids):
        self._asked.put(ids)
        while self.is_held:
            try:
                return self._endings.get(timeout=0.01)
            except queue.Empty:
                continue
        return OK


class HeldStore:
    """A store of a held disk."""

    def __init__(self, store, disk):
        self._store, self._disk = store, disk
        self.read, self.oldest_s, self.close = store.read, store.oldest_s, store.close

    def commit(self, commit, *limits):
        ids = [row.id for row in commit.rows]
        ending = self._disk.wait_for_ending(ids) if self._disk.is_held else OK
        if ending in (FULL, FAILED):
            raise StoreUnavailable(ending, is_full=ending == FULL)
        if ending == BUG:
            raise ZeroDivisionError
        after = self._store.commit(commit, *limits)
        self._disk.commits += 1
        self._disk.written += ids
        if ending == UNSURE:
            raise StoreUnavailable(ending)
        return after


class Clock:
    """Seconds under the test's control; notes how often the writer looks."""

    def __init__(self):
        self.now_s, self.looks = 0.0, 0

    def __call__(self):
        self.looks += threading.current_thread().name == "outbox-writer"
        return self.now_s


def assert_right(box):
    ledger = box.ledger()
    assert_balanced(ledger)
    assert ledger.pending_bytes == ledger.pending * ROW_BYTES, ledger
    return ledger


def ids(rows):
    return [row.id for row in rows]


@pytest.fixture
def disk():
    disk = HeldDisk()
    yield disk
    disk.is_held = disk.is_away = False


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture(autouse=True)
def _retry_at_once(monkeypatch):
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.002)


def opened(path, disk, **limits):
    return Outbox(path, Crashes(), OutboxLimits(**limits), open_store=disk.open_store)


def put(box, count=1):
    return [box.put("t", PAYLOAD) for _ in range(count)]


def committed(box, disk):
    """Rows on the disk."""
    box.flush(0)
    disk.begun()
    disk.end(OK)
    assert until(lambda: len(box._account.queue) == 0)


def closed(box, disk):
    disk.is_held = disk.is_away = False
    assert box.close()


# --- acknowledgements before, during and after a commit ---------------------------------------------------------


def test_what_is_delivered_while_a_slow_commit_is_under_way_stays_counted(path, disk):
    box = opened(path, disk, max_queue_rows=8)
    put(box)
    box.flush(0)
    assert disk.begun() == [1]
    put(box, 7)
    box.ack(range(2, 9))
    assert all(put(box, 5))
    ledger = assert_right(box)
    assert (ledger.enqueued, ledger.delivered, ledger.pending) == (13, 7, 6)
    disk.end(OK)
    assert until(lambda: disk.commits == 1 and len(box._account.queue) == 5)
    ledger = assert_right(box)
    assert (ledger.enqueued, ledger.delivered, ledger.dropped, ledger.pending) == (13, 7, 0, 6)
    closed(box, disk)
    ledger = assert_file_agrees(path)
    assert (ledger.enqueued, ledger.delivered, ledger.dropped, ledger.pending) == (13, 7, 0, 6)
    box = Outbox(path, Crashes())
    assert (box.ledger().delivered, box.ledger().dropped, len(box.fetch(0, ALL))) == (7, 0, 6)
    box.close()


@pytest.mark.parametrize("ending", [OK, FULL, FAILED, UNSURE])
@pytest.mark.parametrize("when", ["before", "during", "after"])
@pytest.mark.parametrize("outcome", ["ack", "refuse"])
def test_every_outcome_counts_once_whenever_it_comes_and_however_the_commit_ends(
    path, disk, outcome, when, ending
):
    box = opened(path, disk)
    put(box, 3)
    committed(box, disk)  # 1..3 are in the file
    put(box, 6)  # 4..9
    settle = getattr(box, outcome)
    if when == "before":
        settle([1, 4, 9])
        assert_right(box)
    box.flush(0)
    disk.begun()
    put(box, 3)  # 10..12, put while the commit is under way
    if when == "during":
        settle([1, 4, 9, 11])
        assert_right(box)
    disk.end(ending)
    if ending != OK:
        disk.begun()  # it tries again with what has been put meanwhile
        assert_right(box)
        disk.end(OK)
    assert until(lambda: box.problem is None and disk.commits >= 2)
    assert_right(box)
    if when == "after":
        settle([1, 4, 9, 11])
        assert_right(box)
    closed(box, disk)
    ledger = assert_file_agrees(path)
    gone = {1, 4, 9} if when == "before" else {1, 4, 9, 11}
    counted = ledger.delivered if outcome == "ack" else ledger.dropped_by_refusal
    assert (ledger.enqueued, counted, ledger.pending) == (12, len(gone), 12 - len(gone))
    box = Outbox(path, Crashes())
    assert ids(box.fetch(0, ALL)) == [one for one in range(1, 13) if one not in gone]
    assert_right(box)
    box.close()


def test_rows_dropped_or_delivered_while_it_is_unknown_whether_they_were_written_count_once(path, disk):
    box = opened(path, disk, max_queue_rows=6)
    put(box, 4)
    box.flush(0)
    assert disk.begun() == [1, 2, 3, 4]
    disk.is_away = True
    disk.end(UNSURE)
    assert until(lambda: box.problem is not None)
    box.ack([2])
    box.refuse([3])
    put(box, 5)  # there is room for six: 1 goes
    ledger = assert_right(box)
    assert (ledger.delivered, ledger.dropped_by_refusal, ledger.dropped_by_queue) == (1, 1, 1)
    disk.is_away = False
    disk.begun()
    assert_right(box)
    disk.end(OK)
    assert until(lambda: box.problem is None)
    ledger = assert_right(box)
    assert (ledger.delivered, ledger.dropped_by_refusal, ledger.dropped_by_queue) == (1, 1, 0)
    assert ids(box.fetch(0, ALL)) == [1, 4, 5, 6, 7, 8, 9], "the file had kept what was dropped"
    closed(box, disk)
    assert (assert_file_agrees(path).enqueued, assert_file_agrees(path).pending) == (9, 7)


@pytest.mark.parametrize("outcome", ["ack", "refuse"])
def test_what_was_settled_is_not_fetched_again_from_a_file_that_has_it_after_all(
    path, disk, monkeypatch, outcome
):
    box = opened(path, disk)
    put(box, 3)
    box.flush(0)
    disk.begun()
    monkeypatch.setattr(outbox_module, "RETRY_S", 60.0)
    disk.end(UNSURE)
    assert until(lambda: box.problem is not None)
    getattr(box, outcome)([2])
    assert ids(box.fetch(0, ALL)) == [1, 3]
    assert_right(box)
    closed(box, disk)
    assert assert_file_agrees(path).pending == 2


def test_rows_that_a_commit_of_unknown_end_wrote_and_dropped_at_once_are_not_written_again(path, disk):
    box = opened(path, disk, max_bytes=4 * ROW_BYTES)
    put(box, 6)
    box.flush(0)
    assert disk.begun() == [1, 2, 3, 4, 5, 6]
    disk.end(UNSURE)
    assert disk.begun() == []
    ledger = assert_right(box)
    assert (ledger.enqueued, ledger.dropped_by_size, ledger.pending) == (6, 2, 4)
    closed(box, disk)
    assert assert_file_agrees(path).dropped_by_size == 2


def test_a_file_that_vanished_costs_what_was_in_it_and_nothing_that_is_in_memory(path, disk):
    box = opened(path, disk)
    put(box, 3)
    committed(box, disk)
    put(box, 4)
    box.flush(0)
    disk.begun()
    for part in path.parent.iterdir():
        part.unlink()
    disk.end(FAILED)
    disk.begun()
    ledger = assert_right(box)
    assert (ledger.enqueued, ledger.dropped_by_damage, ledger.pending) == (7, 3, 4)
    closed(box, disk)
    assert (assert_file_agrees(path).dropped_by_damage, assert_file_agrees(path).pending) == (3, 4)


def test_an_unexpected_failure_is_counted_and_the_rows_are_written_later(path, disk):
    crashes = Crashes()
    box = Outbox(path, crashes, open_store=disk.open_store)
    put(box, 3)
    box.flush(0)
    disk.begun()
    disk.end(BUG)
    assert disk.begun() == [1, 2, 3]
    assert (crashes.by_thread(), box.problem is None) == ({"outbox-writer": 1}, False)
    closed(box, disk)
    assert assert_file_agrees(path).pending == 3


# --- what is written, and when ----------------------------------------------------------------------------------


def test_only_rows_that_are_old_enough_are_written(path, disk):
    clock = Clock()
    box = Outbox(path, Crashes(), monotonic=clock, open_store=disk.open_store)
    put(box)
    clock.now_s = 0.75 * GROUP_COMMIT_S
    put(box)
    clock.now_s = 1.01 * GROUP_COMMIT_S
    assert disk.begun() == [1]
    clock.now_s = 1.5 * GROUP_COMMIT_S
    put(box)
    disk.end(OK)
    assert until(lambda: len(box._account.queue) == 2)
    assert ids(box.fetch(0, 9)) == [1, 2, 3]
    assert_right(box)
    assert assert_file_agrees(path).enqueued == 1, (
        "what is still in memory is not accepted yet if the process dies"
    )
    clock.now_s = 2.02 * GROUP_COMMIT_S
    assert disk.begun() == [2], "the third is not old enough"
    disk.end(OK)
    clock.now_s = 3.03 * GROUP_COMMIT_S
    assert disk.begun() == [3]
    disk.end(OK)
    closed(box, disk)


def test_commits_of_a_broker_that_is_away_begin_a_group_apart_and_no_row_waits_longer_than_two(
    path, disk, monkeypatch
):
    group_s = 0.004  # the writer looks that often
    monkeypatch.setattr(outbox_module, "GROUP_COMMIT_S", group_s)
    clock, put_at_s, began_at_s = Clock(), {}, []
    box = Outbox(path, Crashes(), monotonic=clock, open_store=disk.open_store)
    for step in range(100):
        clock.now_s = step * group_s / 4
        put(box)
        put_at_s[box.last_id] = clock.now_s
        is_late = clock.now_s - min(put_at_s.values()) > 1.99 * group_s
        if until(lambda: not disk.is_idle, 3 * group_s) or is_late:
            assert all(clock.now_s - put_at_s.pop(one) > 0.99 * group_s for one in disk.begun())
            began_at_s.append(clock.now_s)
            disk.end(OK)
    closed(box, disk)
    assert all(later - one > 0.99 * group_s for one, later in pairwise(began_at_s))
    assert len(began_at_s) >= 100 / 8 - 1


def test_a_steady_stream_that_is_acknowledged_in_time_writes_the_account_only(path, disk):
    disk.is_held = False
    clock = Clock()
    box = Outbox(path, Crashes(), monotonic=clock, open_store=disk.open_store)
    for step in range(400):  # two seconds at 200 rows/s; the answer takes 10 ms
        clock.now_s = step / 200
        put(box)
        box.ack([box.last_id - 2])
        assert len(box._account.queue) <= 2, "what was delivered has left the memory"
        pause(0.001)
    box.ack(range(box.last_id - 2, box.last_id + 1))
    assert clock.looks > 20
    assert disk.commits <= 3
    assert box.close()
    assert disk.written == []
    assert assert_file_agrees(path).delivered == 400


def test_the_writer_sleeps_while_results_are_taken_at_once(path, disk):
    disk.is_held = False
    clock = Clock()
    box = Outbox(path, Crashes(), monotonic=clock, open_store=disk.open_store)
    assert until(lambda: clock.looks >= 2)
    pause(0.05)
    before, started_s = clock.looks, time.monotonic()
    for _ in range(200):
        put(box)
        box.ack([box.last_id])
        pause(0.001)
    wakes = (time.monotonic() - started_s) / GROUP_COMMIT_S + 2
    assert clock.looks - before <= 4 * wakes  # a wake reads the clock up to three times
    box.close()


@pytest.mark.parametrize("limits", [{"max_queue_rows": 8}, {"max_queue_bytes": 8 * ROW_BYTES}])
def test_a_queue_that_is_half_full_is_written_at_once(path, disk, limits):
    box = Outbox(path, Crashes(), OutboxLimits(**limits), monotonic=Clock(), open_store=disk.open_store)
    assert all(put(box, 5))
    assert disk.begun() == [1, 2, 3, 4, 5]
    disk.end(OK)
    closed(box, disk)


def test_flush_writes_rows_of_any_age(path, disk):
    disk.is_held = False
    box = Outbox(path, Crashes(), monotonic=Clock(), open_store=disk.open_store)
    put(box, 3)
    assert box.flush(WAIT_S)
    assert disk.written == [1, 2, 3]
    put(box, 1)
    assert not until(lambda: 4 in disk.written, 3 * GROUP_COMMIT_S), "that was not for later rows"
    box.close()
    assert disk.written == [1, 2, 3, 4]


# --- any history -------------------------------------------------------------------------------------------------


class History(RuleBasedStateMachine):
    """Puts, outcomes, commits that end well or badly, a disk that goes away, restarts and kills, in any order."""

    @initialize(rows=st.sampled_from([6, 12, 4096]))
    def start(self, rows):
        self.folder = Path(tempfile.mkdtemp())
        self.path, self.limits = self.folder / "outbox.db", OutboxLimits(max_queue_rows=rows)
        self.disk, self.is_begun = HeldDisk(), False
        self.accepted, self.acked, self.refused, self.safe = 0, set(), set(), set()
        self.retry_s, outbox_module.RETRY_S = outbox_module.RETRY_S, 0.002
        self.group_commit_s, outbox_module.GROUP_COMMIT_S = outbox_module.GROUP_COMMIT_S, 0.002
        self.clock = Clock()
        self.open()

    def open(self):
        self.ended = threading.Event()
        self.box = Outbox(
            self.path, Crashes(), self.limits, monotonic=self.clock, open_store=self.disk.open_store
        )
        self.box.listen(self.evaluate)

    def evaluate(self):
        if threading.current_thread().name == "outbox-writer":
            self.ended.set()

    @rule(count=st.integers(1, 7))
    def put(self, count):
        put(self.box, count)
        self.accepted += count

    @rule(outcome=st.sampled_from(["acked", "refused"]), start=st.integers(-9, 9), count=st.integers(1, 9))
    def settle(self, outcome, start, count):
        some = ids(self.box.fetch(0, ALL))[start:][:count]
        (self.box.ack if outcome == "acked" else self.box.refuse)(some)
        getattr(self, outcome).update(some)

    @rule(passed_s=st.sampled_from([0.0005, 0.001, 0.0015, 0.5]))
    def grow_older(self, passed_s):
        self.clock.now_s += passed_s

    @precondition(lambda self: not self.is_begun and not self.disk.is_away)
    @rule(takes_all=st.booleans())
    def begin_to_commit(self, takes_all):
        if not self.box._account.queue:
            return
        if takes_all:
            self.box.flush(0)
        else:
            while not until(lambda: not self.disk.is_idle, 0.01):
                self.clock.now_s += 0.0005
        self.taken = self.disk.begun()
        self.is_begun = True

    @precondition(lambda self: self.is_begun)
    @rule(ending=st.sampled_from([OK, FULL, FAILED, UNSURE]), goes_away=st.booleans())
    def end_the_commit(self, ending, goes_away):
        self.ended.clear()
        self.disk.is_away = goes_away and ending in (FAILED, UNSURE)
        self.disk.end(ending)
        assert self.ended.wait(WAIT_S)
        if ending == OK:
            self.safe.update(self.taken)
            self.is_begun = False
        elif self.disk.is_away:
            self.is_begun = False
        else:
            self.taken = self.disk.begun()

    @precondition(lambda self: self.disk.is_away)
    @rule()
    def come_back(self):
        self.disk.is_away = False
        self.taken = self.disk.begun()
        self.is_begun = True

    @precondition(lambda self: not self.disk.is_away)
    @rule()
    def restart(self):
        waiting = ids(self.box.fetch(0, ALL))
        self.let_all_through()
        assert self.box.close()
        assert_file_agrees(self.path)
        self.disk, self.is_begun = HeldDisk(), False
        self.open()
        assert ids(self.box.fetch(0, ALL)) == waiting
        self.safe = set(waiting)

    def let_all_through(self):
        self.disk.is_held = self.disk.is_away = False
        assert until(lambda: self.box.problem is None)

    @rule()
    def be_killed(self):
        """What would be found if the process ended now."""
        copy = self.folder / "copy.db"
        assert until(self.copy_of_one_moment)
        assert assert_file_agrees(copy).dropped_by_damage == 0
        with sqlite3.connect(copy) as db:
            found = {one for (one,) in db.execute("SELECT id FROM waiting")}
        db.close()
        assert found >= self.safe - self.acked - self.refused
        for part in self.folder.glob("copy.db*"):
            part.unlink()

    def copy_of_one_moment(self):
        """Whether nothing was written meanwhile: a file that is opened again loses its log, which a kill would stop."""
        before = self.state_of_files()
        for part in self.folder.glob("copy.db*"):
            part.unlink()
        with contextlib.suppress(FileNotFoundError):
            for suffix in before:
                shutil.copy(self.folder / f"outbox.db{suffix}", self.folder / f"copy.db{suffix}")
        return self.state_of_files() == before

    def state_of_files(self):
        found = {}
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                status = (self.folder / f"outbox.db{suffix}").stat()
                found[suffix] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return found

    @invariant()
    def the_account_is_right(self):
        ledger = assert_right(self.box)
        assert ledger.enqueued == self.accepted
        assert ledger.delivered <= len(self.acked)
        assert ledger.dropped_by_refusal <= len(self.refused)
        assert ledger.dropped_by_damage == 0
        rows = ids(self.box.fetch(0, ALL))
        assert rows == sorted(set(rows))
        assert not set(rows) & (self.acked | self.refused)
        if not self.disk.is_away:  # else the rows in the file are out of reach
            settled = len(self.acked) + len(self.refused)
            assert len(rows) == self.accepted - settled - ledger.dropped_by_queue

    def teardown(self):
        if not hasattr(self, "box"):
            return
        try:
            self.let_all_through()
            assert self.box.close()
            ledger = assert_file_agrees(self.path)
            assert (ledger.enqueued, ledger.delivered) == (self.accepted, len(self.acked))
            assert (ledger.dropped_by_refusal, ledger.dropped_by_damage) == (len(self.refused), 0)
        finally:
            self.disk.is_held = self.disk.is_away = False
            self.box.close()
            outbox_module.RETRY_S, outbox_module.GROUP_COMMIT_S = self.retry_s, self.group_commit_s
            shutil.rmtree(self.folder)


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    phases=[
        Phase.reuse,
        Phase.generate,
    ],  # shrinking a history takes minutes, it waits for a thread at every step
)
