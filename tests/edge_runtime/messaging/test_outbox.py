"""outbox: durable, bounded, exactly accounted; with a real file, a real kill -9 and a really full disk."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc

import pytest
import structlog

from edge_runtime.errors import StateError
from edge_runtime.messaging.outbox import salvage, store
from edge_runtime.messaging.outbox.outbox import Outbox, OutboxLimits
from edge_runtime.messaging.outbox.store import Store
from edge_runtime.system.supervised_thread import Crashes
from tests.support.outbox_accounts import assert_balanced, assert_file_agrees
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S, until

pytestmark = pytest.mark.integration


def payload(number, size=100):
    return json.dumps({"seq": number}).encode().ljust(size)


def numbers(rows):
    return [json.loads(row.payload)["seq"] for row in rows]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "outbox.db"


def opened(path, **limits):
    clocks = {name: limits.pop(name) for name in ("monotonic", "wall") if name in limits}
    return Outbox(path, Crashes(), OutboxLimits(**limits), **clocks)


def test_rows_come_back_in_order_and_leave_when_acknowledged(path):
    box = opened(path)
    for number in range(50):
        assert box.put(f"edge/d/result/s{number % 2}", payload(number))
    assert box.flush(WAIT_S)
    rows = box.fetch(0, 100)
    assert numbers(rows) == list(range(50))
    assert rows[1].topic == "edge/d/result/s1"
    assert numbers(box.fetch(rows[9].id, 5)) == [10, 11, 12, 13, 14]
    box.ack(row.id for row in rows[:20])
    assert numbers(box.fetch(0, 100)) == list(range(20, 50))
    assert box.close()
    ledger = assert_file_agrees(path)
    assert (ledger.enqueued, ledger.delivered, ledger.pending) == (50, 20, 30)


def test_acknowledged_rows_do_not_hide_the_ones_behind_them(path):
    box = opened(path)
    for number in range(100):
        box.put("t", payload(number))
    box.flush(WAIT_S)
    box.ack(row.id for row in box.fetch(0, 60))
    assert numbers(box.fetch(0, 20)) == list(range(60, 80))
    box.close()


def test_everything_is_still_there_after_a_restart(path):
    box = opened(path)
    for number in range(10):
        box.put("t", payload(number))
    box.close()
    box = opened(path)
    rows = box.fetch(0, 100)
    box.put("t", payload(10))
    box.flush(WAIT_S)
    assert numbers(rows) == list(range(10))
    assert box.last_id > rows[-1].id
    assert numbers(box.fetch(rows[-1].id, 5)) == [10]
    box.close()


FIRST_RELEASE = """
    CREATE TABLE waiting(
        id INTEGER PRIMARY KEY, stored_at_s REAL NOT NULL, size_bytes INTEGER NOT NULL,
        topic TEXT NOT NULL, payload BLOB NOT NULL);
    CREATE TABLE ledger(
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        enqueued INTEGER NOT NULL, delivered INTEGER NOT NULL, dropped_by_size INTEGER NOT NULL,
        dropped_by_age INTEGER NOT NULL, dropped_by_queue INTEGER NOT NULL, dropped_by_refusal INTEGER NOT NULL,
        dropped_by_damage INTEGER NOT NULL, pending INTEGER NOT NULL, pending_bytes INTEGER NOT NULL,
        files_damaged INTEGER NOT NULL, next_id INTEGER NOT NULL, clock_s REAL NOT NULL, wall_s REAL NOT NULL);
    INSERT INTO waiting VALUES (41, 0.5, 72, 'topic', X'01'), (42, 0.5, 72, 'topic', X'02');
    INSERT INTO ledger VALUES (1, 30, 7, 1, 2, 3, 4, 11, 2, 144, 1, 43, 100.0, 1000.0);
    PRAGMA user_version = 1;
