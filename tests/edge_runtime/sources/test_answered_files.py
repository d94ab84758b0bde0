"""What a watched folder remembers: across restarts, replaced files, damage and full disks, and how much it takes."""

import os
import resource
import threading
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_runtime.sources.answered_files import MAX_ABSENT, AnsweredFiles, FileStamp


def stamp(name="a.jpg", size=100, mtime_ns=1_000, inode=7, ctime_ns=2_000):
    fields = [0o100644, inode, 0, 1, 0, 0, size, 0, mtime_ns / 1e9, 0]
    status = os.stat_result(
        fields, {"st_mtime_ns": mtime_ns, "st_ctime_ns": ctime_ns, "st_mtime": mtime_ns / 1e9}
    )
    return FileStamp.of(name, status)


def stamps(count, prefix=""):
    return [stamp(f"{prefix}{number}.jpg", inode=number) for number in range(count)]


@dataclass
class Outbox:
    """Marks are numbers; what is up to ``kept`` would survive a kill."""

    now: int = 0
    kept: int = 0
    marks: list[int] = field(default_factory=list)

    def mark(self):
        self.now += 1
        return self.now

    def open(self, path):
        return AnsweredFiles(path, mark=self.mark, is_kept=lambda mark: mark <= self.kept)


def reopened(path):
    return AnsweredFiles(path)


@pytest.mark.parametrize(
    ("other", "is_known"),
    [
        ({}, True),
        ({"name": "b.jpg"}, False),
        ({"name": "day/a.jpg"}, False),
        ({"size": 101}, False),
        ({"mtime_ns": 1_001}, False),
        ({"mtime_ns": 0}, False),  # older, as after the clock was set back
        ({"mtime_ns": -5_000_000_000}, False),
        ({"inode": 8}, True),  # FAT and shares give another inode at each mount
        ({"ctime_ns": 2_001}, True),  # chmod
        ({"inode": 8, "ctime_ns": 2_001}, False),  # another file that kept size and time
        ({"inode": 2**63, "ctime_ns": 2_000}, True),
        ({"name": "a\udce9.jpg"}, False),
        ({"size": 2**40}, False),
    ],
)
def test_what_counts_as_the_same_picture(tmp_path, other, is_known):
    answered = AnsweredFiles(tmp_path / "f")
    answered.settle(stamp())
    answered.close()
    assert (stamp(**other) in reopened(tmp_path / "f")) is is_known


def test_only_what_is_safe_in_the_outbox_is_recorded(tmp_path):
    path, outbox = tmp_path / "f", Outbox()
    answered = outbox.open(path)
    files = stamps(4)
    for one in files:
        answered.settle(one)
    outbox.kept = 2
    answered.save(10.0)
    assert [one in answered for one in files] == [True] * 4  # not again in this run
    assert [one in reopened(path) for one in files] == [True, True, False, False]  # but after a kill
    outbox.kept = 4
    answered.save(10.5)
    assert files[3] not in reopened(path)  # at most once a second
    answered.save(11.1)
    assert all(one in reopened(path) for one in files)


def damaged(content, kind):
    records = len(content) - 16
    match kind:
        case "cut within a record":
            return content[:-7]
        case "cut at a record":
            return content[:-20]
        case "a bit turned":
            return content[:40] + bytes([content[40] ^ 1]) + content[41:]
        case "zeros in the middle":
            return content[:116] + bytes(200) + content[316:]
        case "zeros behind":
            return content + bytes(4096)
        case "other header":
            return b"x" * 16 + content[16:]
        case "cut within the header":
            return content[:9]
        case "all zeros":
            return bytes(16 + records)
        case "text behind":
            return content + b"hello"
        case "empty":
            return b""


@pytest.mark.parametrize(
    ("kind", "at_least"),
    [
        ("cut within a record", 99), ("cut at a record", 99), ("a bit turned", 99), ("zeros in the middle", 89),
        ("zeros behind", 100), ("other header", 100), ("cut within the header", 0), ("all zeros", 0),
        ("text behind", 100), ("empty", 0),
    ],
)  # fmt: skip
def test_damage_costs_what_it_hits_and_the_file_is_good_again(tmp_path, kind, at_least):
    path, files = tmp_path / "f", stamps(100)
    answered = AnsweredFiles(path)
    for one in files:
        answered.settle(one)
    answered.close()
    path.write_bytes(damaged(path.read_bytes(), kind))
    answered = AnsweredFiles(path)
    known = sum(one in answered for one in files)
    assert at_least <= known <= 100
    assert stamp("never seen") not in answered
    answered.settle(stamp("new"))
    answered.close()
    again = reopened(path)
    assert (sum(one in again for one in files), stamp("new") in again) == (known, True)
    assert (len(path.read_bytes()) - 16) % 20 == 0


def test_a_full_disk_loses_nothing_and_is_tried_again(tmp_path, monkeypatch):
    path = tmp_path / "f"
    answered = AnsweredFiles(path)
    answered.settle(stamp("one"))
    answered.save(10.0)
    write = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda fd, data, at: write(fd, data[:7], at))
    answered.settle(stamp("two"))
    answered.save(20.0)
    assert stamp("two") in answered
    assert stamp("two") not in reopened(path)
    monkeypatch.undo()
    answered.settle(stamp("three"))
    answered.close()
    assert all(stamp(name) in reopened(path) for name in ("one", "two", "three"))


