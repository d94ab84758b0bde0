"""The library behind the port: which boxes it takes for one object."""

import sys

import pytest

from edge_runtime.datatypes import Detection
from edge_runtime.errors import ExtraMissing
from edge_runtime.inference.tracking.trackforge_tracker import TrackforgeTracker


def box(x, label="person", score=0.9):
    return Detection(0, label, score, (x, 10.0, x + 40.0, 110.0))


def test_two_people_who_walk_keep_their_numbers_also_when_their_boxes_change_places():
    tracker = TrackforgeTracker(30)
    seen = []
    for step in range(20):
        pair = [box(20.0 + 6 * step), box(300.0 - 6 * step)]
        numbers = tracker.update(pair if step % 2 else pair[::-1])
        seen.append(tuple(numbers if step % 2 else numbers[::-1]))
    assert len(set(seen)) == 1
    assert None not in seen[0]


def test_a_person_behind_a_tree_and_under_another_label_is_the_same():
    tracker = TrackforgeTracker(30)
    (before,) = {*[tracker.update([box(20.0 + 4 * step)])[0] for step in range(10)]}
    for _ in range(5):
        assert tracker.update([]) == []
    assert tracker.update([box(20.0 + 4 * 15, label="dog", score=0.5)]) == [before]


def test_after_too_many_frames_it_is_another_one():
    tracker = TrackforgeTracker(3)
    before = [tracker.update([box(20.0)]) for _ in range(5)][-1]
    for _ in range(5):
        tracker.update([])
    assert tracker.update([box(20.0)]) != before


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackforge", None)
    with pytest.raises(ExtraMissing) as raised:
        TrackforgeTracker(30)
    assert raised.value.extra == "tracking"
