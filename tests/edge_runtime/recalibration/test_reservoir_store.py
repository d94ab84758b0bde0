"""The reservoir's files, with a process that is really killed and a disk that is really full."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from edge_runtime.errors import StateError
from edge_runtime.recalibration.reference.reservoir import InputMoments, Kept
from edge_runtime.recalibration.reference.reservoir_store import ReservoirStore
from tests.support.paths import ROOT
from tests.support.waiting import WAIT_S

BUNDLE = "parts/1"
NOW_S, NOW_WALL_S = 50.0, 1_000_000.0
DAY_S = 86_400.0


def picture(seed, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (24, 20, channels), dtype=np.uint8)


def kept(seq, ago_s=10.0, **keys):
    pixels = keys.pop("values", picture(seq))
    return Kept("belt", seq, 3, NOW_S - ago_s, NOW_WALL_S - ago_s, pixels, **keys)


def opened(root, now=(NOW_S, NOW_WALL_S), age_s=DAY_S, bundle=BUNDLE, with_pictures=True):
    store = ReservoirStore(root, bundle)
    return store, store.open(*now, age_s, with_pictures=with_pictures)


@pytest.mark.parametrize("channels", [1, 3])
def test_gives_back_what_was_saved_bit_for_bit(tmp_path, channels):
    store, _ = opened(tmp_path / "r")
    store.save(kept(7, values=picture(7, channels)))
    again, (found, _) = opened(tmp_path / "r")
    [one] = found
    assert (one.stream, one.seq, one.label) == ("belt", 7, 3)
    assert one.at_wall_s == NOW_WALL_S - 10
    np.testing.assert_array_equal(one.values, picture(7, channels))
    assert one in again


def test_times_follow_the_wall_clock_over_a_restart_of_the_machine(tmp_path):
    store, _ = opened(tmp_path / "r")
    store.save(kept(0, ago_s=10.0))
    _, (found, _) = opened(tmp_path / "r", now=(3.0, NOW_WALL_S + 100.0))
    assert found[0].at_s == 3.0 - 110.0


def test_old_pictures_and_those_from_the_future_are_removed(tmp_path):
    store, _ = opened(tmp_path / "r")
    for seq, ago_s in enumerate((-60.0, 10.0, 2 * DAY_S)):
        store.save(kept(seq, ago_s=ago_s))
    store, (found, dropped) = opened(tmp_path / "r")
    assert [one.seq for one in found] == [1]
    assert dropped == {"future": 1, "expired": 1}
    assert len(list(store.folder.iterdir())) == 1


def test_damaged_and_foreign_files_are_skipped_and_counted(tmp_path):
    store, _ = opened(tmp_path / "r")
    for seq in range(4):
        store.save(kept(seq))
    cut, flipped, empty, _whole = sorted(store.folder.iterdir())
    cut.write_bytes(cut.read_bytes()[:-9])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    empty.write_bytes(b"")
    (store.folder / "notes.txt").write_text("what is this?")
    (store.folder / ".halfway").write_bytes(b"x")
    store, (found, dropped) = opened(tmp_path / "r")
    assert len(found) == 1
    assert dropped == {"damaged": 3, "foreign": 2}
    assert len(list(store.folder.iterdir())) == 1


def test_files_and_folders_are_for_the_daemon_only(tmp_path):
    (tmp_path / "r").mkdir(mode=0o755)
    store, _ = opened(tmp_path / "r")
    store.save(kept(0))
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {True: 0o700, False: 0o600}


def test_pictures_of_another_bundle_do_not_count_and_go(tmp_path):
    for bundle in ("parts/1", "parts/2", "other/1"):
        store, (found, _) = opened(tmp_path / "r", bundle=bundle)
        assert found == []
        store.save(kept(0))
    assert [path.parent for path in (tmp_path / "r").rglob("*.png")] == [tmp_path / "r" / "other" / "1"]


def test_where_no_picture_may_be_kept_only_moments_are_and_pictures_of_before_go(tmp_path):
    store, _ = opened(tmp_path / "r")
    store.save(kept(0))
    store, (found, dropped) = opened(tmp_path / "r", with_pictures=False)
    assert (found, dropped) == ([], {"not_allowed": 1})
    moments = InputMoments((0.25, -1.5), (0.1, 2.0))
    store.save(kept(1, values=None, moments=moments))
    _, (found, dropped) = opened(tmp_path / "r", with_pictures=False)
    assert [(one.moments, one.values) for one in found] == [(moments, None)]
    assert list(tmp_path.rglob("*.png")) == []


def test_removing_takes_the_file_away_(tmp_path):
    store, _ = opened(tmp_path / "r")
    for seq in range(3):
        store.save(kept(seq))
    store.remove(kept(1))
    store.remove(kept(9))
    assert len(list(store.folder.iterdir())) == len(store) == 2


def test_saving_twice_writes_once(tmp_path):
    store, _ = opened(tmp_path / "r")
    store.save(kept(0))
    [path] = store.folder.iterdir()
    path.unlink()
    store.save(kept(0))
    assert list(store.folder.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_a_state_error(tmp_path):
    (tmp_path / "f").write_text("a file")
    with pytest.raises(StateError):
        opened(tmp_path / "f/r")


def test_a_disk_that_is_full_is_a_state_error_and_leaves_nothing(tmp_path):
    store, _ = opened(tmp_path / "r")
    store.save(kept(0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StateError):
            store.save(kept(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert len(list(store.folder.iterdir())) == 1
    store.save(kept(1))
    assert len(opened(tmp_path / "r")[1][0]) == 2


WRITER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    import numpy as np
    from edge_runtime.recalibration.reference.reservoir import Kept
    from edge_runtime.recalibration.reference.reservoir_store import ReservoirStore
    root, first = Path(sys.argv[1]), int(sys.argv[2])
    store = ReservoirStore(root, "parts/1")
    store.open(0.0, time.time(), 86400.0, with_pictures=True)
    rng = np.random.default_rng(first)
    for seq in range(first, 10**6):
        pixels = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        store.save(Kept("belt", seq, 0, 0.0, time.time(), pixels))
        print(seq, flush=True)
""")


@pytest.mark.integration
def test_killed_in_the_middle_of_writing_it_loses_at_most_the_last_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    reported = -1
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "r"), str(reported + 2)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        for _ in range(5 + 4 * round_):
            reported = int(process.stdout.readline())
        threading.Event().wait(0.003 * round_)  # another moment of the next write each time
        process.kill()
        rest = process.stdout.read().split()
        process.wait(WAIT_S)
        process.stdout.close()
        reported = int(rest[-1]) if rest else reported
    _, (found, dropped) = opened(tmp_path / "r", now=(0.0, time.time()))
    sequence = {one.seq for one in found}
    assert reported in sequence
    assert dropped.get("damaged", 0) == 0
    assert len(sequence) >= 5 + 9 + 13
