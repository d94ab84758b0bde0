"""The reference set of live frames over restarts, full disks and the privacy switch; files are real."""

from unittest.mock import Mock

import numpy as np
import pytest

from edge_runtime.config import ReferenceConfig
from edge_runtime.datatypes import Sample
from edge_runtime.deployment.model_state import ModelState
from edge_runtime.errors import StateError
from edge_runtime.recalibration.context import Identity, ModelContext
from edge_runtime.recalibration.reference.live_reference_set import SETTLE_S, WRITE_BURST, LiveReferenceSet
from edge_runtime.recalibration.reference.reservoir_store import ReservoirStore
from edge_runtime.recalibration.task import Cause, Kind, Task

WALL_AHEAD_S = 1_000_000.0


class Box:
    """One model's reference on a clock that the test moves; ``machine_s`` is lost at a reboot, wall time is not."""

    def __init__(self, folder, now_s=1000.0, wall_ahead_s=WALL_AHEAD_S, channel_axis=0, **settings):
        self.now_s, self.wall_ahead_s, self.seq = now_s, wall_ahead_s, 0
        self.channel_axis = channel_axis
        model_state = ModelState.open(folder, "parts")
        self.root = model_state.reservoir
        context = ModelContext(
            "parts",
            folder / "bundle",
            Identity("parts/1", "a" * 64, "spec", "b" * 64),
            model_state,
            [].append,
            clock=lambda: self.now_s,
            wall_clock=lambda: self.now_s + self.wall_ahead_s,
            channel_axis=channel_axis,
        )
        reference = ReferenceConfig(**{"frames": 8, "reservoir": 128, **settings})
        self.reference = LiveReferenceSet(context, reference, every_s=1.0)
        self.reference.open()

    def feed(self, frames, label=0, side=16):
        for _ in range(frames):
            self.now_s += 1.0
            rng = np.random.default_rng(round(self.now_s + self.wall_ahead_s))
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            tensor = np.moveaxis((pixels / 255).astype(np.float32), 2, self.channel_axis)
            wall_s = self.now_s + self.wall_ahead_s
            sample = Sample("belt", self.seq, tensor, pixels, None, self.now_s, wall_s, 0.0, 0.0, 0.0)
            self.seq += 1
            self.reference.take(sample, label)
            self.reference.tick()

    def wait(self, seconds):
        for _ in range(seconds):
            self.now_s += 1.0
            self.reference.tick()

    def files(self, pattern="*"):
        return sorted(path.name for path in self.root.rglob(pattern) if path.is_file())

    def chosen(self, most=1000):
        return self.reference.collect(Task(Kind.RECALIBRATE, Cause.SCHEDULE, -np.inf, most, 0.0))[0]