def test_files_that_are_gone_are_forgotten_when_they_are_many(tmp_path):
    path = tmp_path / "f"
    answered = AnsweredFiles(path)
    gone, here = stamps(MAX_ABSENT, "old"), stamps(5)
    for one in (*gone, *here):
        answered.settle(one)
    present = [one.key for one in here]
    answered.forget_absent(present)
    assert len(answered) == MAX_ABSENT + 5  # a share may be away for a while
    answered.settle(stamp("one more"))
    answered.forget_absent([])
    answered.forget_absent([stamp("never answered").key])
    assert len(answered) == MAX_ABSENT + 6
    answered.forget_absent([*present, stamp("never answered").key])
    answered.close()
    assert [one in reopened(path) for one in here] == [True] * 5
    assert len(reopened(path)) == 5
    assert path.stat().st_size == 16 + 5 * 20


def test_replaced_pictures_do_not_let_the_file_grow(tmp_path):
    path = tmp_path / "f"
    answered = AnsweredFiles(path)
    for number in range(5000):
        answered.settle(stamp(inode=number, ctime_ns=number))
        answered.save(2.0 * number if number % 100 == 0 else 0.0)
    answered.close()
    assert path.stat().st_size < 16 + 20 * 1300


@pytest.mark.integration
def test_a_hundred_thousand_files_are_cheap(tmp_path):
    path, files = tmp_path / "f", stamps(100_000)
    answered = AnsweredFiles(path)
    for one in files:
        answered.settle(one)
    answered.close()
    assert path.stat().st_size <= 16 + 20 * 100_000
    began_s = _cpu_s()
    tracemalloc.start()
    again = AnsweredFiles(path)
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 20 * 2**20
    assert all(one in again for one in files)
    assert _cpu_s() - began_s < 5  # 0.6 s here, with tracing


def _cpu_s() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def test_the_clock_of_the_box_does_not_matter(tmp_path, monkeypatch):
    path = tmp_path / "f"
    for wall_s in (1e9, 0.0, 4e9, 1e9):
        monkeypatch.setattr(time, "time", lambda wall_s=wall_s: wall_s)
        answered = AnsweredFiles(path)
        answered.settle(stamp(f"at {wall_s}"))
        answered.close()
    assert len(reopened(path)) == 3


def test_a_real_file_is_recognised_after_chmod_and_a_rename_to_and_fro(tmp_path):
    file = tmp_path / "a.jpg"
    file.write_bytes(b"picture")
    before = FileStamp.of("a.jpg", file.stat())
    answered = AnsweredFiles()
    answered.settle(before)
    file.chmod(0o600)
    file.rename(tmp_path / "b.jpg").rename(file)
    assert FileStamp.of("a.jpg", file.stat()) in answered
    copy = tmp_path / "copy"
    copy.write_bytes(b"picturE")
    os.utime(copy, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    copy.replace(file)
    assert FileStamp.of("a.jpg", Path(file).stat()) not in answered


@pytest.mark.parametrize("is_rewritten", [False, True])
def test_an_answer_does_not_wait_for_a_slow_disk(tmp_path, monkeypatch, is_rewritten):
    answered, fsync, waited = AnsweredFiles(tmp_path / "f"), os.fsync, []
    answered.settle(stamp("one"))
    if not is_rewritten:
        answered.close()
        answered.settle(stamp("two"))

    def slow(descriptor):
        settling = threading.Thread(target=answered.settle, args=(stamp("meanwhile"),), daemon=True)
        settling.start()
        settling.join(5)
        waited.append(settling.is_alive())
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", slow)
    answered.save(10.0)
    monkeypatch.undo()
    assert waited
    assert not any(waited)
    answered.close()
    names = ("one", "meanwhile") if is_rewritten else ("one", "two", "meanwhile")
    assert all(stamp(name) in reopened(tmp_path / "f") for name in names)
    assert len(reopened(tmp_path / "f")) == len(names)


def test_a_file_that_was_deleted_is_written_again_with_all_of_it(tmp_path):
    path = tmp_path / "f"
    answered = AnsweredFiles(path)
    for number, one in enumerate(stamps(5)):
        answered.settle(one)
        answered.save(10.0 * (number + 1))
        path.unlink(missing_ok=True)
    answered.settle(stamp("last"))
    answered.save(100.0)
    answered.save(110.0)
    assert all(one in reopened(path) for one in (*stamps(5), stamp("last")))


def test_a_disk_that_fails_for_long_takes_no_memory(tmp_path, monkeypatch):
    answered = AnsweredFiles(tmp_path / "f")
    answered.settle(stamp())
    answered.close()
    monkeypatch.setattr("os.fsync", _fail)
    tracemalloc.start()
    for number in range(500):
        answered.settle(stamp())  # the same picture again and again
        answered.save(10.0 * number + 100)
        if number == 100:
            before, _ = tracemalloc.get_traced_memory()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 20_000


def _fail(_descriptor):
    raise OSError(5, "Input/output error")