"""


def test_a_file_of_the_first_release_keeps_its_rows_and_counts(path):
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.executescript(FIRST_RELEASE)
    db.close()
    box = opened(path, wall=lambda: 1010.0, monotonic=lambda: 5.0)
    rows = box.fetch(0, 9)
    assert [(row.id, row.topic, row.payload) for row in rows] == [
        (41, "topic", b"\x01"),
        (42, "topic", b"\x02"),
    ]
    assert box._clock_s() - rows[0].stored_at_s == pytest.approx(109.5)
    box.put("t", payload(0))
    box.ack([41])
    assert box.close()
    ledger = assert_file_agrees(path)
    assert (ledger.enqueued, ledger.delivered, ledger.pending, ledger.next_id) == (31, 8, 2, 44)
    assert (ledger.dropped_by_size, ledger.dropped_by_age, ledger.dropped_by_queue) == (1, 2, 3)
    assert (ledger.dropped_by_refusal, ledger.dropped_by_damage, ledger.files_damaged) == (4, 11, 1)


def test_a_writer_that_fails_at_close_does_not_end_the_daemon_and_closes_the_file(path, monkeypatch):
    tries, closed, reasons = [], [], []
    close_file = Store.close

    def fail(*args):
        tries.append(args)
        raise RuntimeError("bug")

    def close(store):
        closed.append(store)
        close_file(store)

    box = Outbox(path, Crashes(reasons.append))
    monkeypatch.setattr(Store, "commit", fail)
    monkeypatch.setattr(Store, "close", close)
    box.put("t", payload(1))
    assert not box.close(WAIT_S)
    assert len(closed) == len({store for store, *_ in tries})
    assert len(tries) < 5
    assert reasons == []


def test_put_after_close_is_refused_and_close_is_idempotent(path):
    box = opened(path)
    assert box.close()
    assert not box.put("t", b"{}")
    assert box.close()
    assert_file_agrees(path)


def test_what_is_delivered_at_once_never_reaches_the_disk_and_is_counted(path):
    box = opened(path)
    assert until(path.exists)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE written (id)")
        db.execute("CREATE TRIGGER w AFTER INSERT ON waiting BEGIN INSERT INTO written VALUES (NEW.id); END")
    db.close()
    box.listen(lambda: box.ack([row.id for row in box.fetch(0, 10)]))  # in the thread that puts
    for number in range(20):
        box.put("t", payload(number))
    box.listen(lambda: None)
    box.put("t", payload(20))
    assert box.flush(WAIT_S)
    assert numbers(box.fetch(0, 10)) == [20]
    ledger = box.ledger()
    assert (ledger.enqueued, ledger.delivered, ledger.pending) == (21, 20, 1)
    box.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT id FROM written").fetchall() == [(21,)]
    db.close()
    assert assert_file_agrees(path).delivered == 20


def test_the_account_of_what_was_delivered_from_memory_is_kept_within_seconds(path):
    box = opened(path)
    box.put("t", payload(1))
    box.ack([row.id for row in box.fetch(0, 10)])
    assert until(lambda: assert_file_agrees(path).delivered == 1)
    box.close()


def test_rows_on_the_disk_come_before_those_in_memory(path):
    box = opened(path)
    box.put("t", payload(0))
    assert box.flush(WAIT_S)
    box.put("t", payload(1))
    assert numbers(box.fetch(0, 10)) == [0, 1]
    assert numbers(box.fetch(0, 1)) == [0]
    assert numbers(box.fetch(box.last_id - 1, 10)) == [1]
    box.close()


def test_the_listener_is_called_for_new_rows(path):
    box, called = opened(path), threading.Event()
    box.listen(called.set)
    box.put("t", payload(1))
    assert called.wait(WAIT_S)
    assert numbers(box.fetch(0, 1)) == [1]
    box.close()


def test_drops_oldest_by_size_and_counts(path):
    box = opened(path, max_bytes=2_000)
    for number in range(100):
        box.put("t", payload(number, 135))  # 135 + 1 + 64 bytes of overhead: ten fit
    box.flush(WAIT_S)
    ledger = box.ledger()
    assert numbers(box.fetch(0, 100)) == list(range(90, 100))
    assert (ledger.dropped_by_size, ledger.pending, ledger.pending_bytes) == (90, 10, 2_000)
    box.close()
    assert_file_agrees(path)


def test_the_file_stays_near_its_bound(path):
    box = opened(path, max_bytes=1_000_000)
    for number in range(20_000):
        box.put("edge/device/result/stream", payload(number, 300))
        if number % 500 == 0:
            box.flush(WAIT_S)
    box.flush(WAIT_S)
    box.close()
    assert path.stat().st_size <= 1_250_000


def test_rows_that_are_too_old_go_and_are_counted(path):
    now = [1000.0]
    box = opened(path, max_age_s=60.0, monotonic=lambda: now[0], wall=lambda: now[0])
    box.put("t", payload(0))
    box.flush(WAIT_S)
    now[0] += 59.0
    box.put("t", payload(1))
    box.flush(WAIT_S)
    assert numbers(box.fetch(0, 9)) == [0, 1]
    now[0] += 2.0
    assert until(lambda: box.ledger().dropped_by_age == 1)
    assert numbers(box.fetch(0, 9)) == [1]
    assert box._clock_s() - box.fetch(0, 1)[0].stored_at_s == pytest.approx(2.0)
    box.close()
    assert_file_agrees(path)


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0, -1_795_448_459.0])
def test_a_wall_clock_that_jumps_while_running_expires_nothing(path, jump_s):
    wall = [1_795_448_459.0]
    box = opened(path, max_age_s=60.0, monotonic=lambda: 5.0, wall=lambda: wall[0])
    box.put("t", payload(0))
    box.flush(WAIT_S)
    wall[0] += jump_s
    box.put("t", payload(1))
    box.flush(WAIT_S)
    assert numbers(box.fetch(0, 9)) == [0, 1]
    box.close()


@pytest.mark.parametrize(("slept_s", "left"), [(50.0, [0]), (70.0, [0]), (3.2e8, [0]), (-1e9, [0])])
def test_a_wall_clock_that_jumps_between_two_runs_expires_nothing(path, slept_s, left):
    box = opened(path, max_age_s=60.0, monotonic=lambda: 5.0, wall=lambda: 1e9)
    box.put("t", payload(0))
    box.close()
    box = opened(path, max_age_s=60.0, monotonic=lambda: 0.0, wall=lambda: max(0.0, 1e9 + slept_s))
    box.put("other", payload(1))
    box.flush(WAIT_S)
    assert numbers(row for row in box.fetch(0, 9) if row.topic == "t") == left
    box.close()


def test_refused_rows_are_dropped_and_counted(path):
    box = opened(path)
    box.put("t", payload(0))
    box.flush(WAIT_S)
    box.refuse([box.fetch(0, 1)[0].id])
    box.ack([12345])  # unknown: ignored
    assert box.fetch(0, 1) == []
    box.close()
    assert assert_file_agrees(path).dropped_by_refusal == 1


def test_a_full_queue_drops_the_oldest_and_put_does_not_wait(path):
    box = opened(path, max_queue_rows=10)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # the file is busy: the writer waits, the pipeline must not
    kept = [box.put("t", payload(number)) for number in range(100)]  # waiting would be a deadlock
    ledger = box.ledger()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert not all(kept)
    assert ledger.dropped_by_queue == kept.count(False) >= 89
    assert_balanced(ledger)
    assert until(lambda: len(box._account.queue) == 0)
    assert numbers(box.fetch(0, 100))[-9:] == list(range(91, 100))
    box.close()
    assert_file_agrees(path)


def test_what_was_delivered_while_the_disk_is_stuck_is_not_counted_as_dropped(path):
    box = opened(path, max_queue_rows=10)
    box.listen(lambda: box.ack([row.id for row in box.fetch(box.last_id - 1, 10)]))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    assert all(box.put("t", payload(number)) for number in range(100))
    blocker.execute("ROLLBACK")
    blocker.close()
    box.close()
    ledger = assert_file_agrees(path)
    assert (ledger.enqueued, ledger.delivered, ledger.dropped) == (100, 100, 0)


def test_fetch_never_misses_rows_that_a_commit_moves_from_memory_to_the_file(path):
    box, stop = opened(path), threading.Event()

    def keep_committing():
        while not stop.is_set():
            for _ in range(200):  # so that a commit always finds rows that were not fetched yet
                box.put("t", b"{}")
            box.flush(WAIT_S)

    writer, switch_s = threading.Thread(target=keep_committing), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads meet at every line
    try:
        writer.start()
        after_id, end_s = 0, time.monotonic() + 2.0
        while time.monotonic() < end_s:
            last_id = box.last_id
            ids = [row.id for row in box.fetch(after_id, 1)]
            assert ids == list(range(after_id + 1, after_id + 1 + len(ids)))
            assert ids or last_id <= after_id
            after_id = ids[-1] if ids else after_id
    finally:
        stop.set()
        writer.join()
        sys.setswitchinterval(switch_s)
    assert after_id > 20
    box.close()


def test_many_threads_lose_nothing(path):
    box = opened(path, max_queue_rows=100_000)
    threads = [
        threading.Thread(target=lambda stream=stream: [box.put(f"s{stream}", payload(n)) for n in range(500)])
        for stream in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert box.flush(WAIT_S)
    rows = box.fetch(0, 10_000)
    for stream in range(4):
        assert numbers(row for row in rows if row.topic == f"s{stream}") == list(range(500))
    box.close()


def test_many_runs_in_a_row_age_a_row(path):
    wall = [1e9]
    for _ in range(30):
        box = opened(path, max_age_s=60.0, monotonic=lambda: 5.0, wall=lambda: wall[0])
        box.put("t", payload(0))
        assert box.close()
        wall[0] += 70.0
    assert box.ledger().dropped_by_age > 0


def damage_file(path, damage):
    """What happens to a closed outbox file of 200 rows."""
    content = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(b"\0garbage" * 1000)
        case "short":
            path.write_bytes(content[:100])
        case "empty":
            path.write_bytes(b"")
        case "header":
            path.write_bytes(b"X" + content[1:])
        case "half cut":
            path.write_bytes(content[: len(content) // 2])
        case "half garbage":
            path.write_bytes(content[:12_288] + b"\xff" * (len(content) - 12_288))
        case "one page garbage":
            middle = len(content) // 8192 * 4096
            path.write_bytes(content[:middle] + b"\xff" * 4096 + content[middle + 4096 :])
        case "journal garbage":
            path.with_name(f"{path.name}-wal").write_bytes(b"\xff" * 8000)
        case _:
            statement = {
                "no rows table": "DROP TABLE waiting",
                "no ledger table": "DROP TABLE ledger",
                "unknown version": "PRAGMA user_version = -1",
                "empty ledger": "DELETE FROM ledger",
                "two bad rows": "UPDATE waiting SET topic = CAST(x'ff' AS TEXT) WHERE id IN (5, 100)",
                "next id": "UPDATE ledger SET next_id = 1",
                "next id text": "UPDATE ledger SET next_id = 'abc'",
                "pending": "UPDATE ledger SET pending = 999699",
            }[damage]
            with sqlite3.connect(path) as db:
                db.execute(statement)
            db.close()


@pytest.mark.parametrize(
    ("damage", "least_saved", "most_saved"),
    [
        ("garbage", 0, 0),
        ("short", 0, 0),
        ("empty", 0, 0),
        ("header", 200, 200),
        ("half cut", 0, 199),
        ("half garbage", 0, 199),
        ("one page garbage", 150, 199),
        ("journal garbage", 200, 200),
        ("no rows table", 0, 0),
        ("no ledger table", 200, 200),
        ("unknown version", 200, 200),
        ("empty ledger", 200, 200),
        ("two bad rows", 198, 198),
        ("next id", 200, 200),
        ("next id text", 200, 200),
        ("pending", 200, 200),
    ],
)
def test_damage_of_any_form_costs_what_cannot_be_read_and_is_said(path, damage, least_saved, most_saved):
    box = opened(path)
    for number in range(200):
        box.put("t", payload(number, 1000))
    assert box.close()
    damage_file(path, damage)
    with structlog.testing.capture_logs() as logged:
        box = opened(path)

        box.fetch(0, 500)
        assert until(lambda: box.problem is None)
        box.put("t", payload(200))
        assert box.flush(WAIT_S)
        assert until(lambda: numbers(box.fetch(0, 500))[-1:] == [200] and box.problem is None)
        saved = numbers(box.fetch(0, 500))[:-1]
        assert least_saved <= len(saved) <= most_saved
        assert saved == sorted(set(saved))
        assert box.close()
    assert [line for line in logged if line["log_level"] == "error"]
    ledger = assert_file_agrees(path)
    assert ledger.pending == len(saved) + 1
    if damage not in ("garbage", "short", "empty", "journal garbage", "no ledger table"):
        assert ledger.dropped_by_damage in (200 - len(saved), 0 if len(saved) == 200 else -1, 999_499)
    box = opened(path)
    assert numbers(box.fetch(0, 500)) == [*saved, 200]
    assert box.close()


def test_a_file_of_a_newer_version_is_left_as_it_is_and_the_start_is_refused(path):
    box = opened(path)
    box.put("t", payload(1))
    assert box.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="newer version"):
        opened(path)
    assert path.read_bytes() == before
    assert list(path.parent.glob("*damaged*")) == []


def test_damaged_files_are_kept_as_long_as_they_are_small_together(path, monkeypatch):
    monkeypatch.setattr(salvage, "KEPT_DAMAGED_BYTES", 25_000)
    for wall_s in (1000.0, 1000.0, 2000.0, 3000.0):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"garbage" * 1500)
        opened(path, wall=lambda wall_s=wall_s: wall_s).close()
    kept = sorted(p.name for p in path.parent.glob("*damaged*"))
    assert kept == ["outbox.db.damaged-2000", "outbox.db.damaged-3000"]


def fill_and_damage(path, rows, size, damage):
    box = opened(path, max_queue_bytes=2**30)
    for number in range(rows):
        box.put("t", payload(number, size))
    assert box.flush(WAIT_S)
    assert box.close()
    damage_file(path, damage)


def test_the_rows_of_a_damaged_file_are_saved_one_at_a_time(path):
    fill_and_damage(path, 40, 2**19, "unknown version")
    tracemalloc.start()
    found = salvage.open_or_replace(path, 1000.0, None)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found.store.close()
    assert found.ledger.pending == 40
    assert most_bytes < 4 * 2**20  # of 20 MiB


@pytest.mark.parametrize("fails", ["_move_aside", "_salvage"])
@pytest.mark.parametrize("damage", ["unknown version", "no ledger table"])
def test_a_kill_while_a_damaged_file_is_replaced_loses_no_row(path, monkeypatch, fails, damage):
    fill_and_damage(path, 200, 1000, damage)
    real = getattr(salvage, fails)

    def kill_after(*arguments):
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(salvage, fails, kill_after)
        with pytest.raises(KeyboardInterrupt):
            salvage.open_or_replace(path, 1000.0, None)
    box = opened(path)
    assert len(numbers(box.fetch(0, 500))) == 200
    assert box.ledger().files_damaged == 1
    assert box.close()
    assert_file_agrees(path)
    assert not path.with_name("outbox.db.new").exists()


@pytest.mark.parametrize("kept", [0, 1, 57, 199])
def test_a_disk_that_is_full_saves_what_fits_and_counts_the_rest(path, monkeypatch, kept):
    monkeypatch.setattr(salvage, "BATCH_BYTES", 1)
    fill_and_damage(path, 200, 1000, "unknown version")
    create = salvage._create

    def create_on_a_small_disk(fresh):
        target = create(fresh)
        pages = target.execute("PRAGMA page_count").fetchone()[0]
        target.execute(f"PRAGMA max_page_count = {pages + kept // 3}")
        return target

    monkeypatch.setattr(salvage, "_create", create_on_a_small_disk)
    found = salvage.open_or_replace(path, 1000.0, None)
    found.store.close()
    assert 0 <= found.ledger.pending < 200
    assert found.ledger.pending + found.ledger.dropped_by_damage == found.ledger.enqueued == 200
    assert_file_agrees(path)


def test_the_damaged_file_is_kept_as_it_was_found(path):
    fill_and_damage(path, 200, 1000, "half cut")
    found = path.read_bytes()
    salvage.open_or_replace(path, 1000.0, None).store.close()
    assert path.with_name("outbox.db.damaged-1000").stat().st_size == len(found)


@pytest.mark.parametrize("name", ["outbox.db", "outbox.db.account"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(path, name):
    opened(path).close()
    path.with_name(name).unlink()
    os.mkfifo(path.with_name(name))
    boxes = []
    opening = threading.Thread(target=lambda: boxes.append(opened(path)), daemon=True)
    opening.start()
    opening.join(WAIT_S)
    (box,) = boxes
    assert box.put("t", payload(0))
    assert numbers(box.fetch(0, 10)) == [0]
    assert (box.problem is None) == box.flush(2.0) == (name != "outbox.db")
    box.close(0.1)


def test_what_a_file_counted_before_is_no_news_when_it_opens_only_later(path):
    box = opened(path)
    box.put("t", payload(0))
    box.ack([row.id for row in box.fetch(0, 10)])
    box.close()
    away = path.with_name("away")
    path.rename(away)
    os.mkfifo(path)
    box = opened(path)
    box.put("t", payload(1))
    away.replace(path)
    assert box.flush(WAIT_S)
    assert (box.ledger().enqueued, box.ledger().delivered) == (2, 1)
    assert (box.ledger_at_start.enqueued, box.ledger_at_start.delivered) == (1, 1)
    box.close()


def test_a_folder_among_the_damaged_files_is_left_alone(path, monkeypatch):
    monkeypatch.setattr(salvage, "KEPT_DAMAGED_FILES", 0)
    (path.parent / "outbox.db.damaged-x" / "inside").mkdir(parents=True)
    path.write_bytes(b"garbage" * 1500)
    salvage.open_or_replace(path, 1000.0, None).store.close()
    assert (path.parent / "outbox.db.damaged-x" / "inside").is_dir()


def test_large_rows_are_read_a_few_at_a_time(path, monkeypatch):
    monkeypatch.setattr(store, "READ_BYTES", 3000)
    box = opened(path)
    for number in range(20):
        box.put("t", payload(number, 1000))
    assert box.flush(WAIT_S)
    box.put("t", payload(20))
    first = box.fetch(0, 100)
    assert numbers(first) == [0, 1, 2]
    seen, after_id = [], 0
    while rows := box.fetch(after_id, 100):
        seen += numbers(rows)
        after_id = rows[-1].id
    assert seen == list(range(21))
    box.close()


def test_a_place_that_cannot_be_used_is_refused_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    with pytest.raises(StateError):
        Outbox(tmp_path / "file" / "outbox.db", Crashes())
    with pytest.raises(StateError):
        Outbox(tmp_path / "directory", Crashes())


CHILD = """
    import json, sys
    from pathlib import Path
    from edge_runtime.messaging.outbox.outbox import Outbox, OutboxLimits
    from edge_runtime.system.supervised_thread import Crashes
    box = Outbox(Path(sys.argv[1]), Crashes(), OutboxLimits(max_bytes=150_000))
    number = int(sys.argv[2])
    while True:
        box.put("t", json.dumps({"seq": number}).encode().ljust(200))
        number += 1
        if number % 50 == 0:
            box.flush(60)
            print(number, flush=True)
            box.ack([row.id for row in box.fetch(0, 30)])
            if number % 400 == 0:
                box.put("other", b"x" * 20_000)