def test_a_restart_keeps_the_reservoir(tmp_path):
    before = Box(tmp_path)
    before.feed(20, label=3)
    before.reference.close()
    after = Box(tmp_path, now_s=5.0, wall_ahead_s=WALL_AHEAD_S + 1100.0)  # rebooted
    assert after.reference.status().restored == 20
    for one, other in zip(before.chosen(), after.chosen(), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        assert other.at_s - one.at_s == pytest.approx(-1100.0, abs=0.01)
    after.feed(5)
    assert after.reference.status().frames == 25


def test_killed_without_a_word_it_keeps_what_had_settled(tmp_path):
    box = Box(tmp_path)
    box.feed(100)
    restored = Box(tmp_path, now_s=box.now_s).reference.status().restored
    assert restored == pytest.approx(100 - 8 - SETTLE_S, abs=1)


def test_a_camera_that_stops_leaves_no_frame_unwritten(tmp_path):
    box = Box(tmp_path)
    box.feed(30)
    box.wait(330)
    assert len(box.files()) == 30


def test_what_is_crowded_out_at_once_is_never_written(tmp_path):
    box = Box(tmp_path, reservoir=16)
    box.feed(1000)
    assert len(box.files()) <= 16
    again = Box(tmp_path, now_s=box.now_s, reservoir=16)
    assert {one.id for one in again.chosen()} <= {one.id for one in box.chosen()}


def test_the_rate_of_writing_is_bounded(tmp_path):
    box = Box(tmp_path, reservoir=1024)
    box.feed(300)
    assert WRITE_BURST <= len(box.files()) <= WRITE_BURST + 300 / 10 + 1


def test_a_smaller_reservoir_after_a_restart_removes_files_too(tmp_path):
    box = Box(tmp_path)
    box.feed(40)
    box.reference.close()
    smaller = Box(tmp_path, now_s=box.now_s, reservoir=16)
    assert smaller.reference.status().frames == len(smaller.files()) == 16


def test_forgetting_takes_the_files_along(tmp_path):
    box = Box(tmp_path)
    box.feed(100)
    assert box.files()
    box.reference.forget_before(box.now_s + 1)
    assert (box.reference.status().frames, box.files()) == (0, [])


def test_a_full_disk_leaves_it_in_memory_and_is_tried_again(tmp_path):
    box = Box(tmp_path)
    box.feed(60)
    folder = box.root / "parts" / "1"
    folder.rmdir()
    folder.write_text("no folder any more")
    box.feed(20)
    status = box.reference.status()
    assert (status.frames, status.on_disk, status.unsaved) == (80, 0, 1)
    assert "check space" in status.problem
    folder.unlink()
    folder.mkdir()
    box.feed(120)
    status = box.reference.status()
    assert status.on_disk > 30
    assert status.problem is None


def test_a_state_folder_that_cannot_be_used_at_start_is_tried_again_too(tmp_path, monkeypatch):
    refusal = Mock(side_effect=StateError("cannot use the reservoir's folder: Read-only file system"))
    with monkeypatch.context() as read_only:
        read_only.setattr(ReservoirStore, "open", refusal)
        box = Box(tmp_path)
        box.feed(5)
    assert "reservoir's folder" in box.reference.status().problem
    box.feed(150)
    assert box.reference.status().on_disk > 30
    assert box.reference.status().problem is None


def test_without_persistence_nothing_is_written_and_what_was_there_goes(tmp_path):
    box = Box(tmp_path)
    box.feed(10)
    box.reference.close()
    volatile = Box(tmp_path, now_s=box.now_s, persist=False)
    volatile.feed(30)
    volatile.reference.close()
    assert volatile.files() == []
    assert volatile.reference.status().frames == 30


def test_with_pictures_never_only_moments_are_kept_in_memory_and_on_disk(tmp_path):
    box = Box(tmp_path, pictures="never")
    box.feed(20)
    box.reference.close()
    assert box.chosen() == []
    assert len(box.files("*.json")) == len(box.files()) == 20
    again = Box(tmp_path, now_s=box.now_s, pictures="never").reference
    assert again.status().frames == 20
    assert all(one.values is None for one in again._reservoir.entries)


@pytest.mark.parametrize("channel_axis", [0, 2])
def test_the_moments_are_those_of_the_prepared_sample(tmp_path, channel_axis):
    box = Box(tmp_path, pictures="never", channel_axis=channel_axis)
    box.reference.begin(-np.inf)
    box.feed(1)
    [one] = box.chosen()
    np.testing.assert_allclose(one.moments.mean, (one.values / 255).mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(one.moments.var, (one.values / 255).var((0, 1)), rtol=1e-5)


def test_with_pictures_never_a_task_holds_its_frames_only_while_it_collects(tmp_path):
    box = Box(tmp_path, pictures="never")
    box.feed(10)
    box.reference.begin(-np.inf)
    box.feed(6)
    assert len(box.chosen()) == 6
    box.wait(60)
    assert box.files("*.png") == []
    box.reference.end()
    assert box.chosen() == []
    assert box.reference.status().frames == 16


def test_turned_to_never_all_pictures_go_at_once(tmp_path):
    box = Box(tmp_path)
    box.feed(100)
    assert box.files("*.png")
    box.reference.reconfigure(ReferenceConfig(frames=8, pictures="never"), 1.0)
    assert (box.files(), box.reference.status().frames) == ([], 0)
    box.feed(100)
    assert len(box.files("*.json")) == len(box.files()) > 20


def test_pictures_of_another_size_are_not_mixed(tmp_path):
    box = Box(tmp_path)
    box.feed(10)
    box.feed(3, side=24)
    assert {one.values.shape for one in box.chosen()} == {(24, 24, 3)}


def test_refused_pictures_are_counted_by_reason(tmp_path):
    box = Box(tmp_path)
    box.feed(1)
    black = np.zeros((16, 16, 3), np.uint8)
    tensor = np.zeros((3, 16, 16), np.float32)
    sample = Sample("belt", 9, tensor, black, None, box.now_s, box.now_s, 0.0, 0.0, 0.0)
    box.reference.take(sample, 0)
    assert box.reference.status().skipped == {"flat": 1}
