from collections import Counter

import numpy as np
import pytest

from edge_runtime.reservoir import Reservoir


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_keeps_at_most_its_capacity():
    reservoir = Reservoir(8)
    for i in range(20):
        reservoir.add("a", i, picture(i), label=i % 3, at_s=float(i))
    assert len(reservoir) == 8


def test_a_long_run_of_one_class_does_not_push_the_others_out():
    reservoir = Reservoir(12)
    for i in range(12):
        reservoir.add("a", i, picture(i), label=i % 4, at_s=float(i))
    for i in range(12, 200):
        reservoir.add("a", i, picture(i), label=0, at_s=float(i))
    labels = Counter(kept.label for kept in reservoir.since(0.0, 100))
    assert all(labels[label] == 3 for label in range(4))


def test_since_gives_only_newer_frames_oldest_first():
    reservoir = Reservoir(8)
    for i in range(6):
        reservoir.add("a", i, picture(i), label=i, at_s=float(i))
    assert [kept.seq for kept in reservoir.since(2.0, 3)] == [3, 4, 5]


def test_a_frozen_camera_adds_nothing():
    reservoir = Reservoir(8)
    assert reservoir.add("a", 0, picture(0), label=0, at_s=0.0)
    assert not reservoir.add("a", 1, picture(0), label=0, at_s=1.0)
    assert reservoir.skipped == {"frozen": 1}


@pytest.mark.parametrize("level", [0, 255, 128])
def test_a_picture_without_content_adds_nothing(level):
    reservoir = Reservoir(8)
    assert not reservoir.add("a", 0, np.full((32, 32, 3), level, np.uint8), label=0, at_s=0.0)
    assert reservoir.skipped == {"flat": 1}


def test_what_is_too_old_for_the_task_makes_room_for_new_frames_of_one_class():
    reservoir = Reservoir(8)
    for i in range(8):
        reservoir.add("a", i, picture(i), label=i, at_s=float(i))
    reservoir.forget_before(8.0)
    for i in range(8, 16):
        reservoir.add("a", i, picture(i), label=0, at_s=float(i))
    assert [kept.seq for kept in reservoir.since(8.0, 8)] == list(range(8, 16))