"""


def child(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_the_account_holds_after_kill_9_at_any_moment(path):
    seen = 0
    for round_ in range(5):
        with child(CHILD, path, seen) as process:
            for _ in range(3 + 4 * round_):
                seen = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            seen = max([seen, *map(int, process.stdout)])
        ledger = assert_file_agrees(path)
        assert ledger.enqueued >= seen
        box = opened(path)
        rows = [row for row in box.fetch(0, 10_000) if row.topic == "t"]
        box.close()
        assert numbers(rows)[-1] >= seen - 1  # what flush confirmed survived
        assert numbers(rows) == sorted(set(numbers(rows)))
        seen = numbers(rows)[-1] + 1


FULL_DISK = """
    import json, resource, sys, threading
    from pathlib import Path
    from edge_runtime.messaging.outbox.outbox import Outbox
    from edge_runtime.system.supervised_thread import Crashes
    from edge_runtime.system.log import configure_log
    configure_log()  # to standard error: standard output is the report
    tick = threading.Event()
    def limit(size):  # like a full disk, for this process only: writes beyond it fail
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    def take():
        global after
        rows = box.fetch(after, 100)
        after = rows[-1].id if rows else after
        box.ack([row.id for row in rows])
        return [json.loads(row.payload)["seq"] for row in rows]
    def put(number):
        box.put("t", json.dumps({"seq": number}).encode().ljust(2000))
    after, got, number = 0, [], 0
    if sys.argv[2] == "from the start":
        limit(0)
    box = Outbox(Path(sys.argv[1]), Crashes())
    put(number)
    limit(0 if sys.argv[2] == "from the start" else 150_000)
    while box.problem is None and number < 3000:
        number += 1
        put(number)
        tick.wait(0.001)
    failed_at, was_durable = number, box.problem is None
    while len(got) <= failed_at + 300:  # live results keep flowing while nothing can be written
        number += 1
        put(number)
        tick.wait(0.001)
        got += take()
        assert number < 5_000, (failed_at, got[-5:])
    limit(resource.RLIM_INFINITY)
    for _ in range(500):
        if box.problem is None:
            break
        tick.wait(0.01)
    put(number + 1)
    flushed = box.flush(60)
    got += take()
    box.close()
    ledger = box.ledger()
    print(json.dumps({"got": got, "last": number + 1, "was_durable": was_durable, "flushed": flushed,
        "dropped": ledger.dropped, "delivered": ledger.delivered, "pending": ledger.pending}))
"""


@pytest.mark.parametrize("when", ["later", "from the start"])
def test_a_full_disk_stops_no_results_and_needs_no_restart(path, when):
    with child(FULL_DISK, path, when) as process:
        report = json.loads(process.stdout.read())
    assert report["got"] == list(range(report["last"] + 1))
    assert (report["was_durable"], report["flushed"], report["dropped"], report["pending"]) == (
        False,
        True,
        0,
        0,
    )
    ledger = assert_file_agrees(path)
    assert (ledger.enqueued, ledger.delivered) == (report["last"] + 1,) * 2
