"""file_sink: lines, syncs, rotations and failures of the local file."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edge_runtime.messaging.outbox.ledger import Row
from edge_runtime.messaging.sinks.file_sink import QUICK_SYNC_S, UNWRITTEN_BYTES, FileSink
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def slow_disk(monkeypatch):
    """A clock that each sync moves on by more than a quick one takes."""
    clock, sync = Clock(), os.fsync

    def sync_slowly(handle):
        clock.now_s += 2 * QUICK_SYNC_S
        sync(handle)

    monkeypatch.setattr(os, "fsync", sync_slowly)
    return clock


def rows(*numbers):
    return [Row(number, "edge/d/result/s", json.dumps({"seq": number}).encode(), 0.0) for number in numbers]


def send(sink, *numbers):
    for row in rows(*numbers):
        assert sink.send(row)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "results.jsonl"


def test_rows_count_as_delivered_at_once_on_a_quick_disk(path):
    sink = FileSink(path, max_bytes=2**20, monotonic=Clock())
    for number in (1, 2):
        send(sink, number)
        assert sink.poll().delivered == [number]
    sink.close(1.0)


def test_lines_can_be_read_at_once_and_count_as_delivered_after_a_sync(path, slow_disk):
    sink = FileSink(path, max_bytes=2**20, monotonic=slow_disk)
    send(sink, 1)
    assert sink.poll().delivered == [1]
    send(sink, 2)
    assert sink.poll().delivered == []
    assert lines(path) == [{"topic": "edge/d/result/s", "payload": {"seq": number}} for number in (1, 2)]
    slow_disk.now_s += 1.0
    assert sink.poll().delivered == [2]
    send(sink, 3)
    assert sink.close(1.0).delivered == [3]
    assert len(lines(path)) == 3


def test_in_a_hurry_every_poll_syncs(path):
    sink = FileSink(path, max_bytes=2**20, monotonic=Clock())
    send(sink, 1)
    assert sink.poll().delivered == [1]
    sink.hurry()
    send(sink, 2)
    assert sink.poll().delivered == [2]
    sink.close(1.0)


def test_a_payload_that_is_no_json_is_kept_as_text(path):
    sink = FileSink(path, max_bytes=2**20)
    sink.send(Row(1, "t", b'{"half": \n', 0.0))
    sink.close(1.0)
    assert lines(path) == [{"topic": "t", "payload": '{"half": \n'}]


def test_the_file_is_rotated_and_bounded(path):
    sink = FileSink(path, max_bytes=500, sync_every_s=0.0)
    for number in range(100):
        send(sink, number)
        sink.poll()
    sink.close(1.0)
    names = sorted(p.name for p in path.parent.iterdir())
    assert names in (
        ["results.jsonl", "results.jsonl.1", "results.jsonl.2"],
        ["results.jsonl.1", "results.jsonl.2"],
    )
    assert all(p.stat().st_size < 600 for p in path.parent.iterdir())
    newest = path if path.exists() else path.with_name("results.jsonl.1")
    assert lines(newest)[-1]["payload"]["seq"] == 99


def test_closing_after_a_rotation_does_not_rotate_again(path):
    for number in (1, 2):
        sink = FileSink(path, max_bytes=10, sync_every_s=0.0)
        send(sink, number)
        assert sink.poll().delivered == [number]
        sink.close(1.0)
        assert sink.problem is None
    kept = [Path(f"{path}.{number}") for number in (1, 2)]
    assert [[line["payload"]["seq"] for line in lines(one)] for one in kept] == [[2], [1]]


def test_a_rotation_that_fails_writes_no_row_twice_and_the_file_stays_bounded(path):
    in_the_way = Path(f"{path}.2")
    (in_the_way / "folder").mkdir(parents=True)
    clock = Clock()
    sink = FileSink(path, max_bytes=40, monotonic=clock)
    waiting, sizes, problems = list(range(6)), [], []

    def deliver_for(polls):
        for _ in range(polls):
            clock.now_s += 1.1
            send(sink, *waiting[:1])
            delivered = sink.poll().delivered
            waiting[:] = [number for number in waiting if number not in delivered]
            sizes.append(path.stat().st_size if path.exists() else 0)
            problems.append(sink.problem)

    deliver_for(polls=10)
    assert (waiting, "results.jsonl" in problems[-1]) == ([2, 3, 4, 5], True)
    written = [line["payload"]["seq"] for kept in (Path(f"{path}.1"), path) for line in lines(kept)]
    assert written == [0, 1]
    in_the_way.rename(f"{path}.away")
    deliver_for(polls=4)
    assert (waiting, problems[-1]) == ([], None)
    assert max(sizes) < 100


def test_half_a_line_left_by_a_crash_is_cut_off(path):
    path.parent.mkdir()
    path.write_bytes(b'{"topic": "t", "payload": 1}\n{"topic": "t", "pay')
    sink = FileSink(path, max_bytes=2**20)
    send(sink, 2)
    sink.close(1.0)
    assert [line["payload"] for line in lines(path)] == [1, {"seq": 2}]


def test_a_removed_file_is_made_again(path):
    sink = FileSink(path, max_bytes=2**20, sync_every_s=0.0)
    send(sink, 1)
    sink.poll()
    path.unlink()
    send(sink, 2)
    assert sink.poll().delivered == [2]
    assert [line["payload"]["seq"] for line in lines(path)] == [2]
    sink.close(1.0)


def test_a_place_that_cannot_be_written_is_a_problem_and_is_tried_again(path):
    clock = Clock()
    path.parent.write_text("in the way")
    sink = FileSink(path, max_bytes=2**20, monotonic=clock)
    before = sink.epoch
    send(sink, 1)
    assert sink.poll().delivered == []
    assert sink.epoch is None
    assert "results.jsonl" in sink.problem
    path.parent.unlink()
    clock.now_s += 1.1
    assert sink.epoch not in (None, before)
    send(sink, 1)
    assert sink.poll().delivered == [1]
    assert sink.problem is None
    sink.close(1.0)


FULL_DISK = """
    import json, resource, sys
    from pathlib import Path
    from edge_runtime.messaging.outbox.ledger import Row
    from edge_runtime.messaging.sinks.file_sink import QUICK_SYNC_S, UNWRITTEN_BYTES, FileSink
    from edge_runtime.system.log import configure_log
    configure_log()  # to standard error: standard output is the report
    now = [0.0]
    sink = FileSink(Path(sys.argv[1]), max_bytes=2**20, sync_every_s=0.0, monotonic=lambda: now[0])
    delivered = []
    def send(number):
        sink.send(Row(number, "t", json.dumps({"seq": number}).encode(), 0.0))
        delivered.extend(sink.poll().delivered)
    send(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, resource.RLIM_INFINITY))  # half of the next line fits
    send(2)
    problem = sink.problem
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    now[0] += 2.0
    send(2)
    sink.close(1.0)
    print(json.dumps([delivered, problem]))
