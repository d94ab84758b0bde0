from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.recalibration.reference.reservoir import (
    FACTS_BYTES,
    InputMoments,
    Kept,
    Reservoir,
    ReservoirLimits,
)

PIXELS = np.zeros((4, 4, 3), np.uint8)
ONE_BYTES = FACTS_BYTES + PIXELS.nbytes
PLENTY = 10**9


def kept(at_s, label=0, stream="a", pixels=PIXELS):
    return Kept(stream, int(at_s * 1000), label, float(at_s), 1e6 + at_s, pixels)


def reservoir(frames=8, size_bytes=PLENTY, **keys):
    return Reservoir(ReservoirLimits(frames, size_bytes, **keys))


def times(entries):
    return [one.at_s for one in entries]


@given(
    st.lists(
        st.tuples(st.floats(0, 1e4), st.integers(-1, 3), st.sampled_from("ab"), st.integers(1, 9)),
        max_size=60,
    ),
    st.integers(1, 10),
    st.integers(1, 10),
)
def test_never_holds_more_than_its_count_and_bytes_and_gives_back_what_it_drops(offers, frames, pictures):
    box = reservoir(frames, pictures * ONE_BYTES)
    offered, dropped = [], []
    for at_s, label, stream, side in offers:
        offered.append(kept(at_s, label, stream, np.zeros((side, side, 3), np.uint8)))
        dropped += box.add(offered[-1])
        assert len(box) <= frames
        assert box.size_bytes == sum(one.size_bytes for one in box.entries) <= pictures * ONE_BYTES
    assert Counter(map(id, offered)) == Counter(map(id, (*box.entries, *dropped)))


@given(st.integers(1, 6), st.integers(1, 5), st.randoms(use_true_random=False))
def test_classes_that_come_often_enough_get_equal_shares(classes, share, random):
    frames = classes * share
    box = reservoir(frames + 1)
    labels = [label for label in range(classes) for _ in range(2 * frames)]
    random.shuffle(labels)
    for i, label in enumerate(labels):
        box.add(kept(i, label))
    assert set(Counter(one.label for one in box.entries[:-1]).values()) == {share}


def test_a_long_run_of_one_class_does_not_push_the_others_out():
    box = reservoir(12)
    for i in range(12):
        box.add(kept(i, i % 4))
    for i in range(12, 200):
        box.add(kept(i, 0))
    assert min(box.classes.values()) >= 2
    assert sum(one.label == 0 for one in box.entries[:-1]) == 3


@pytest.mark.parametrize("classes", [2, 6, 500])
def test_many_classes_are_spread_over_time_all_the_same(classes):
    box = reservoir(16)
    labels = np.random.default_rng(0).integers(0, classes, 500)
    for i, label in enumerate(labels.tolist()):
        box.add(kept(i, label))
    assert np.diff([0, *times(box.entries)]).max() <= 5 * 500 / 15


def test_a_camera_that_gives_most_of_a_class_gives_it_up():
    box = reservoir(8)
    for i in range(4):
        box.add(kept(i, stream="rare"))
    for i in range(4, 50):
        box.add(kept(i, stream="frequent"))
    assert Counter(one.stream for one in box.entries[:-1]) in (
        {"rare": 4, "frequent": 3},
        {"rare": 3, "frequent": 4},
    )


@given(st.integers(4, 32), st.integers(2, 20))
def test_what_is_kept_of_a_steady_stream_is_spread_over_the_whole_time(frames, rounds):
    box = reservoir(frames)
    count = frames * rounds
    for i in range(count):
        box.add(kept(i))
    gaps = np.diff(times(box.entries))
    assert box.entries[0].at_s == 0
    assert box.entries[-1].at_s == count - 1
    assert gaps.max() <= 3 * (count - 1) / (frames - 1)