"""


@pytest.mark.integration
def test_a_full_disk_leaves_no_half_line_and_no_double_line(path):
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=WAIT_S, check=True)
    delivered, problem = json.loads(done.stdout)
    assert delivered == [1, 2]
    assert problem is not None
    assert [line["payload"]["seq"] for line in lines(path)] == [1, 2]


@pytest.mark.parametrize("creates_a_new_one", [False, True])
def test_a_file_that_was_renamed_is_left_and_the_next_lines_come_under_the_configured_name(
    path, creates_a_new_one, slow_disk
):
    sink = FileSink(path, max_bytes=2**20, monotonic=slow_disk)
    for round_ in range(3):
        send(sink, round_)
        sink.poll()
        path.rename(path.with_name(f"old-{round_}"))
        if creates_a_new_one:
            path.touch()
    send(sink, 3)
    slow_disk.now_s += 1.0
    assert sink.poll().delivered == [1, 2, 3]
    names = [path.with_name(f"old-{round_}") for round_ in range(3)] + [path]
    assert [[line["payload"]["seq"] for line in lines(name)] for name in names] == [[0], [1], [2], [3]]
    sink.close(1.0)


def test_large_rows_are_taken_a_few_at_a_time(path):
    sink = FileSink(path, max_bytes=2**30)
    payload = b'"' + bytes(UNWRITTEN_BYTES // 2).replace(b"\0", b"x") + b'"'
    taken = 0
    while sink.capacity():
        taken += 1
        sink.send(Row(taken, "t", payload, 0.0))
    assert taken == 2
    assert sink.poll().delivered == [1, 2]
    assert sink.capacity() > 0
    sink.close(1.0)