@given(st.integers(2, 20), st.integers(1, 20), st.lists(st.integers(0, 2), min_size=1, max_size=60))
def test_the_newest_stay_whatever_their_class(frames, fresh, labels):
    box = reservoir(frames, fresh=fresh)
    for i, label in enumerate(labels):
        box.add(kept(i, label))
    newest = list(range(len(labels)))[-max(1, min(fresh, frames // 2)) :]
    assert times(box.entries)[-len(newest) :] == newest
    assert box.fresh_since_s == newest[0]


def test_a_sample_that_alone_is_over_the_bytes_is_given_back():
    box = reservoir(size_bytes=ONE_BYTES - 1)
    one = kept(0)
    assert box.add(one) == [one]
    assert len(box) == 0


def test_says_how_many_frames_of_the_size_seen_fit():
    box = reservoir(100, 5 * ONE_BYTES)
    box.add(kept(0))
    assert box.most == 5


def test_what_is_too_old_goes_with_the_next_sample():
    box = reservoir(age_s=10.0)
    old = kept(0)
    box.add(old)
    assert box.add(kept(10.0)) == []
    assert box.add(kept(10.5)) == [old]


def test_newest_gives_only_later_frames_oldest_first():
    box = reservoir()
    for i in range(6):
        box.add(kept(i, i, stream="ab"[i % 2]))
    assert times(box.choose_newest(2.0, 3)) == [3, 4, 5]
    assert times(box.choose_newest(2.0, 3, "a")) == [2, 4]


def test_a_balanced_choice_is_even_over_classes_streams_and_time():
    box = reservoir(200)
    for i in range(100):
        box.add(kept(i, label=0))
        box.add(kept(i + 0.5, label=0, stream="b"))
    for i in range(100, 103):
        box.add(kept(i, label=7))
    chosen = box.choose_balanced(-np.inf, 13)
    assert Counter(one.label for one in chosen) == {0: 10, 7: 3}
    assert Counter(one.stream for one in chosen if one.label == 0) == {"a": 5, "b": 5}
    assert np.diff([one.at_s for one in chosen if one.stream == "a" and one.label == 0]).max() <= 26
    assert times(chosen) == sorted(times(chosen))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=40), st.integers(0, 50))
def test_a_balanced_choice_takes_each_once_and_all_when_there_are_few(offers, most):
    box = reservoir(100)
    for at_s, label in offers:
        box.add(kept(at_s, label))
    chosen = box.choose_balanced(-np.inf, most)
    assert len(chosen) == min(most, len(offers)) == len(set(map(id, chosen)))


def test_a_balanced_choice_from_the_largest_reservoir_is_quick():
    box = reservoir(8192)
    box._replace([kept(i, i % 3) for i in range(8192)])
    assert len(box.choose_balanced(-np.inf, 512)) == 512


def test_what_is_too_old_for_the_task_makes_room_for_new_frames_of_one_class():
    box = reservoir(8)
    for i in range(8):
        box.add(kept(i, i))
    assert len(box.forget_before(8.0)) == 8
    for i in range(8, 16):
        box.add(kept(i, 0))
    assert times(box.choose_newest(8.0, 8)) == list(range(8, 16))


def test_lower_limits_count_at_once():
    box = reservoir(8)
    for i in range(8):
        box.add(kept(i))
    assert len(box.limit(ReservoirLimits(3, PLENTY))) == 5
    assert times(box.entries)[0] == 0
    assert times(box.entries)[-1] == 7
    box.limit(ReservoirLimits(3, 10))
    assert (len(box), box.size_bytes) == (0, 0)


def test_stripped_of_pixels_a_sample_is_no_choice_but_its_moments_stay():
    box = reservoir()
    box.add(Kept("a", 0, 0, 0.0, 0.0, PIXELS, InputMoments((1.0,), (2.0,))))
    box.strip()
    assert (box.choose_newest(0.0, 9), box.choose_balanced(0.0, 9)) == ([], [])
    assert box.entries[0].moments == InputMoments((1.0,), (2.0,))
    assert box.size_bytes == FACTS_BYTES
